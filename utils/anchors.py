"""Hands on `utils.detection.anchors` under the name that users of the originals know."""

from utils.detection.anchors import Anchors

__all__ = ["Anchors"]
