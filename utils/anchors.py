"""The original's name of `utils.detection.anchors`."""

from utils.detection.anchors import Anchors

__all__ = ["Anchors"]
