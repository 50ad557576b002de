"""Faces of a photo: boxes, landmarks, crops, the choice of one, the stream of photos through both networks.

It may import the floors below (README.md, "Where things are") and nets/. Users get `Detections`, `NoFaceError`,
`align`, `crop`, `face_stream`, `iou`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "Detections": "detections",
        "NoFaceError": "detections",
        "align": "alignment",
        "crop": "alignment",
        "face_stream": "photo_stream",
        "iou": "boxes",
    },
)
