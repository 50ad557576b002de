"""Measures a face detector on the WIDER FACE validation set: AP easy, medium and hard."""

import json
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from utils.detection.multi_scale import merge, views
from utils.engine.devices import device_name
from utils.engine.stopwatch import Stopwatch
from utils.evaluation.widerface_metrics import evaluate_curves
from utils.evaluation.widerface_results import read_ground_truth, write_result
from utils.faces.photo_stream import face_stream
from utils.files.atomic_file import replacing
from utils.files.digests import weights_digest
from utils.settings.command_line import from_command_line, run
from utils.settings.settings import describe

_defaults = {
    # data:
    "image_dir": "WIDER_val/images",  # folder of <event>/<image>.jpg
    "gt_dir": "ground_truth",  # folder of the official wider_*_val.mat files
    "result_dir": "logs/widerface/results",  # for <event>/<image>.txt; a stopped run goes on there
    "output_dir": "logs/widerface",  # for the figures (JSON) and the picture
    "score_only": False,  # score the files of result_dir as they are, detect nothing
    "allow_missing": False,  # test and score the images that are there, even if some are missing
    "iou_thresh": 0.5,  # least overlap of a face found, 0 to 1; the benchmark's is 0.5
    # detector:
    "model_path": "model_data/retinaface_mobilenet025.weights.h5",  # any format of the README
    "backbone": "mobilenet",  # mobilenet (width 0.25) or resnet50
    "confidence": 0.02,  # least score of a face, 0 to 1
    "nms_iou": 0.4,  # of two boxes that overlap more than this, the better one stays
    "input_shape": [1280, 1280, 3],  # test size: height, width that an image is scaled to fit
    "original_size": False,  # test images as they are instead
    "scales": [1.0],  # test each image at these multiples of the test size, results merged by NMS
    "flip": False,  # test mirror images, too
    "engine": "auto",  # auto, litert or keras, see utils/engine/engine.py
    "batch_size": 8,  # images in work at once
}
# What decides the results besides the weights: a folder of results must not mix two of these.
_DECISIVE = (
    "backbone",
    "confidence",
    "nms_iou",
    "input_shape",
    "original_size",
    "scales",
    "flip",
)
_SAMPLE_NAME = "<event>/<image>.jpg"


def main():
    """Detects the faces of all images, scores the results, prints and saves the figures."""
    settings = from_command_line(_defaults, __file__, __doc__)
    check(settings)
    print(describe(settings, "evaluation.py", _defaults))
    truth = read_ground_truth(settings["gt_dir"])
    clock = Stopwatch()
    if not settings["score_only"]:
        detect_all(settings, truth, clock)
    with clock.stage("score", len(truth.images)):
        curves = evaluate_curves(
            settings["result_dir"],
            settings["gt_dir"],
            settings["iou_thresh"],
            settings["allow_missing"],
        )
    scored = sum(result_path(settings, *image).is_file() for image in truth.images)
    if scored < len(truth.images):
        print(f"Only {scored} of {len(truth.images)} images scored: not the benchmark's figures")
    for setting, curve in curves.items():
        figure = f"{curve.average_precision:.5f}" if curve.faces else "-"
        print(f"AP {setting}: {figure} ({curve.faces} faces)")
    paths = save_report(settings, curves, scored, clock)
    print(f"Time by stage (decoding runs beside the others):\n{clock.table()}")
    print("Saved: " + ", ".join(map(str, paths)))


def check(settings):
    """Refuses settings that would only fail later.

    Raises:
        ValueError: naming the setting.
    """
    for key in ("confidence", "nms_iou", "iou_thresh"):
        if not 0 <= settings[key] <= 1:
            raise ValueError(f"{key} {settings[key]}: a number from 0 to 1 expected")
    if settings["iou_thresh"] == 0:
        raise ValueError("iou_thresh 0: a number above 0 expected")
    if not settings["scales"] or min(settings["scales"]) <= 0:
        raise ValueError(f"scales {settings['scales']}: one or more numbers above 0 expected")
    if settings["batch_size"] < 1:
        raise ValueError(f"batch_size {settings['batch_size']}: at least 1 expected")


def detect_all(settings, truth, clock):
    """Writes a result file of each image of the ground truth that has none yet."""
    images = find_images(settings, truth)
    claim_results(settings)
    todo = [
        path for path in images if not result_path(settings, path.parent.name, path.stem).is_file()
    ]
    if len(todo) < len(images):
        print(f"{len(images) - len(todo)} of {len(images)} images have a result already")
    if not todo:
        return
    with clock.stage("build", 1, "job"):
        detector = build_detector(settings)
    stages = [
        clock.timed("detect", partial(detect, settings=settings, detector=detector)),
        clock.timed("write", partial(write, settings=settings)),
    ]
    photos = face_stream(sorted_by_size(todo), stages, settings["batch_size"])
    with tqdm(photos, total=len(todo), unit="image") as bar:
        for photo in bar:
            if photo.error:
                raise ValueError(photo.error)


