"""Hands on `utils.faces.alignment` under the name that users of the originals know."""

from utils.faces.alignment import align, crop

__all__ = ["align", "crop"]
