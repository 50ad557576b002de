"""Turns a folder of photos, datasets/<person>/*.jpg, into a training list; aligns them if asked to.

Writes cls_train.txt, with a line `id;path` for each photo. With --align the face of each photo is cut
out first, into a second folder, and the list is of the crops; a run that was stopped goes on there.
With --wider_labels_path it writes where the faces are instead, to train a detector.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from facenet import build_detector
from utils.datasets.crop_rules import FORMATS, MODES, CropRules
from utils.datasets.crops import DatasetAlignment, crop_folder
from utils.datasets.labelling import label_folder
from utils.datasets.listing import (
    beside_list,
    count_people,
    draw_chart,
    list_photos,
    print_left_out,
    read_all,
    write_lists,
)
from utils.datasets.report import KEPT
from utils.datasets.screening import screen
from utils.datasets.splits import SPLITS, summarise
from utils.detection.multi_scale import detect_twice
from utils.engine.devices import device_name
from utils.engine.engine import ENGINES
from utils.evaluation.embedder import DETECTOR_WEIGHTS, detector_weights
from utils.files.digests import weights_digest
from utils.settings.command_line import from_command_line, run
from utils.settings.settings import describe
from utils.weights.networks import DETECTORS

_defaults = {
    # photos:
    "datasets_path": "datasets",  # folder that holds a folder of photos for each person
    "identities_path": None,  # text file of lines `file identity`, such as CelebA's
    "drop_duplicates": True,  # leave out copies of a file, and every file that two people share
    "check_images": True,  # without align: decode each photo, leave out unreadable ones
    # aligning:
    "align": False,  # cut out the face of each photo
    "aligned_path": None,  # folder of the crops and report.csv; none: datasets_path with _aligned
    "crop_mode": "warp",  # warp: by five landmarks, for ArcFace; crop: the box and a margin
    "crop_size": 112,  # side of the square crops, pixels: 112 ArcFace, 160 or 182 FaceNet
    "margin": 0.25,  # crop: added to width and height in all, as a share of the box's longer side
    "crop_format": "jpg",  # jpg: quality 95; png: lossless, 3.5 times as large
    "min_face_size": 20,  # shorter side of a face in the photo, pixels; smaller ones do not count
    "strict": False,  # drop photos of several faces; no: take the largest, weighted to the centre
    "random_order": False,  # lets several processes share the work: start this script several times
    # detector:
    "detector": "retinaface",  # what finds the faces
    "detector_model_path": None,  # its weights (mtcnn: folder); none: those of model_data
    "detector_backbone": None,  # of retinaface: mobilenet or resnet50; none: what the weights are of
    "detector_confidence": None,  # of retinaface: least score of a face; none: 0.5
    # of retinaface: larger photos are scaled down to height, width, 3; none: 1280,1280,3
    "detector_input_shape": None,
    # look again at twice the size when a photo of up to 640 pixels shows no clear face
    "second_look": True,
    "engine": "auto",  # see utils/engine/engine.py
    "batch_size": 32,  # photos in work at once
    # lists:
    "wider_labels_path": None,  # file to write: labels of all faces, to train a detector; no other list is written then
    "cls_train_path": "cls_train.txt",  # the training list; the chart (and the report) are named after it
    "cls_val_path": "cls_val.txt",  # the list of what is held out
    "absolute_paths": True,  # no: paths relative to the list's folder, to move both together
    "min_images": 1,  # people with fewer photos are left out; 2 for triplets
    "val_share": 0.0,  # share of the people, or of each person's images, to hold out
    "val_split": "identity",  # identity: people never trained on; image: new photos of the same
    "seed": 0,  # seed of the choice of what is held out
}
_choices = {
    "crop_mode": MODES,
    "crop_format": FORMATS,
    "detector": tuple(DETECTOR_WEIGHTS),
    "detector_backbone": (*DETECTORS, None),
    "engine": ENGINES,
    "val_split": tuple(SPLITS),
}
_ranges = {
    "crop_size": (1, None),
    "margin": (0, None),
    "min_face_size": (0, None),
    "detector_confidence": (0, 1),
    "batch_size": (1, None),
    "min_images": (1, None),
    "val_share": (0, 0.99),
    "seed": (0, None),
}
_RULES = ("crop_mode", "crop_size", "margin", "min_face_size", "strict", "crop_format")  # as in CropRules
_DECISIVE = ("detector", "detector_backbone", "detector_confidence", "detector_input_shape", "second_look")


def main() -> None:
    """Writes the lists of a dataset, whose faces are cut out first if asked to, or its labels."""
    settings = from_command_line(_defaults, __file__, __doc__, choices=_choices, ranges=_ranges)
    detecting = settings["align"] or settings["wider_labels_path"]
    title = "txt_annotation.py" + (f" on {device_name()}" if detecting else "")
    print(describe(settings, title, _defaults))
    if settings["wider_labels_path"]:
        label_folder(settings, partial(second_looking, settings))
    else:
        write_people(settings)


def write_people(settings: Mapping[str, Any]) -> None:
    """Writes the training list, the list of what is held out, the report and the chart."""
    target = settings["cls_train_path"]
    alignment = open_alignment(settings) if settings["align"] else None
    listing = list_photos(settings["datasets_path"], settings["identities_path"])
    portraits, dropped = screen(listing.portraits, settings["drop_duplicates"])
    if alignment:
        rows = alignment.align(portraits, dropped, partial(second_looking, settings), settings)
        paths = {row.file: alignment.folder / row.crop for row in rows}
        report = alignment.report.path
    else:
        report = beside_list(target, "report.csv")
        rows = read_all(portraits, dropped, report, settings["check_images"])
        paths = {portrait.file: portrait.path for portrait in portraits}
    print_left_out(rows, report)
    kept = [row for row in rows if row.result == KEPT]
    people = {portrait.person for portrait in listing.portraits}
    counts = count_people(kept, [*listing.empty, *people], settings["min_images"])
    kept = [row for row in kept if row.person in counts]
    write_lists([paths[row.file] for row in kept], [row.person for row in kept], settings)
    draw_chart(counts, beside_list(target, "images.png"))
    print(summarise(counts))


def open_alignment(settings: Mapping[str, Any]) -> DatasetAlignment:
    """Returns the alignment of the settings, with what earlier runs have done."""
    folder = crop_folder(settings["datasets_path"], settings["aligned_path"])
    rules = CropRules(*(settings[key] for key in _RULES))
    return DatasetAlignment(folder, rules, decisive_settings(settings))


def decisive_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what decides a detection as JSON values, the weights by their content."""
    return {**{key: settings[key] for key in _DECISIVE}, "weights": weights_digest(detector_weights(settings))}


def second_looking(settings: Mapping[str, Any]) -> Callable:
    """Returns detect_batch of the detector of the settings, with a second look if asked for."""
    detect_batch = build_detector(settings, enlarge=False).detect_batch
    return partial(detect_twice, detect_batch=detect_batch) if settings["second_look"] else detect_batch


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of any language, any terminal
    run(main)
