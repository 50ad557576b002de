"""Which face of a photo becomes a training image, and how it is cut out."""

from dataclasses import dataclass

import numpy as np

from utils.datasets.report import KEPT, NO_FACE, SEVERAL_FACES, TOO_SMALL
from utils.detection.multi_scale import CLEAR_SCORE
from utils.faces.alignment import align, crop
from utils.faces.choice import weighted_face
from utils.faces.detections import Detections

MODES = ("warp", "crop")
FORMATS = ("jpg", "png")


@dataclass(frozen=True)
class CropRules:
    """Which face of a photo is cut out, and how.

    Attributes:
        mode: "warp", by the five landmarks (`utils.faces.alignment.align`), or "crop", the box with a
            margin (`utils.faces.alignment.crop`).
        size: side of the square crops, pixels.
        margin: of "crop": added to width and height in all, as a share of the box's longer side.
        min_face_size: shorter side of a face's box, pixels; smaller faces do not count.
        strict: drop photos of several faces; else the central one is taken.
        format: "jpg" or "png".
    """

    mode: str = "warp"
    size: int = 112
    margin: float = 0.0
    min_face_size: float = 20.0
    strict: bool = False
    format: str = "jpg"

    def choose(self, faces: Detections, size: tuple[int, int]) -> tuple[str, int]:
        """Chooses the face of a photo: of the clear ones the largest, weighted to the centre.

        A face of `multi_scale.CLEAR_SCORE` or more is clear. If none is, the best scored is chosen:
        near the centre even a weak false face would win. For the weights see `weighted_areas`.

        Args:
            faces: of the photo.
            size: (height, width) of the photo.

        Returns:
            `KEPT` and the index of the face, or why there is none and -1.
        """
        if not len(faces):
            return NO_FACE, -1
        sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]).min(axis=1)
        large = np.flatnonzero(sides >= self.min_face_size)
        if not large.size:
            return TOO_SMALL, -1
        scores = faces.scores[large]
        clear = large[scores >= min(CLEAR_SCORE, scores.max())]
        if self.strict and clear.size > 1:
            return SEVERAL_FACES, -1
        return KEPT, int(clear[weighted_face(faces[clear], size)])

    def cut(self, image: np.ndarray, face: Detections) -> np.ndarray:
        """Cuts out a face.

        Args:
            image: (H, W, 3) uint8.
            face: one face.

        Returns:
            (size, size, 3) uint8.

        Raises:
            ValueError: its box or landmarks cannot be used.
        """
        if self.mode == "warp":
            return align(image, face.landmarks[0], self.size)
        return crop(image, face.boxes[0], self.margin, self.size)
