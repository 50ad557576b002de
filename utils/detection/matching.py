"""Assigns labelled faces to anchors and encodes the training targets."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from utils.detection.box_coding import VARIANCES, encode_boxes, encode_landmarks

IOU_THRESHOLD = 0.35


def match(
    boxes: tf.Tensor,
    landmarks: tf.Tensor,
    has_landmarks: tf.Tensor,
    anchors: np.ndarray,
    iou_threshold: float = IOU_THRESHOLD,
    variances: Sequence[float] = VARIANCES,
) -> dict[str, tf.Tensor]:
    """Returns the targets of all anchors of an image for its faces.

    An anchor is positive for the face that it overlaps most, if by more than `iou_threshold`.
    Beyond that each face claims its best anchor, whatever other faces the anchor overlaps
    (RetinaFace, Deng et al., 2019, arXiv:1905.00641). Of two faces with the same best anchor the
    one of larger IoU has it, the earlier one on a tie; the other keeps its anchors above the
    threshold. All ties go to the lower index.

    Args:
        boxes: (N, 4) xyxy, fractions of the image; N may be 0. Boxes without area, which pad a
            batch, match nothing.
        landmarks: (N, 5, 2) x, y as fractions of the image.
        has_landmarks: (N,) bool; landmarks of the others are not read.
        anchors: (A, 4) float32 NumPy array, xyxy, fractions of the image, from
            `utils.detection.anchors.Anchors`. What depends on it alone is computed when a graph is traced,
            so call this in a graph.
        iou_threshold: overlap above which an anchor is positive.
        variances: of the encoding, as in `utils.detection.box_coding`.

    Returns:
        The targets of `nets.detection_losses.multibox_loss`: boxes (A, 4) and landmarks (A, 10)
        float32 encoded, label (A,) int32 with 1 for a face and 0 for background, has_landmarks
        (A,) float32 with 1 where the landmarks are labelled. What does not apply is 0.
    """
    boxes, landmarks, has_landmarks = _with_padding(boxes, landmarks, has_landmarks)
    positive, face = _assign(_pairwise_iou(boxes, anchors), iou_threshold)

    matched_anchors = tf.gather(anchors, positive)
    labelled = tf.gather(has_landmarks, face)
    points = tf.where(labelled[:, None], tf.gather(landmarks, face), 0.0)
    points = encode_landmarks(points, matched_anchors, variances)
    box_codes = encode_boxes(tf.gather(boxes, face), matched_anchors, variances)

    def on_all_anchors(values: tf.Tensor) -> tf.Tensor:
        return tf.scatter_nd(positive[:, None], values, [len(anchors), *values.shape[1:]])

    return {
        "boxes": on_all_anchors(box_codes),
        "landmarks": on_all_anchors(tf.where(labelled[:, None], points, 0.0)),
        "label": on_all_anchors(tf.ones_like(face)),
        "has_landmarks": on_all_anchors(tf.cast(labelled, tf.float32)),
    }


def _with_padding(
    boxes: tf.Tensor, landmarks: tf.Tensor, has_landmarks: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Adds a face without area, so that reductions over faces are defined when there are none."""
    boxes = tf.pad(tf.cast(boxes, tf.float32), [[0, 1], [0, 0]])
    landmarks = tf.pad(tf.reshape(tf.cast(landmarks, tf.float32), [-1, 10]), [[0, 1], [0, 0]])
    return boxes, landmarks, tf.pad(tf.cast(has_landmarks, tf.bool), [[0, 1]])


def _pairwise_iou(boxes: tf.Tensor, anchors: np.ndarray) -> tf.Tensor:
    """Returns the (A, N) IoU of N faces and A anchors.

    See also `utils.faces.boxes.iou`, the same in NumPy. Here it is part of the training's graph.
    """
    x1, y1, x2, y2 = tf.unstack(boxes, axis=1)
    shared = _overlap(x1, x2, anchors[:, 0::2]) * _overlap(y1, y2, anchors[:, 1::2])
    area = tf.nn.relu(x2 - x1) * tf.nn.relu(y2 - y1)
    anchor_area = np.prod(anchors[:, 2:] - anchors[:, :2], axis=1, keepdims=True)
    return shared / (area + anchor_area - shared)


def _overlap(low: tf.Tensor, high: tf.Tensor, intervals: np.ndarray) -> tf.Tensor:
    """Returns the shared lengths (A, N) of the intervals (A, 2) and of N faces along one axis.

    Anchors on a grid repeat their columns in every row: at 832x832 only 364 of 28,392 intervals
    differ, so copying rows of a small table halves the time.
    """
    distinct, row = np.unique(intervals, axis=0, return_inverse=True)
    length = tf.minimum(distinct[:, 1:], high) - tf.maximum(distinct[:, :1], low)
    return tf.gather(tf.nn.relu(length), row.reshape(-1).astype(np.int32))


def _assign(overlaps: tf.Tensor, threshold: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the positive anchors (P,) of an IoU (A, N), and the face of each: indices, int32."""
    best_anchor = tf.argmax(overlaps, axis=0, output_type=tf.int32)
    claims = tf.linalg.diag_part(tf.gather(overlaps, best_anchor)) > 0.0
    anchor_count = tf.shape(overlaps)[0]
    claimed = tf.scatter_nd(best_anchor[:, None], tf.cast(claims, tf.int32), [anchor_count]) > 0
    positive = tf.where(claimed | (tf.reduce_max(overlaps, axis=1) > threshold))[:, 0]
    positive = tf.cast(positive, tf.int32)

    # A claim outweighs any IoU; among several claims, or none, the IoU decides.
    is_claim = claims & (best_anchor == positive[:, None])
    score = tf.gather(overlaps, positive) + 2.0 * tf.cast(is_claim, tf.float32)
    return positive, tf.argmax(score, axis=1, output_type=tf.int32)
