"""The original's name of `utils.faces.alignment`."""

from utils.faces.alignment import align, crop

__all__ = ["align", "crop"]
