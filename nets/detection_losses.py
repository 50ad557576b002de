"""The multibox loss of RetinaFace (Deng et al., 2019, arXiv:1905.00641)."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from nets.smooth_l1 import smooth_l1

NEGATIVES_WITHOUT_FACES = 100
_EPSILON = 1e-7


def multibox_loss(
    targets: Mapping[str, tf.Tensor],
    bbox: tf.Tensor,
    cls: tf.Tensor,
    ldm: tf.Tensor,
    neg_pos: float = 7,
    box_weight: float = 2.0,
) -> dict[str, tf.Tensor]:
    """Returns the losses of a batch, each a sum over the batch divided by its number of positive anchors.

    The class loss takes all P positive anchors and the `neg_pos` * P background anchors of
    highest loss. They are mined over the whole batch, as in the Keras original, so that photos
    without faces contribute too; a batch without any face takes 100. The landmark loss is divided
    by the number of positive anchors with landmarks, as in the Keras and the PyTorch original. A
    divisor is at least 1.

    Args:
        targets: batched output of `utils.detection.matching.match`: boxes (B, A, 4), landmarks (B, A, 10),
            label (B, A) with 1 face and 0 background, has_landmarks (B, A).
        bbox: (B, A, 4) encoded boxes of the network.
        cls: (B, A, 2) softmax probabilities, face at index 1.
        ldm: (B, A, 10) encoded landmarks of the network.
        neg_pos: background anchors per positive anchor.
        box_weight: factor of the box loss, cfg["loc_weight"].

    Returns:
        Dict of float32 scalars, whose sum is the training loss: "box" smooth-L1 times
        `box_weight`, "class" cross-entropy, "landmarks" smooth-L1. Finite, with finite gradients,
        also where an image has no positive or no background anchor.
    """
    positive = tf.cast(targets["label"], tf.float32)
    labelled = positive * tf.cast(targets["has_landmarks"], tf.float32)
    box = _coding_error(targets["boxes"], bbox)
    landmarks = _coding_error(targets["landmarks"], ldm)
    return {
        "box": box_weight * _weighted_mean(positive, box),
        "class": _mined_cross_entropy(positive, tf.cast(cls, tf.float32), neg_pos),
        "landmarks": _weighted_mean(labelled, landmarks),
    }


def imitation_loss(teacher: Sequence[tf.Tensor], student: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns how far a detector's outputs are from a teacher's, where the teacher sees faces.

    An anchor counts as much as the teacher's probability of a face. The class loss is the
    Kullback-Leibler divergence, summed over all anchors: each false face of the student counts.

    Args:
        teacher: (bbox, cls, ldm) of (B, A, 4), (B, A, 2) and (B, A, 10), see `multibox_loss`.
        student: the same of the student.

    Returns:
        Dict of float32 scalars "box", "class", "landmarks": mean absolute errors of the encoded
        values, and the divergence, each divided by the sum of the teacher's probabilities.
    """
    boxes, cls, landmarks = (tf.cast(x, tf.float32) for x in teacher)
    own_boxes, own_cls, own_landmarks = (tf.cast(x, tf.float32) for x in student)
    face = cls[..., 1]
    divergence = cls * (tf.math.log(_EPSILON + cls) - tf.math.log(_EPSILON + own_cls))
    return {
        "box": _weighted_mean(face, tf.reduce_mean(tf.abs(boxes - own_boxes), axis=-1)),
        "class": tf.reduce_sum(divergence) / tf.maximum(tf.reduce_sum(face), 1.0),
        "landmarks": _weighted_mean(face, tf.reduce_mean(tf.abs(landmarks - own_landmarks), -1)),
    }


def _coding_error(truth: tf.Tensor, prediction: tf.Tensor) -> tf.Tensor:
    """Returns the smooth L1 loss, summed over the last axis: (B, A, K) -> (B, A)."""
    error = tf.cast(prediction, tf.float32) - tf.cast(truth, tf.float32)
    return tf.reduce_sum(smooth_l1(error), axis=-1)


def _weighted_mean(weights: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Returns the sum of weights times values over the sum of weights, or over 1 if that is less."""
    return tf.reduce_sum(weights * values) / tf.maximum(tf.reduce_sum(weights), 1.0)


def _mined_cross_entropy(positive: tf.Tensor, cls: tf.Tensor, neg_pos: float) -> tf.Tensor:
    # Added rather than a lower limit, which would stop the gradient where it is needed most.
    log_probabilities = tf.math.log(_EPSILON + (1.0 - _EPSILON) * cls)
    background_loss, face_loss = -log_probabilities[..., 0], -log_probabilities[..., 1]

    positives = tf.reduce_sum(positive)
    wanted = tf.where(positives > 0.0, neg_pos * positives, float(NEGATIVES_WITHOUT_FACES))
    # Sorting everything, instead of top_k with a k that varies, keeps shapes static for XLA.
    # Positive anchors count 0 here: wanting more than the background anchors adds nothing.
    hardest = tf.sort(tf.reshape((1.0 - positive) * background_loss, [-1]), direction="DESCENDING")
    rank = tf.range(tf.size(hardest), dtype=tf.int32)
    mined = tf.reduce_sum(tf.where(rank < tf.cast(wanted, tf.int32), hardest, 0.0))
    return (tf.reduce_sum(positive * face_loss) + mined) / tf.maximum(positives, 1.0)
