"""Turns a folder of photos, datasets/<person>/*.jpg, into a training list; aligns them if asked to.

Writes cls_train.txt, a line `id;path` a photo. With --align the face of each is cut out first,
into a second folder, and the list is of the crops; stopped half-way, the next run goes on.
With --wider_labels_path it writes where the faces are instead, to train a detector.
"""

import os
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from utils.datasets.cls_list import write_cls_txt
from utils.datasets.crop_rules import CropRules
from utils.datasets.crops import REPORT_NAME, DatasetAlignment
from utils.datasets.folders import list_folders, list_identities, name_problem
from utils.datasets.labelling import label_photos
from utils.datasets.report import KEPT, LABEL_CONFLICT, Row, write_report
from utils.datasets.screening import check_readable, screen
from utils.datasets.splits import SPLITS, chart, split_classes, summarise
from utils.datasets.wider_labels import label_root, write_wider_labels
from utils.detection.multi_scale import detect_twice
from utils.engine.devices import cores, device_name
from utils.images.image_files import list_images
from utils.settings.command_line import from_command_line, run
from utils.settings.settings import describe

_defaults = {
    # photos:
    "datasets_path": "datasets",  # folder with a folder of photos a person
    "identities_path": None,  # text file of lines `file identity`, such as CelebA's
    "drop_duplicates": True,  # leave out files that are equal, and all that two people share
    "check_images": True,  # without align: decode each photo, leave out unreadable ones
    # aligning:
    "align": False,  # cut out the face of each photo
    "aligned_path": None,  # folder of the crops and report.csv; none: datasets_path with _aligned
    "crop_mode": "warp",  # warp (by five landmarks, for ArcFace) or crop (the box and a margin)
    "crop_size": 112,  # side of the square crops, pixels: 112 ArcFace, 160 or 182 FaceNet
    "margin": 0.25,  # crop: added to width and height in all, as a share of the box's longer side
    "crop_format": "jpg",  # jpg (quality 95) or png (lossless, 3.5 times as large)
    "min_face_size": 20,  # shorter side of a face in the photo, pixels; smaller ones do not count
    "strict": False,  # drop photos of several faces; no: take the largest, weighted to the centre
    "random_order": False,  # lets several processes share the work: start this script several times
    # detector:
    "detector": "retinaface",  # retinaface or mtcnn
    "detector_model_path": None,  # its weights (mtcnn: folder); none: those of model_data
    "detector_backbone": "mobilenet",  # of retinaface: mobilenet or resnet50
    "confidence": 0.5,  # of retinaface: least score of a face, 0 to 1
    "input_shape": [1280, 1280, 3],  # of retinaface: larger photos are scaled down to height, width
    "second_look": True,  # search photos of up to 640 pixels with no clear face at twice the size
    "engine": "auto",  # auto, litert or keras, see utils/engine/engine.py
    "batch_size": 32,  # photos in work at once
    # lists:
    "wider_labels_path": None,  # label the faces of all photos for training a detector, only that
    "cls_train_path": "cls_train.txt",  # the list; a chart (and a report) get names like it
    "cls_val_path": "cls_val.txt",  # the list of what is held out
    "absolute_paths": True,  # no: paths relative to the list's folder, to move both together
    "min_images": 1,  # people with fewer photos are left out; 2 for triplets
    "val_share": 0.0,  # of the people, or of each one's images, to hold out, 0 to 1
    "val_split": "identity",  # identity (people never trained on) or image (new photos of the same)
    "seed": 0,  # of the choice
}
_NAMED = 5  # files or people named on the screen


def main():
    """Lists the photos, aligns them if asked to, writes the lists, the report and the chart."""
    settings = from_command_line(_defaults, __file__, __doc__)
    check(settings)
    detecting = settings["align"] or settings["wider_labels_path"]
    title = "txt_annotation.py" + (f" on {device_name()}" if detecting else "")
    print(describe(settings, title, _defaults))
    if settings["wider_labels_path"]:
        label(settings)
        return
    listing = list_photos(settings)
    portraits, dropped = screen(listing.portraits, settings["drop_duplicates"], cores())
    folder = aligned_path(settings)
    if settings["align"]:
        rows = align(portraits, dropped, folder, settings)
        paths = {row.file: folder / row.crop for row in rows}
        print_left_out(rows, folder / REPORT_NAME)
    else:
        rows = read_all(portraits, dropped, settings)
        paths = {portrait.file: portrait.path for portrait in portraits}
        print_left_out(rows, beside_list(settings, "report.csv"))
    kept = [row for row in rows if row.result == KEPT]
    people = {portrait.person for portrait in listing.portraits}
    counts = count_people(kept, [*listing.empty, *people], settings["min_images"])
    kept = [row for row in kept if row.person in counts]
    write_lists([paths[row.file] for row in kept], [row.person for row in kept], settings)
    draw_chart(counts, beside_list(settings, "images.png"))
    print(summarise(counts))


