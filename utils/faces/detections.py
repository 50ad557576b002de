"""The faces found in one image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from utils.faces import boxes as box_geometry
from utils.faces.choice import largest_face
from utils.images.placement import Letterbox

# Landmark i of a mirrored face is landmark MIRRORED[i] of the face: eyes and mouth corners swap.
MIRRORED = (1, 0, 2, 4, 3)


@dataclass(frozen=True, eq=False)
class Detections:
    """N faces of one image, best score first as detectors return them.

    Attributes:
        boxes: (N, 4) float32 xyxy, pixels.
        scores: (N,) float32, 0 to 1.
        landmarks: (N, 5, 2) float32 x, y in pixels: left eye, right eye, nose, left and right
            corner of the mouth, as seen in the image.

    Raises:
        ValueError: the shapes do not fit each other.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray

    def __post_init__(self) -> None:
        """Makes the arrays float32 and checks their shapes."""
        for name in ("boxes", "scores", "landmarks"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float32))
        count = self.scores.size
        found = (self.boxes.shape, self.scores.shape, self.landmarks.shape)
        if found != ((count, 4), (count,), (count, 5, 2)):
            raise ValueError("boxes {}, scores {}, landmarks {}: (N, 4), (N,), (N, 5, 2) expected".format(*found))

    @classmethod
    def best_first(cls, boxes: np.ndarray, scores: np.ndarray, landmarks: np.ndarray) -> Self:
        """Returns detections sorted by score; of equal scores the lower index goes first."""
        return cls(boxes, scores, landmarks)[np.argsort(-np.asarray(scores), kind="stable")]

    @classmethod
    def empty(cls) -> Self:
        """Returns detections of no face, for an image without any."""
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))

    @classmethod
    def from_array(cls, array: np.ndarray) -> Self:
        """Returns the detections of a (N, 15) array as `to_array` makes it."""
        array = np.asarray(array, np.float32).reshape(-1, 15)
        return cls(array[:, :4], array[:, 4], array[:, 5:].reshape(-1, 5, 2))

    def to_array(self) -> np.ndarray:
        """Returns (N, 15) float32: x1, y1, x2, y2, score, then the five landmarks as x, y."""
        flat = self.landmarks.reshape(len(self), 10)
        return np.concatenate([self.boxes, self.scores[:, None], flat], axis=1)

    def __len__(self) -> int:
        """Returns the number of faces."""
        return len(self.scores)

    def __getitem__(self, index: int | slice | np.ndarray | Sequence[int]) -> Self:
        """Returns some of the faces, as detections again.

        Args:
            index: the number of a face, a slice, a boolean mask (N,), or an array of indices, whose order is kept. A
                number gives detections of one face, so iterating yields the faces one by one.
        """
        index = np.atleast_1d(np.arange(len(self))[index])
        return type(self)(self.boxes[index], self.scores[index], self.landmarks[index])

    def largest(self) -> Self:
        """Returns the face with the largest box, see `choice.largest_face`; empty if there is none."""
        return self[largest_face(self)] if len(self) else self

    def to_original(self, letterbox: Letterbox) -> Self:
        """Returns the same faces in pixels of the image that was letterboxed."""
        return type(self)(letterbox.invert(self.boxes), self.scores, letterbox.invert(self.landmarks))

    def clip(self, size: tuple[int, int]) -> Self:
        """Returns the faces with boxes, not landmarks, clipped to an image of (height, width) pixels."""
        return type(self)(box_geometry.clip(self.boxes, size), self.scores, self.landmarks)


@dataclass(frozen=True, eq=False)
class EmbeddedFaces:
    """All N faces of one image, best score first.

    Attributes:
        detections: their boxes, scores and landmarks.
        embeddings: (N, D) float32, rows of unit length.
    """

    detections: Detections
    embeddings: np.ndarray


class NoFaceError(ValueError):
    """There is no face where one is needed; the message names the image."""
