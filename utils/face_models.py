"""The wrappers as the settings of predict.py and video.py want them.

A setting that is None keeps the wrapper's own default. TensorFlow is imported when one is built.
"""

_FACENET_KEYS = (
    "model_path",
    "backbone",
    "threshold",
    "detector_model_path",
    "engine",
    "precision",
)
_DETECTOR_KEYS = ("confidence", "nms_iou", "input_shape", "letterbox_image", "precision")


def build_facenet(settings):
    """Returns the Facenet of a dict of settings."""
    from facenet import Facenet

    chosen = {key: settings[key] for key in _FACENET_KEYS if settings[key] is not None}
    if settings["detector"] == "retinaface":
        own = _retinaface_settings(settings)
        chosen |= {f"detector_{key}": value for key, value in own.items()}
    return Facenet(detector=settings["detector"], **chosen)


def build_detector(settings):
    """Returns the Retinaface or Mtcnn of a dict of settings; ValueError if it names neither."""
    path = settings["detector_model_path"]
    chosen = {"engine": settings["engine"]} | ({} if path is None else {"model_path": path})
    if settings["detector"] == "mtcnn":
        from utils.detection.mtcnn import Mtcnn

        return Mtcnn(**chosen)
    if settings["detector"] != "retinaface":
        raise ValueError(f"detector {settings['detector']!r}: this mode needs retinaface or mtcnn")
    from retinaface import Retinaface

    return Retinaface(**chosen, **_retinaface_settings(settings))


def _retinaface_settings(settings):
    """Returns the settings of RetinaFace that are given, under its own names."""
    chosen = {key: settings[key] for key in _DETECTOR_KEYS if settings[key] is not None}
    if settings["detector_backbone"] is not None:
        chosen["backbone"] = settings["detector_backbone"]
    return chosen
