"""Compares, detects, names and measures faces: one script, several modes."""

import sys
from functools import partial
from pathlib import Path

# Whatever takes time to import is imported by the modes, so that --help answers at once.
from utils.engine.devices import device_name
from utils.engine.stopwatch import speeds
from utils.pictures import prompt
from utils.settings.command_line import from_command_line, run
from utils.settings.settings import describe

_defaults = {
    # what to do: compare two photos (verify), box faces (detect, dir_predict), name people, or
    # measure and export the networks; the README has a table
    "mode": "verify",
    # recognition network; none: the default of facenet.py:
    "model_path": None,  # weights in any format of the README, or a published name
    "backbone": None,  # a name of nets/backbones.py; none: what the weights are of
    "threshold": None,  # largest distance of one person's photos
    # number format of the weights on a CPU, and of an export to tflite: float16 (half the size) or int8
    # (a quarter, fast; the README says what it costs); none: float32
    "precision": None,
    # detector; none: the default of retinaface.py:
    "detector": "retinaface",  # what finds the faces; none: photos are face crops (verify, encode)
    "detector_model_path": None,  # weights of the detector; mtcnn: folder with det1-3.npy
    "detector_backbone": None,  # of retinaface; none: what the weights are of
    "detector_confidence": None,  # of retinaface: least score of a face
    "detector_nms_iou": None,  # of retinaface: of two boxes that overlap more than this, the better one stays
    "detector_input_shape": None,  # of retinaface: height, width, 3 that a photo is scaled to fit
    # of retinaface: scale to detector_input_shape (yes) or original size (no)
    "detector_letterbox_image": None,
    "detector_precision": None,  # of retinaface: number format of its weights on a CPU
    # naming people:
    "gallery_path": "gallery.h5",  # file of the people who are known, made by encode
    "gallery_dir": "gallery",  # encode: folder of their photos, <person>/*.jpg or <person>_1.jpg
    "scoring": "mean",  # recognize: distance to a person's nearest photo, or to the mean of all
    "take_largest": False,  # encode: of several faces on a photo use the largest (yes) or none (no)
    # recognize: share of strangers that may get a name, for which the threshold is measured on the
    # gallery; none: threshold as it is
    "false_accept_rate": None,
    "classifier_path": "classifier.h5",  # file of the SVM, made by classify_train from the gallery
    # classify_train: photos of each person to train on, the others measure the accuracy; none: train on all
    "train_images": None,
    "min_images": 2,  # classify_train: people with fewer photos are left out
    "cluster_method": "agglomerative",  # cluster: how faces are grouped
    # cluster: largest distance within a group; none: threshold, or 0.8 of it for dbscan
    "cluster_threshold": None,
    # files:
    "dir_origin_path": "img",  # dir_predict, cluster: folder of photos
    "dir_save_path": "img_out",  # where pictures and tables go
    "show": True,  # open a window with the picture where there is a display
    "test_interval": 100,  # fps: how many times each network is run
    "engine": "auto",  # see utils/engine/engine.py
    # export:
    "network": "all",  # which networks to write
    "format": "onnx",  # of the files; onnx needs tf2onnx
    "export_dir": "export",  # where the networks go, each with a JSON file that says how to use it
}
_PRECISIONS = ("float32", "float16", "int8", None)
_choices = {
    "precision": _PRECISIONS,
    "detector": ("retinaface", "mtcnn", None),
    "detector_backbone": ("mobilenet", "resnet50", None),
    "detector_precision": _PRECISIONS,
    "scoring": ("nearest", "mean"),
    "cluster_method": ("agglomerative", "dbscan"),
    "engine": ("auto", "keras", "litert"),
    "network": ("recognizer", "detector", "all"),
    "format": ("tflite", "onnx", "saved_model"),
}
_ranges = {
    "threshold": (0, 2),
    "detector_confidence": (0, 1),
    "detector_nms_iou": (0, 1),
    "false_accept_rate": (0, 1),
    "train_images": (1, None),
    "min_images": (1, None),
    "cluster_threshold": (0, 2),
    "test_interval": (1, None),
}
_PAIR, _GROUP = ["img/1_001.jpg", "img/1_002.jpg"], ["img/group.jpg"]  # photos where none is given


def main():
    """Prints what the mode of the settings yields, line by line."""
    tasks = [verify, detect, dir_predict, encode, recognize, classify_train, classify, cluster]
    modes = {task.__name__: task for task in [*tasks, fps, summary, export]}
    positional, choices = ("images", "photos, or the folder", "*"), {"mode": tuple(modes), **_choices}
    settings = from_command_line(_defaults, __file__, __doc__, positional=positional, choices=choices, ranges=_ranges)
    if settings["dir_origin_path"] == _defaults["dir_origin_path"]:
        settings["dir_origin_path"] = str(prompt.sample(_defaults["dir_origin_path"]))
    shown = {key: value for key, value in settings.items() if value is not None}
    print(describe(shown, f"predict.py on {device_name()}", _defaults))
    for line in modes[settings["mode"]](settings):
        print(line, flush=True)


