"""The smooth L1 loss, which detection and distillation share (Girshick, 2015, Fast R-CNN)."""

import tensorflow as tf


def smooth_l1(error: tf.Tensor) -> tf.Tensor:
    """Returns error**2 / 2 up to an error of 1, and |error| - 1/2 beyond: Huber's loss of slope 1.

    Args:
        error: differences, of any shape.

    Returns:
        The loss of each difference, in the same shape and dtype.
    """
    error = tf.abs(error)
    return tf.where(error < 1.0, 0.5 * tf.square(error), error - 0.5)
