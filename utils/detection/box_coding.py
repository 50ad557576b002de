"""How RetinaFace's outputs encode boxes and landmarks relative to anchors (as in SSD, Liu 2016).

The functions take NumPy arrays or TensorFlow tensors, float32, and return the same kind. Leading
dimensions broadcast: codes (B, A, 4) go with anchors (A, 4). Boxes, landmarks and anchors share one
unit, in practice fractions of the image. The variances are (centres and landmarks, log sizes).
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from utils.detection.nms import nms
from utils.faces.detections import Detections

Tensor = Any  # np.ndarray or tf.Tensor

VARIANCES = (0.1, 0.2)

# Smallest box side, as a fraction of its anchor's, that is encoded: log(0) would be infinite.
_SMALLEST = 1e-6


def encode_boxes(boxes: Tensor, anchors: Tensor, variances: Sequence[float] = VARIANCES) -> Tensor:
    """Returns boxes (..., A, 4) xyxy, encoded against anchors (A, 4) xyxy.

    Returns:
        (..., A, 4): centre offsets in anchor sides / variances[0], then the logarithms of the
        relative width and height / variances[1]. A box without width or height stays finite.
    """
    anchor_center, anchor_size = _center_size(anchors)
    center, size = _center_size(boxes)
    offset = (center - anchor_center) / (anchor_size * variances[0])
    relative = size / anchor_size
    ops = _ops(relative)
    return _join([offset, ops.log(ops.maximum(relative, _SMALLEST)) / variances[1]])


def decode_boxes(codes: Tensor, anchors: Tensor, variances: Sequence[float] = VARIANCES) -> Tensor:
    """Returns the boxes (..., A, 4) xyxy of codes (..., A, 4) that `encode_boxes` makes."""
    anchor_center, anchor_size = _center_size(anchors)
    center = anchor_center + codes[..., :2] * variances[0] * anchor_size
    half = anchor_size * _ops(codes).exp(codes[..., 2:] * variances[1]) / 2
    return _join([center - half, center + half])


def encode_landmarks(landmarks: Tensor, anchors: Tensor, variances: Sequence[float] = VARIANCES) -> Tensor:
    """Returns landmarks (..., A, 10), flat x1, y1, ..., x5, y5, encoded against anchors (A, 4) xyxy.

    Returns:
        (..., A, 10): offsets from the anchor's centre in anchor sides / variances[0].
    """
    center, size = _five_times(anchors)
    return (landmarks - center) / (size * variances[0])


def decode_landmarks(codes: Tensor, anchors: Tensor, variances: Sequence[float] = VARIANCES) -> Tensor:
    """Returns the flat landmarks (..., A, 10) of codes that `encode_landmarks` makes."""
    center, size = _five_times(anchors)
    return center + codes * variances[0] * size


def _center_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Returns centres and sizes (..., 2) of boxes; `faces.boxes.center_size`, for tensors too."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return (low + high) / 2, high - low


def _five_times(anchors: Tensor) -> tuple[Tensor, Tensor]:
    center, size = _center_size(anchors)
    return _join([center] * 5), _join([size] * 5)


def _ops(array: Tensor) -> ModuleType:
    if isinstance(array, np.ndarray):
        return np
    from tensorflow import math

    return math


def _join(parts: Sequence[Tensor]) -> Tensor:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, axis=-1)
    import tensorflow as tf

    return tf.concat(parts, axis=-1)


def decode(
    outputs: Sequence[np.ndarray],
    anchors: np.ndarray,
    size: tuple[int, int],
    confidence: float,
    nms_iou: float,
    variances: Sequence[float],
) -> Detections:
    """Returns the faces that one image's network outputs encode.

    Only the anchors above `confidence` are decoded.

    Args:
        outputs: codes (A, 4) of boxes; softmax (A, 2), the face at index 1; codes (A, 10) of landmarks.
        anchors: (A, 4) xyxy, fractions.
        size: (height, width) of the network's input in pixels.
        confidence: least score.
        nms_iou: threshold of the suppression.
        variances: of the coding.

    Returns:
        Detections in pixels of the network's input.
    """
    boxes, scores, landmarks = outputs
    chosen = np.flatnonzero(scores[:, 1] > confidence)
    chosen = chosen[np.argsort(-scores[chosen, 1], kind="stable")]
    if not chosen.size:
        return Detections.empty()
    scale = np.array([size[1], size[0]], np.float32)
    xyxy = decode_boxes(boxes[chosen], anchors[chosen], variances) * np.tile(scale, 2)
    points = decode_landmarks(landmarks[chosen], anchors[chosen], variances) * np.tile(scale, 5)
    found = Detections(xyxy, scores[chosen, 1], points.reshape(-1, 5, 2))
    return found[nms(found.boxes, found.scores, nms_iou)]
