"""Rules that choose one face of a photo.

| function | rule | used for |
|---|---|---|
| `largest_face` | largest box | photos of a gallery, two photos that are compared |
| `central_face` | FaceNet's: area minus 2 x squared distance from the centre | to compare; `cut_faces` without a rule |
| `weighted_face` | area, less towards the corners | aligning datasets, LFW and other sets of pairs |
"""

from typing import TYPE_CHECKING

import numpy as np

from utils.faces.boxes import area

if TYPE_CHECKING:
    from utils.faces.detections import Detections

Size = tuple[int, int]


def largest_face(faces: "Detections", _size: Size | None = None) -> int:
    """Returns the index of the face with the largest box; the first, so the best scored, of equals.

    Args:
        faces: at least one.
    """
    return int(np.argmax(area(faces.boxes)))


def central_face(faces: "Detections", size: Size) -> int:
    """Returns the index of the face that is large and near the centre, by FaceNet's rule.

    It is that of FaceNet's dataset alignment: the largest area minus twice the squared distance of the box's centre
    from the image's, both in square pixels. On large photos it prefers a small face in the middle to any other; see
    `weighted_areas` for figures. For portraits of 250 pixels, as in LFW, it is the usual rule.

    Args:
        faces: at least one.
        size: (height, width) of the image, pixels.

    Returns:
        Its index; the first, so the best scored, of equals.
    """
    distances = _offsets(faces.boxes, size)
    return int(np.argmax(area(faces.boxes) - 2 * (distances**2).sum(axis=1)))


def weighted_face(faces: "Detections", size: Size) -> int:
    """Returns the index of the face with the largest of `weighted_areas`.

    Args:
        faces: at least one.
        size: (height, width) of the image, pixels.
    """
    return int(np.argmax(weighted_areas(faces.boxes, size)))


def weighted_areas(boxes: np.ndarray, size: Size) -> np.ndarray:
    """Returns areas of boxes, less towards the corners of their image: area * (1 - distance / farthest).

    The distance is that of the centres of box and image; the farthest is a corner's. Of 96 CelebA photos with several
    clear faces, told apart by their embeddings, the largest such value is the named person's in 94. `central_face` is
    right in 87.

    Args:
        boxes: (N, 4) xyxy, pixels.
        size: (height, width) of the image, pixels.

    Returns:
        (N,) float32, square pixels; 0 for boxes centred beyond the corners' distance.
    """
    farthest = np.hypot(*(np.array(size, np.float32) / 2))
    nearness = 1 - np.hypot(*_offsets(boxes, size).T) / farthest
    return area(boxes) * np.maximum(nearness, 0)


def _offsets(boxes: np.ndarray, size: Size) -> np.ndarray:
    """Returns (N, 2) float32 x, y from the centre of the image to those of the boxes, pixels."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2 - np.array([size[1], size[0]], np.float32) / 2