def check(settings):
    """Refuses settings that would only fail in the end.

    Raises:
        ValueError: naming the setting.
    """
    choices = {
        "detector": ("retinaface", "mtcnn"),
        "detector_backbone": ("mobilenet", "resnet50"),
        "val_split": tuple(SPLITS),
    }
    for key, allowed in choices.items():
        if settings[key] not in allowed:
            raise ValueError(f"{key} {settings[key]!r} is not {' or '.join(allowed)}")
    for key in ("batch_size", "min_images"):
        if settings[key] < 1:
            raise ValueError(f"{key} {settings[key]}: at least 1 expected")
    if not 0 <= settings["val_share"] < 1:
        raise ValueError(f"val_share {settings['val_share']}: 0 <= share < 1 expected")
    crop_rules(settings)
    source, target = (
        Path(p).resolve() for p in (settings["datasets_path"], aligned_path(settings))
    )
    if settings["align"] and (target == source or source in target.parents):
        raise ValueError(f"aligned_path {target} lies in datasets_path: it would count as a person")


def aligned_path(settings):
    """Returns the folder of the crops."""
    given = settings["aligned_path"]
    return Path(f"{os.path.abspath(settings['datasets_path'])}_aligned" if given is None else given)


def beside_list(settings, name):
    """Returns the path of a file that belongs to cls_train_path: cls_train_<name>."""
    path = Path(settings["cls_train_path"])
    return path.with_name(f"{path.stem}_{name}")


def list_photos(settings):
    """Returns the Listing of the dataset, and says what was passed over.

    Raises:
        ValueError: there are no photos.
    """
    root = settings["datasets_path"]
    if settings["identities_path"] is None:
        listing, ignored = list_folders(root), "files that are no photo in a person's folder"
    else:
        listing = list_identities(root, settings["identities_path"])
        ignored = "listed files that are missing"
    if not listing.portraits:
        raise ValueError(f"{root}: no photos; {root}/<person>/*.jpg expected")
    if listing.ignored:
        print(f"passed over {named(listing.ignored, ignored)}")
    return listing


def named(names, what):
    """Returns how many names there are of what, and some of them."""
    shown = ", ".join(ascii(name) if name_problem(name) else name for name in names[:_NAMED])
    return f"{len(names):,} {what}: {shown}{', ...' if len(names) > _NAMED else ''}"


def align(portraits, dropped, folder, settings):
    """Aligns what is not yet aligned; returns the rows of all photos."""
    from tqdm import tqdm

    alignment = DatasetAlignment(folder, crop_rules(settings), decisive_settings(settings))
    todo = alignment.unfinished(portraits)
    print(f"{len(portraits) - len(todo):,} of {len(portraits):,} photos are done already")
    if todo:
        if settings["random_order"]:  # each process another one, so no seed
            todo = [todo[i] for i in np.random.default_rng().permutation(len(todo))]
        detect_batch = second_looking(settings)
        start, done = time.perf_counter(), 0
        with tqdm(total=len(todo), unit="photo") as bar:
            for count in alignment.run(todo, detect_batch, cores(), settings["batch_size"]):
                done += count
                bar.update(count)
        seconds = time.perf_counter() - start
        print(f"{done:,} photos in {seconds:.1f} s, {done / seconds:.1f} photos/s")
    return alignment.finish(portraits, dropped)


def label(settings):
    """Writes the faces that the detector finds in all photos of a folder as WIDER FACE labels.

    Raises:
        ValueError: there are no photos, or none with a face.
    """
    from tqdm import tqdm

    paths = list_images(settings["datasets_path"])
    if not paths:
        raise ValueError(f"{settings['datasets_path']}: no photos")
    found = label_photos(paths, second_looking(settings), cores(), settings["batch_size"])
    labels, unreadable = [], []
    for labelled in tqdm(found, total=len(paths), unit="photo"):
        if isinstance(labelled, str):
            unreadable.append(labelled)
        else:
            labels.append(labelled)
    faces = sum(len(labelled.boxes) for labelled in labels)
    if not faces:
        raise ValueError(f"{settings['datasets_path']}: no face in {len(paths):,} photos")
    target = Path(settings["wider_labels_path"])
    names = [listed(labelled.path, label_root(target), settings) for labelled in labels]
    write_wider_labels(target, [(n, *one[1:]) for n, one in zip(names, labels, strict=True)])
    if unreadable:
        print(f"left out {named(unreadable, 'photos that cannot be read')}")
    print(f"{target}: {faces:,} faces in {len(labels):,} photos")


