"""Finds, compares and names faces: what a program imports, from a clone as from an installed package.

>>> from faces import Facenet, Gallery, Mtcnn, Retinaface
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(
    __package__ or "",
    {
        "Facenet": "facenet",
        "Gallery": "utils.gallery.gallery",
        "Mtcnn": "utils.detection.mtcnn",
        "Retinaface": "retinaface",
    },
)
