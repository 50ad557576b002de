"""Networks for other programs: TFLite, ONNX and SavedModel files, compared with Keras; layers and FLOPs.

It may import the floors below (README.md, "Where things are") and nets/. Users get `mtcnn_subjects`, `open_exported`,
`recognizer_subject`, `retinaface_subject`.
"""

from utils import exports

_subjects = dict.fromkeys(("mtcnn_subjects", "recognizer_subject", "retinaface_subject"), "export")
__getattr__, __dir__, __all__ = exports(__name__, {"open_exported": "formats", **_subjects})