def second_looking(settings):
    """Returns detect_batch of the detector of the settings, with a second look if asked for."""
    detect_batch = build_detector(settings).detect_batch
    if settings["second_look"]:
        detect_batch = partial(detect_twice, detect_batch=detect_batch)
    return detect_batch


def crop_rules(settings):
    """Returns the CropRules of the settings."""
    return CropRules(
        mode=settings["crop_mode"],
        size=settings["crop_size"],
        margin=settings["margin"],
        min_face_size=settings["min_face_size"],
        strict=settings["strict"],
        format=settings["crop_format"],
    )


def detector_settings(settings):
    """Returns the class of the detector and its settings."""
    if settings["detector"] == "mtcnn":
        from utils.detection.mtcnn import Mtcnn as Detector

        chosen = {}
    else:
        from retinaface import Retinaface as Detector

        chosen = {key: settings[key] for key in ("confidence", "input_shape")}
        chosen |= {"backbone": settings["detector_backbone"], "enlarge": False}
    chosen["model_path"] = settings["detector_model_path"] or Detector._defaults["model_path"]
    return Detector, chosen


def decisive_settings(settings):
    """Returns what decides a detection, weights by their content."""
    from utils.files.digests import weights_digest

    _, chosen = detector_settings(settings)
    weights = weights_digest(chosen.pop("model_path"))
    own = {key: settings[key] for key in ("detector", "second_look")}
    return {**own, "weights": weights, **chosen}


def build_detector(settings):
    """Returns the detector of the settings."""
    detector, chosen = detector_settings(settings)
    return detector(engine=settings["engine"], **chosen)


def read_all(portraits, dropped, settings):
    """Reads all photos if asked to, writes the report; returns the rows of all photos."""
    if settings["check_images"]:
        from tqdm import tqdm

        rows = check_readable(portraits, cores())
        rows = list(tqdm(rows, total=len(portraits), unit="photo"))
    else:
        rows = [Row(portrait.file, portrait.person, KEPT) for portrait in portraits]
    rows = sorted([*rows, *dropped], key=lambda row: (row.person, row.file))
    write_report(beside_list(settings, "report.csv"), rows)
    return rows


def print_left_out(rows, report_path):
    """Prints how many photos were dropped, why, and where that can be read."""
    reasons = Counter(row.result for row in rows if row.result != KEPT)
    text = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    print(
        f"{len(rows) - reasons.total():,} of {len(rows):,} photos kept; dropped: {text or 'none'}"
    )
    for row in [row for row in rows if row.result == LABEL_CONFLICT][:_NAMED]:
        print(f"  label conflict: {row.file}: {row.detail}")
    print(f"report: {report_path}")


def count_people(kept, people, min_images):
    """Counts each person's photos; names the people left without an id.

    Args:
        kept: rows.
        people: all there should be.
        min_images: least number of photos of a person who gets an id.

    Returns:
        {person: photos}.

    Raises:
        ValueError: nobody is left.
    """
    counts = Counter(row.person for row in kept)
    without = sorted(set(people) - set(counts))
    few = sorted(person for person, count in counts.items() if count < min_images)
    if without:
        print(f"no id for {named(without, 'people without photos')}")
    if few:
        print(f"no id for {named(few, f'people of fewer than {min_images} photos')}")
    counts = {person: count for person, count in sorted(counts.items()) if count >= min_images}
    if not counts:
        raise ValueError("no photos are left; the report says why they were dropped")
    return counts


def write_lists(paths, people, settings):
    """Writes the training list and, if a share is held out, the validation list."""
    share = settings["val_share"]
    sides = split_classes(people, share, settings["val_split"], settings["seed"])
    keys = ["cls_train_path", "cls_val_path"] if share else ["cls_train_path"]
    for key, (indices, labels) in zip(keys, sides, strict=False):
        target = Path(settings[key])
        names = [listed(paths[i], target.parent, settings) for i in indices]
        write_cls_txt(target, names, labels)
        print(f"{target}: {len(indices):,} images of {len(np.unique(labels)):,} people")


def listed(path, folder, settings):
    """Returns an image's path as it stands in a list whose relative paths start at `folder`."""
    if settings["absolute_paths"]:
        return os.path.abspath(path)
    return Path(os.path.relpath(path, folder)).as_posix()


def draw_chart(counts, path):
    """Draws how many images people have."""
    from utils.pictures.plots import save_bars

    bars, x_label, y_label = chart(counts)
    save_bars(path, bars, "Images per person", x_label, y_label)
    print(f"chart: {path}")


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of any language, any terminal
    run(main)