def verify(settings):
    """Tells whether two photos show the same person, with a picture of both."""
    from utils.pictures import comparison

    return comparison.verify(recognizer(settings), photos(settings, _PAIR), save_to(settings))


def detect(settings):
    """Boxes every face of each photo."""
    from utils.pictures import boxed_photos

    paths = (path for (path,) in photos(settings, _GROUP))
    return boxed_photos.box_photos(detector(settings), paths, save_to(settings))


def dir_predict(settings):
    """Boxes the faces of every photo of a folder; writes the pictures and faces.csv."""
    from utils.pictures import boxed_photos

    source = folder(settings, "dir_origin_path")
    complain = partial(print, file=sys.stderr)
    return boxed_photos.box_folder(detector(settings), source, settings["dir_save_path"], complain)


def encode(settings):
    """Builds or updates the gallery from a folder of photos of known people."""
    from utils.gallery import photo_naming

    source = folder(settings, "gallery_dir")
    return photo_naming.encode(recognizer(settings), source, settings)


def recognize(settings):
    """Names every face of photos by the gallery."""
    from utils.gallery import photo_naming

    paths, save = photos_to_name(settings)
    return photo_naming.recognize(recognizer(settings), paths, settings, save)


def classify_train(settings):
    """Trains the SVM on the gallery."""
    from utils.gallery import photo_naming

    return photo_naming.classify_train(settings)


def classify(settings):
    """Names every face of photos by the SVM."""
    from utils.gallery import photo_naming

    paths, save = photos_to_name(settings)
    return photo_naming.classify(recognizer(settings), paths, settings, save)


def cluster(settings):
    """Groups the faces of a folder by person."""
    from utils.gallery import grouping

    paths = settings["images"] or [settings["dir_origin_path"]]
    return grouping.group(recognizer(settings), paths, settings)


def fps(settings):
    """Times detection of one photo and recognition of one crop."""
    from utils.images.image_files import read_image

    finder, network = detector(settings), recognizer({**settings, "detector": None})
    (path,) = next(photos(settings, _GROUP, repeat=False))
    image = read_image(path)
    crop = network.face_crops(image)
    calls = {
        f"{settings['detector']} on {path}": lambda: finder.detect(image),
        f"{network.backbone} on one crop": lambda: network.embed_crops(crop),
    }
    return speeds(calls, settings["test_interval"])


def summary(settings):
    """Lists layers, parameters and FLOPs of the recognition network and the detector."""
    from utils.export.summary import networks, text

    return map(text, networks(*(settings[key] for key in ("backbone", "detector_backbone", "detector_input_shape"))))


def export(settings):
    """Writes the networks for use elsewhere, each checked against Keras on photos."""
    from utils.export.formats import check_format

    precision = settings["precision"] or "float32"
    check_format(settings["format"], precision)
    from utils.export import export
    from utils.export.summary import input_size
    from utils.images.image_files import read_image

    network, size = settings["network"], input_size(settings["detector_input_shape"])
    plain = {**settings, "engine": "keras", "precision": None, "detector_precision": None}
    recogniser = recognizer({**plain, "detector": None}) if network != "detector" else None
    finder = detector(plain) if network != "recognizer" and settings["detector"] else None
    paths = settings["images"] or map(prompt.sample, [*_PAIR, *_GROUP])
    for subject in export.subjects(recogniser, finder, list(map(read_image, paths)), size):
        yield from export.export(subject, settings["export_dir"], settings["format"], precision)


def recognizer(settings):
    """Returns the Facenet of the settings."""
    import facenet

    return facenet.build_facenet(settings)


def detector(settings):
    """Returns the Retinaface or Mtcnn of the settings."""
    import facenet

    return facenet.build_detector(settings)


def photos(settings, samples, repeat=True):
    """Yields as many photos at a time as there are samples: given, asked for, or the samples."""
    return prompt.photo_groups(settings["images"], len(samples), samples, f"mode {settings['mode']}", repeat)


def folder(settings, key):
    """Returns the folder of the command line, or that of the key."""
    return prompt.one_folder(settings["images"], settings[key], f"mode {settings['mode']}")


def photos_to_name(settings):
    """Returns photos and folders, and a function of a picture and its name that saves it."""
    paths = [Path(path) for path in settings["images"]] or next(photos(settings, _GROUP, repeat=False))
    one = len(paths) == 1 and not paths[0].is_dir()
    return paths, save_to({**settings, "show": settings["show"] and one})


def save_to(settings):
    """Returns a function of a picture and its name that saves and shows it."""
    return partial(prompt.finish, folder=settings["dir_save_path"], show=settings["show"])


if __name__ == "__main__":
    run(main)
