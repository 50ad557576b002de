"""Labels for training a face detector, given by another detector."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from utils.datasets.listing import listed, named
from utils.datasets.wider_labels import LabelledImage, label_root, write_wider_labels
from utils.faces.detections import Detections
from utils.faces.photo_stream import detect_faces, face_stream
from utils.images.image_files import list_images

DetectBatch = Callable[[Sequence[np.ndarray]], list[Detections]]


def label_photos(
    paths: Iterable[str | os.PathLike], detect_batch: DetectBatch, threads: int = 2, batch_size: int = 32
) -> Iterator[LabelledImage | str]:
    """Finds the faces of photos.

    Args:
        paths: the photos.
        detect_batch: list of images -> list of Detections.
        threads: that read.
        batch_size: photos in work at once.

    Yields:
        The `LabelledImage` of each photo; of one that cannot be read, one line that says why. A photo without
        faces is background for the training.
    """
    stages = [partial(detect_faces, detect_batch=detect_batch)]
    for photo in face_stream(paths, stages, batch_size, threads=threads):
        if photo.error:
            yield photo.error
        else:
            faces = photo.faces[np.all(photo.faces.boxes[:, 2:] > photo.faces.boxes[:, :2], axis=1)]
            boxes, landmarks = faces.boxes, faces.landmarks
            yield LabelledImage(str(photo.source), boxes, landmarks, np.ones(len(boxes), bool))


def label_folder(
    folder: str | os.PathLike,
    target: str | os.PathLike,
    detect_batch: Callable[[], DetectBatch],
    threads: int = 2,
    batch_size: int = 32,
    absolute: bool = True,
) -> None:
    """Writes the faces of all photos of a folder as WIDER FACE labels.

    Args:
        folder: of the photos; folders in it are searched, too.
        target: the label file.
        detect_batch: returns the detector's function, list of images -> list of Detections; called when there are
            photos.
        threads: that read.
        batch_size: photos in work at once.
        absolute: write absolute paths; otherwise paths relative to the label file's `label_root`.

    Raises:
        ValueError: there are no photos, or none with a face.
    """
    from tqdm import tqdm

    paths = list_images(folder)
    if not paths:
        raise ValueError(f"{folder}: no photos")
    found = label_photos(paths, detect_batch(), threads, batch_size)
    labels: list[LabelledImage] = []
    unreadable: list[str] = []
    for labelled in tqdm(found, total=len(paths), unit="photo"):
        if isinstance(labelled, str):
            unreadable.append(labelled)
        else:
            labels.append(labelled)
    faces = sum(len(labelled.boxes) for labelled in labels)
    if not faces:
        raise ValueError(f"{folder}: no face in {len(paths):,} photos")
    root = label_root(Path(target))
    write_wider_labels(target, [(listed(one.path, root, absolute), *one[1:]) for one in labels])
    if unreadable:
        print(f"left out {named(unreadable, 'photos that cannot be read')}")
    print(f"{target}: {faces:,} faces in {len(labels):,} photos")
