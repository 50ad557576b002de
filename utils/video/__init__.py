"""Faces in cameras and videos: sources, tracks, votes on names, what is written and shown.

It may import the floors below (README.md, "Where things are") and nets/. Users get `Tracker`, `VideoRecognizer`,
`VideoWriter`, `open_source`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(
    __name__, {"Tracker": "tracking", "VideoRecognizer": "recognizer", "VideoWriter": "writer", "open_source": "source"}
)
