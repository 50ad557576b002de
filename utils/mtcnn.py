"""Hands on `utils.detection.mtcnn` under the name that users of the originals know."""

from utils.detection.mtcnn import Mtcnn

__all__ = ["Mtcnn"]
