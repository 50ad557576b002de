"""People who are known: their photos, names and embeddings."""

from utils.gallery.gallery import Gallery

__all__ = ["Gallery"]