def find_images(settings, truth):
    """Returns the files of the images of the ground truth.

    Raises:
        ValueError: none of them is there, or some are missing and partial runs not allowed.
    """
    folder = Path(settings["image_dir"])
    if not folder.is_dir():
        raise ValueError(f"{folder}: image_dir is no folder; it should hold {_SAMPLE_NAME}")
    paths = [folder / event / f"{name}.jpg" for event, name in truth.images]
    missing = [path for path in paths if not path.is_file()]
    if len(missing) == len(paths):
        raise ValueError(
            f"{folder}: holds no image of the ground truth, such as "
            f"{missing[0].relative_to(folder)}"
        )
    if missing and not settings["allow_missing"]:
        raise ValueError(
            f"{missing[0]}: missing, with {len(missing) - 1} others of {len(paths)} images; "
            "--allow_missing tests the rest"
        )
    return sorted(set(paths) - set(missing))


def sorted_by_size(paths):
    """Returns the paths by size of the image: a network that keeps its size runs faster."""

    def size(path):
        try:
            with Image.open(path) as image:
                return image.size
        except OSError:
            return (0, 0)  # whoever reads it says what is wrong

    return sorted(paths, key=size)


def claim_results(settings):
    """Notes in the result folder what its results were made with.

    Raises:
        ValueError: the folder holds results of other settings, or of unknown ones.
    """
    folder = Path(settings["result_dir"])
    note = folder / "settings.json"
    own = {key: settings[key] for key in _DECISIVE}
    own["weights"] = weights_digest(settings["model_path"])
    advice = "choose another result_dir, delete this one, or use --score_only"
    if note.is_file():
        try:
            found = dict(json.loads(note.read_text(encoding="utf-8")))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{note}: damaged ({error}); {advice}") from error
        changed = [key for key in own if found.get(key) != own[key]]
        if changed:
            was, now = found.get(changed[0]), own[changed[0]]
            raise ValueError(
                f"{folder}: holds results made with {changed[0]} {was}, not {now}; {advice}"
            )
    elif next(folder.glob("*/*.txt"), None):
        raise ValueError(f"{folder}: holds results of unknown settings; {advice}")
    else:
        with replacing(note) as temporary:
            temporary.write_text(json.dumps(own, indent=2), encoding="utf-8")


def build_detector(settings):
    """Returns the Retinaface of the settings; the images come to it in their test size."""
    from retinaface import Retinaface

    print(f"Building the network on {device_name()}")
    keys = ("model_path", "backbone", "confidence", "nms_iou", "engine", "batch_size")
    return Retinaface(letterbox_image=False, **{key: settings[key] for key in keys})


def detect(photos, settings, detector):
    """Stage: finds the faces of the photos in all their views."""
    limit = None if settings["original_size"] else settings["input_shape"][:2]
    seen = [views(photo.image, limit, settings["scales"], settings["flip"]) for photo in photos]
    found = iter(detector.detect_batch([view.image for group in seen for view in group]))
    for photo, group in zip(photos, seen, strict=True):
        faces = merge([view.to_original(next(found)) for view in group], settings["nms_iou"])
        photo.faces = faces.clip(photo.image.shape[:2])


def write(photos, settings):
    """Stage: writes the result files of the photos."""
    for photo in photos:
        write_result(
            settings["result_dir"], photo.source.parent.name, photo.source.name, photo.faces
        )


def result_path(settings, event, name):
    """Returns where the result of an image lies."""
    return Path(settings["result_dir"], event, f"{name}.txt")


def save_report(settings, curves, scored, clock):
    """Writes the figures and the picture to the output folder; returns their paths."""
    from utils.pictures.plots import save_precision_recall

    folder = Path(settings["output_dir"])
    paths = [folder / "widerface.json", folder / "widerface_precision_recall.png"]
    report = {
        "average_precision": {name: number(c.average_precision) for name, c in curves.items()},
        "faces": {name: curve.faces for name, curve in curves.items()},
        "images": scored,
        "settings": settings,
        "seconds": clock.seconds,
        "stages": clock.stages(),
    }
    with replacing(paths[0]) as temporary:
        temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False), encoding="utf-8")
    lines = {
        f"{name} (AP {curve.average_precision:.4f})": (curve.recall, curve.precision)
        for name, curve in curves.items()
        if curve.faces
    }
    save_precision_recall(paths[1], lines, f"WIDER FACE validation, {scored} images")
    return paths


def number(value):
    """Returns a float as a JSON value: null for NaN, a setting without faces."""
    return None if np.isnan(value) else float(value)


if __name__ == "__main__":
    run(main)
