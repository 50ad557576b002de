"""The faces found in one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from utils.faces import boxes as box_geometry
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
        ValueError: The shapes do not fit each other.
    """

    boxes: np.ndarray
    scores: np.ndarray
    landmarks: np.ndarray

    def __post_init__(self):
        """Makes the arrays float32 and checks their shapes."""
        for name in ("boxes", "scores", "landmarks"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float32))
        count = self.scores.size
        found = (self.boxes.shape, self.scores.shape, self.landmarks.shape)
        if found != ((count, 4), (count,), (count, 5, 2)):
            raise ValueError(
                "boxes {}, scores {}, landmarks {}: (N, 4), (N,), (N, 5, 2) expected".format(*found)
            )

    @classmethod
    def best_first(cls, boxes: np.ndarray, scores: np.ndarray, landmarks: np.ndarray) -> Detections:
        """Builds detections sorted by score; of equal scores the lower index goes first."""
        return cls(boxes, scores, landmarks)[np.argsort(-np.asarray(scores), kind="stable")]

    @classmethod
    def empty(cls) -> Detections:
        """No faces."""
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))

    @classmethod
    def from_array(cls, array: np.ndarray) -> Detections:
        """Inverts `to_array`."""
        array = np.asarray(array, np.float32).reshape(-1, 15)
        return cls(array[:, :4], array[:, 4], array[:, 5:].reshape(-1, 5, 2))

    def to_array(self) -> np.ndarray:
        """(N, 15) float32: x1, y1, x2, y2, score, then the five landmarks as x, y."""
        flat = self.landmarks.reshape(len(self), 10)
        return np.concatenate([self.boxes, self.scores[:, None], flat], axis=1)

    def __len__(self) -> int:
        """The number of faces."""
        return len(self.scores)

    def __getitem__(self, index: int | slice | np.ndarray | Sequence[int]) -> Detections:
        """Some of the faces, as detections again.

        Args:
            index: A face's number (gives one face; so iterating yields faces one by one), a slice,
                a boolean mask (N,) or an array of indices, whose order is kept.
        """
        index = np.atleast_1d(np.arange(len(self))[index])
        return Detections(self.boxes[index], self.scores[index], self.landmarks[index])

    def largest(self) -> Detections:
        """The face with the largest box, the better one of equals; empty if there is none."""
        if not len(self):
            return self
        return self[int(np.argmax(box_geometry.area(self.boxes)))]

    def to_original(self, letterbox: Letterbox) -> Detections:
        """The same faces in the pixels of the image that was letterboxed."""
        return Detections(
            letterbox.invert(self.boxes), self.scores, letterbox.invert(self.landmarks)
        )

    def clip(self, size: tuple[int, int]) -> Detections:
        """Clips the boxes, not the landmarks, to an image of `size` (height, width) pixels."""
        return Detections(box_geometry.clip(self.boxes, size), self.scores, self.landmarks)


class NoFaceError(ValueError):
    """No face where one is needed; the message names the image."""
