"""Labels for training a detector that another detector gives."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np

from utils.datasets.wider_labels import LabelledImage
from utils.faces.photo_stream import detect_faces, face_stream


def label_photos(
    paths: Iterable[str | os.PathLike],
    detect_batch: Callable,
    threads: int = 2,
    batch_size: int = 32,
) -> Iterator[LabelledImage | str]:
    """Finds the faces of photos.

    Args:
        paths: photos.
        detect_batch: list of images -> list of Detections.
        threads: that read.
        batch_size: photos in work at once.

    Yields:
        A photo's `LabelledImage`; where it cannot be read, one line that says why. A photo without
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
