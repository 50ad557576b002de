"""Searches small photos again, at twice the size, where a detector is not sure of any face."""

from collections.abc import Callable, Sequence

import numpy as np

from utils.faces.detections import Detections
from utils.images.image_files import Letterbox, resize

CLEAR_SCORE = 0.9
"""Score from which a face is taken for certain."""

SMALL_SIDE = 640
"""Longest side of a small photo, pixels."""


def detect_twice(
    images: Sequence[np.ndarray],
    detect_batch: Callable[[list], list[Detections]],
    clear: float = CLEAR_SCORE,
    small: int = SMALL_SIDE,
) -> list[Detections]:
    """Finds faces; where none is clear in a small photo, looks again at twice the size.

    Detectors miss the small and turned faces of small photos, or prefer a knee to them; enlarging
    every photo would cost four times as much, and finds false faces in those that were clear. On
    6,279 CelebA photos of 384 pixels RetinaFace finds no clear face in 0.7 %.

    Args:
        images: (H, W, 3) uint8 each.
        detect_batch: list of images -> list of Detections.
        clear: least score of a clear face, 0 to 1.
        small: longest side of photos that are looked at again, pixels.

    Returns:
        The detections of the look with the better best score, the first of equals.
    """
    found = list(detect_batch(images))
    again = [
        index
        for index, (image, faces) in enumerate(zip(images, found, strict=True))
        if max(image.shape[:2]) <= small and _best(faces) < clear
    ]
    if not again:
        return found
    doubled = [resize(images[index], _twice(images[index].shape)) for index in again]
    for index, faces in zip(again, detect_batch(doubled), strict=True):
        if _best(faces) > _best(found[index]):
            found[index] = faces.to_original(Letterbox(2, 2))
    return found


def _best(faces: Detections) -> np.float32:
    return faces.scores.max(initial=0)


def _twice(shape: tuple[int, ...]) -> tuple[int, int]:
    return 2 * shape[0], 2 * shape[1]
