"""Labels for training a face detector, given by another detector."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from utils.datasets.listing import listed, named
from utils.datasets.wider_labels import LabelledImage, label_root, write_wider_labels
from utils.engine.devices import cores
from utils.faces.photo_stream import detect_faces, face_stream
from utils.images.image_files import list_images


def label_folder(settings: Mapping[str, Any], detect_batch: Callable[[], Callable]) -> None:
    """Writes the faces of all photos of a folder as WIDER FACE labels; a photo without any is background.

    Args:
        settings: those of txt_annotation.py; of them datasets_path, wider_labels_path, absolute_paths (no: relative
            to the label file's `label_root`) and batch_size.
        detect_batch: returns the detector's function, list of images -> list of Detections; called when there are
            photos.

    Raises:
        ValueError: there are no photos, or none with a face.
    """
    folder, target = settings["datasets_path"], settings["wider_labels_path"]
    paths = list_images(folder)
    if not paths:
        raise ValueError(f"{folder}: no photos")
    stages = [partial(detect_faces, detect_batch=detect_batch())]
    photos = face_stream(paths, stages, settings["batch_size"], threads=cores())
    root = label_root(Path(target))
    labels, unreadable = [], []
    for photo in tqdm(photos, total=len(paths), unit="photo"):
        if photo.error:
            unreadable.append(photo.error)
        else:
            faces = photo.faces[np.all(photo.faces.boxes[:, 2:] > photo.faces.boxes[:, :2], axis=1)]
            name = listed(photo.source, root, settings["absolute_paths"])
            labels.append(LabelledImage(name, faces.boxes, faces.landmarks, np.ones(len(faces), bool)))
    count = sum(len(labelled.boxes) for labelled in labels)
    if not count:
        raise ValueError(f"{folder}: no face in {len(paths):,} photos")
    write_wider_labels(target, labels)
    if unreadable:
        print(f"left out {named(unreadable, 'photos that cannot be read')}")
    print(f"{target}: {count:,} faces in {len(labels):,} photos")
