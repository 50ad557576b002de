"""Testing at several scales and mirrored: views of an image, and their faces merged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from utils.detection.nms import nms
from utils.faces.detections import Detections
from utils.images.image_files import Letterbox, fit_within

# A mirrored face's left eye is its right eye, and so on.
_MIRRORED_LANDMARKS = np.array([1, 0, 2, 4, 3])


@dataclass(frozen=True)
class View:
    """An image as the detector should see it.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        placed: maps points of the image to points of the view (before mirroring) and back.
        mirrored: whether left and right are swapped.
    """

    image: np.ndarray
    placed: Letterbox
    mirrored: bool = False

    def to_original(self, faces: Detections) -> Detections:
        """The view's faces in pixels of the image it was made of."""
        if self.mirrored:
            faces = mirror(faces, self.image.shape[1])
        return faces.to_original(self.placed)


def views(
    image: np.ndarray,
    limit: tuple[int, int] | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
) -> list[View]:
    """Makes the views of an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        limit: (height, width) that the image is scaled to fit, up or down, ratio kept; None for
            its original size.
        scales: factors of that size, one view (or, with `flip`, a pair) each.
        flip: also the mirror image of each view.

    Returns:
        The views, each followed by its mirror image.
    """
    made = []
    for scale in scales:
        size = tuple(max(1, round(side * scale)) for side in (limit or image.shape[:2]))
        canvas, placed = fit_within(image, size)
        made.append(View(canvas, placed))
        if flip:
            made.append(View(np.ascontiguousarray(canvas[:, ::-1]), placed, mirrored=True))
    return made


def mirror(faces: Detections, width: float) -> Detections:
    """The faces as they lie in the mirror image of a `width` pixels wide image."""
    boxes, landmarks = faces.boxes.copy(), faces.landmarks[:, _MIRRORED_LANDMARKS].copy()
    boxes[:, [0, 2]] = width - faces.boxes[:, [2, 0]]
    landmarks[..., 0] = width - landmarks[..., 0]
    return Detections(boxes, faces.scores, landmarks)


def merge(found: Iterable[Detections], nms_iou: float) -> Detections:
    """Non-maximum suppression of the union: where views agree, the best scored box stays as it is.

    Args:
        found: faces of the same image, in its pixels.
        nms_iou: of boxes that overlap more than this, the better one stays; 0 to 1.

    Returns:
        The faces, best first.
    """
    found = list(found)
    if len(found) == 1:
        return found[0]
    rows = np.concatenate([faces.to_array() for faces in found] or [np.empty((0, 15))])
    faces = Detections.from_array(rows)
    return faces[nms(faces.boxes, faces.scores, nms_iou)]
