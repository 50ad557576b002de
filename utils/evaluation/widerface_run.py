"""A test run on WIDER FACE: each image's faces are written to a result file; a stopped run goes on."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from utils.detection.multi_scale import merge, views
from utils.engine.stopwatch import Stopwatch
from utils.evaluation.embedder import DETECTOR_WEIGHTS
from utils.evaluation.widerface_metrics import PrecisionRecall
from utils.evaluation.widerface_results import GroundTruth, result_path, write_result
from utils.faces.photo_stream import Photo, face_stream
from utils.files.atomic_file import save_json
from utils.files.digests import weights_digest
from utils.weights.location import locate

# What decides the results besides the weights, which tell the backbone: a folder of results must not mix two of these.
_DECISIVE = ("confidence", "nms_iou", "input_shape", "original_size", "scales", "flip")


def detect_all(
    settings: Mapping[str, Any], truth: GroundTruth, build_detector: Callable[[], Any], clock: Stopwatch
) -> None:
    """Writes a result file for each image of the ground truth that has none yet.

    Args:
        settings: those of evaluation.py: its image_dir, result_dir, allow_missing and batch_size, and what
            `claim_results` and `detect` read.
        truth: its images are tested.
        build_detector: called only if an image is left to test; its detector must not scale images.
        clock: gets the times of the stages build, detect and write.

    Raises:
        ValueError: no or impossible scales, images that are missing or cannot be read, or a folder that holds other
            results.
    """
    if not settings["scales"] or min(settings["scales"]) <= 0:
        raise ValueError(f"scales {settings['scales']}: one or more numbers above 0 expected")
    images = find_images(settings["image_dir"], truth, settings["allow_missing"])
    claim_results(settings)
    folder = settings["result_dir"]
    todo = [path for path in images if not _result_of(path, folder).is_file()]
    if len(todo) < len(images):
        print(f"{len(images) - len(todo)} of {len(images)} images have a result already")
    if not todo:
        return
    with clock.stage("build", 1, "job"):
        detector = build_detector()

    def write(photos: list[Photo]) -> None:
        for photo in photos:
            write_result(_result_of(photo.source, folder), photo.faces)

    finding = partial(detect, settings=settings, detector=detector)
    stages = [clock.timed("detect", finding), clock.timed("write", write)]
    photos = face_stream(sorted_by_size(todo), stages, settings["batch_size"])
    for photo in tqdm(photos, total=len(todo), unit="image"):
        if photo.error:
            raise ValueError(photo.error)


def _result_of(image: Path, folder: str | os.PathLike) -> Path:
    return result_path(folder, image.parent.name, image.stem)


def find_images(image_dir: str | os.PathLike, truth: GroundTruth, allow_missing: bool = False) -> list[Path]:
    """Returns the image files of the ground truth, sorted.

    Args:
        image_dir: folder of <event>/<image>.jpg.
        truth: names the images.
        allow_missing: leave out images that are not there.

    Raises:
        ValueError: no image is there, or some are missing and `allow_missing` is false.
    """
    folder = Path(image_dir)
    if not folder.is_dir():
        raise ValueError(f"{folder}: image_dir is no folder; it should hold <event>/<image>.jpg")
    paths = [folder / event / f"{name}.jpg" for event, name in truth.images]
    missing = [path for path in paths if not path.is_file()]
    if len(missing) == len(paths):
        raise ValueError(f"{folder}: holds no image of the ground truth, such as {missing[0].relative_to(folder)}")
    if missing and not allow_missing:
        raise ValueError(
            f"{missing[0]}: missing, with {len(missing) - 1} others of {len(paths)} images; "
            "--allow_missing tests the rest"
        )
    return sorted(set(paths) - set(missing))


def sorted_by_size(paths: Iterable[Path]) -> list[Path]:
    """Returns image files sorted by width and height: the network is rebuilt for each new size."""

    def size(path: Path) -> tuple[int, int]:
        try:
            with Image.open(path) as image:
                return image.size
        except OSError:
            return (0, 0)  # the reader of the stream says what is wrong with it

    return sorted(paths, key=size)


def claim_results(settings: Mapping[str, Any]) -> None:
    """Writes into the result folder what its results are made with, or checks what stands there.

    Args:
        settings: those of evaluation.py; of them result_dir, model_path and all that decides a result.

    Raises:
        ValueError: the folder holds results of other settings, or of unknown ones.
    """
    folder = Path(settings["result_dir"])
    note = folder / "settings.json"
    own = {key: settings[key] for key in _DECISIVE}
    own["weights"] = weights_digest(locate(settings["model_path"], DETECTOR_WEIGHTS["retinaface"]))
    advice = "choose another result_dir, delete this one, or use --score_only"
    if note.is_file():
        try:
            found = dict(json.loads(note.read_text(encoding="utf-8")))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{note}: damaged ({error}); {advice}") from error
        for key, now in own.items():
            if found.get(key) != now:
                raise ValueError(f"{folder}: holds results made with {key} {found.get(key)}, not {now}; {advice}")
    elif next(folder.glob("*/*.txt"), None):
        raise ValueError(f"{folder}: holds results of unknown settings; {advice}")
    else:
        save_json(note, own)


def detect(photos: Sequence[Photo], settings: Mapping[str, Any], detector: Any) -> None:
    """Fills in the faces of photos, found in all their views: a stage of `face_stream`.

    Args:
        photos: with their images.
        settings: those of evaluation.py; of them input_shape, original_size, scales, flip and nms_iou.
        detector: its `detect_batch` sees the views as they are.
    """
    limit = None if settings["original_size"] else settings["input_shape"][:2]
    seen = [views(photo.image, limit, settings["scales"], settings["flip"]) for photo in photos]
    found = iter(detector.detect_batch([view.image for group in seen for view in group]))
    for photo, group in zip(photos, seen, strict=True):
        faces = merge([view.to_original(next(found)) for view in group], settings["nms_iou"])
        photo.faces = faces.clip(photo.image.shape[:2])


def count_results(folder: str | os.PathLike, truth: GroundTruth) -> int:
    """Returns how many images of the ground truth have a result file."""
    return sum(result_path(folder, *image).is_file() for image in truth.images)


def print_report(curves: Mapping[str, PrecisionRecall], scored: int, images: int) -> None:
    """Prints the average precisions, and how many of the images they are of if not of all.

    Args:
        curves: {setting: curve} from `evaluate_curves`.
        scored: images with a result.
        images: of the ground truth.
    """
    if scored < images:
        print(f"Only {scored} of {images} images scored: not the benchmark's figures")
    for setting, curve in curves.items():
        figure = f"{curve.average_precision:.5f}" if curve.faces else "-"
        print(f"AP {setting}: {figure} ({curve.faces} faces)")


def save_report(
    settings: Mapping[str, Any], curves: Mapping[str, PrecisionRecall], scored: int, clock: Stopwatch
) -> list[Path]:
    """Writes widerface.json and widerface_precision_recall.png; returns their paths.

    Args:
        settings: those of evaluation.py; all go into the JSON file, output_dir says where the files go.
        curves: {setting: curve} from `evaluate_curves`.
        scored: images with a result.
        clock: the times of the run.
    """
    from utils.pictures.plots import save_precision_recall

    folder = Path(settings["output_dir"])
    paths = [folder / "widerface.json", folder / "widerface_precision_recall.png"]
    report = {
        "average_precision": {name: curve.average_precision for name, curve in curves.items()},
        "faces": {name: curve.faces for name, curve in curves.items()},
        "images": scored,
        "settings": dict(settings),
        "seconds": clock.seconds,
        "stages": clock.stages(),
    }
    save_json(paths[0], report)
    lines = {
        f"{name} (AP {curve.average_precision:.4f})": (curve.recall, curve.precision)
        for name, curve in curves.items()
        if curve.faces
    }
    save_precision_recall(paths[1], lines, f"WIDER FACE validation, {scored} images")
    return paths
