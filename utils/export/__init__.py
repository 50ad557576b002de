"""Networks for other programs: TFLite, ONNX and SavedModel files, compared with Keras.

It may import the floors below (README.md, "Where things are") and nets/. Users get `mtcnn_subjects`, `open_exported`,
`recognizer_subject`, `retinaface_subject`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "mtcnn_subjects": "export",
        "open_exported": "formats",
        "recognizer_subject": "export",
        "retinaface_subject": "export",
    },
)
