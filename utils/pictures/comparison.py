"""Compares the faces of two photos, and shows both in one picture."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.faces.detections import Detections, NoFaceError
from utils.files.unique_names import UniqueNames
from utils.images.image_files import read_image
from utils.images.placement import fit_within
from utils.pictures.drawing import draw_detections, side_by_side

_HEIGHT = 480  # pixels, of the picture of both
_SAME, _DIFFERENT = (0, 128, 0), (190, 0, 0)  # RGB, of the caption


@dataclass(frozen=True)
class Comparison:
    """What two photos have in common.

    Attributes:
        distance: Euclidean distance of the two embeddings, 0 to 2.
        threshold: the largest distance of two photos of one person.
        photos: both photos, (H, W, 3) uint8 RGB, with the faces boxed if a detector found them.
    """

    distance: float
    threshold: float
    photos: Sequence[np.ndarray]

    @property
    def same(self) -> bool:
        """Whether both photos show the same person."""
        return self.distance <= self.threshold

    @property
    def verdict(self) -> str:
        """The answer in words."""
        return "same person" if self.same else "different people"

    @property
    def figures(self) -> str:
        """The numbers behind the answer."""
        return f"distance {self.distance:.3f}, threshold {self.threshold:.3f}"

    def picture(self) -> np.ndarray:
        """Returns both photos side by side over the answer, (H, W, 3) uint8 RGB."""
        colour = _SAME if self.same else _DIFFERENT
        return side_by_side(self.photos, f"{self.verdict}: {self.figures}", colour, _HEIGHT)


def compare(facenet: Any, first: str | os.PathLike, second: str | os.PathLike) -> Comparison:
    """Compares the largest faces of two photos.

    Args:
        facenet: a `Facenet`.
        first: path of a photo.
        second: path of the other one.

    Raises:
        NoFaceError: the detector finds no face in a photo; names it.
        ImageError: a photo cannot be read.

    Example:
        >>> compare(Facenet(), "img/1_001.jpg", "img/1_002.jpg").verdict
        'same person'
    """
    photos = [read_image(first), read_image(second)]
    if facenet.detector is None:
        crops, shown = facenet.face_crops(photos), photos
    else:
        faces = facenet.find_face([first, second])
        for path, found in zip((first, second), faces, strict=True):
            if not len(found):
                raise NoFaceError(f"{path}: no face found")
        crops = facenet.face_crops(photos, faces)
        shown = [_boxed(photo, found) for photo, found in zip(photos, faces, strict=True)]
    one, other = facenet.embed_crops(crops)
    return Comparison(float(((one - other) ** 2).sum() ** 0.5), facenet.threshold, shown)


def verify(facenet: Any, pairs: Iterable[Sequence[Path]], save: Callable[[np.ndarray, str], None]) -> Iterator[str]:
    """Yields for each pair of photos a line that says whether they show the same person.

    Args:
        facenet: a `Facenet`.
        pairs: paths of two photos each.
        save: called with the picture of each pair, (H, W, 3) uint8 RGB, and its file name.

    Raises:
        NoFaceError, ImageError: as `compare`.
    """
    unique = UniqueNames()
    for first, second in pairs:
        found = compare(facenet, first, second)
        yield f"{first} | {second}: {found.verdict}, {found.figures}"
        save(found.picture(), f"{unique(f'{first.stem}_{second.stem}_verify')}.jpg")


def _boxed(photo: np.ndarray, faces: Detections) -> np.ndarray:
    """Returns a photo, scaled to the picture's height, with its faces boxed."""
    shown, placed = fit_within(photo, _HEIGHT)
    boxes, points = placed.apply(faces.boxes), placed.apply(faces.landmarks)
    return draw_detections(shown, Detections(boxes, faces.scores, points), [""] * len(faces))
