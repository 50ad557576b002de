"""The original's name of `utils.detection.mtcnn`."""

from utils.detection.mtcnn import Mtcnn

__all__ = ["Mtcnn"]
