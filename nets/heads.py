"""Heads that turn embeddings into class scores while a recognition network is trained."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from nets.layers import PACKAGE
from nets.recognition_losses import NORM_EPSILON, center_update

COSINE_LIMIT = 1.0 - 1e-7  # at a cosine of 1 the slope of the angle is infinite


def sample_classes(labels: tf.Tensor, num_classes: int, num_sampled: int, seed: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws the classes one step of Partial FC compares with (An et al., 2021).

    All classes of the batch are in; the rest are drawn uniformly without repeats. The same seed
    draws the same classes.

    Args:
        labels: (B,) integers in [0, C).
        num_classes: C.
        num_sampled: S, from 1 to C; grows to the number of classes in the batch if that is more.
        seed: two integers, a list or a tensor, such as [run seed, step].

    Returns:
        Sampled classes, (S,) int32, ascending; and the place of each label among them, (B,) int32.
    """
    labels = tf.cast(labels, tf.int32)
    present = tf.math.unsorted_segment_max(tf.ones_like(labels), labels, num_classes) > 0
    draw = tf.random.stateless_uniform((num_classes,), seed)
    priority = tf.where(present, 2.0, draw)
    size = tf.maximum(num_sampled, tf.math.count_nonzero(present, dtype=tf.int32))
    classes = tf.sort(tf.math.top_k(priority, size, sorted=False).indices)
    return classes, tf.searchsorted(classes, labels)


@keras.saving.register_keras_serializable(package=PACKAGE)
class ArcMargin(keras.layers.Layer):
    """Cosines of embeddings with one learnt direction a class (Deng et al., 2019).

    The margin belongs to the loss, `arcface_logits` or `cosface_logits`. Both sides are
    L2-normalised here, in float32 whatever the dtype policy.

    Attributes:
        W: (D, C) weight; only the direction of a column counts.
    """

    def __init__(self, num_classes: int, sample_rate: float = 1.0, **kwargs: Any) -> None:
        """Sets up the head.

        Args:
            num_classes: C, people to tell apart.
            sample_rate: share of the classes, in (0, 1], that `sampled` compares with.
            **kwargs: of the Keras layer; the dtype is float32 unless given.

        Raises:
            ValueError: sample_rate is not in (0, 1].
        """
        if not 0.0 < sample_rate <= 1.0:
            raise ValueError(f"sample_rate {sample_rate} is not in (0, 1]")
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        self.num_classes = num_classes
        self.sample_rate = sample_rate
        self.num_sampled = max(1, round(sample_rate * num_classes))

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates W for embeddings of `input_shape` (B, D)."""
        self.W = self.add_weight(name="W", shape=(input_shape[-1], self.num_classes), initializer="glorot_uniform")

    def call(self, embeddings: tf.Tensor) -> tf.Tensor:
        """Compares (B, D) embeddings, of any float type and norm, with all classes.

        Returns (B, C) float32 cosines, clipped 1e-7 inside [-1, 1].
        """
        return self._cosines(embeddings, tf.convert_to_tensor(self.W))

    def sampled(self, embeddings: tf.Tensor, labels: tf.Tensor, seed: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Compares embeddings with `sample_rate` of the classes, their own among them.

        Time and memory fall with the rate, since only the sampled columns of W are normalised and
        multiplied; no other column gets a gradient.

        Args:
            embeddings: (B, D).
            labels: (B,) integers in [0, C).
            seed: two integers; see `sample_classes`.

        Returns:
            (B, S) float32 cosines, and the labels' columns in them, (B,) int32.
        """
        if self.num_sampled >= self.num_classes:
            return self.call(embeddings), tf.cast(labels, tf.int32)
        classes, places = sample_classes(labels, self.num_classes, self.num_sampled, seed)
        weights = tf.gather(tf.convert_to_tensor(self.W), classes, axis=1)
        return self._cosines(embeddings, weights), places

    def _cosines(self, embeddings: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        embeddings, weights = tf.cast(embeddings, tf.float32), tf.cast(weights, tf.float32)
        rows = tf.math.l2_normalize(embeddings, axis=1, epsilon=NORM_EPSILON)
        columns = tf.math.l2_normalize(weights, axis=0, epsilon=NORM_EPSILON)
        return tf.clip_by_value(tf.matmul(rows, columns), -COSINE_LIMIT, COSINE_LIMIT)

    def get_config(self) -> dict[str, Any]:
        """Returns the settings that rebuild the layer."""
        return {**super().get_config(), "num_classes": self.num_classes, "sample_rate": self.sample_rate}


def move_centers(centers: tf.Variable, embeddings: tf.Tensor, labels: tf.Tensor, rate: float) -> None:
    """Moves the centres of center loss by `center_update`; under a strategy, with the batch of all replicas.

    Args:
        centers: (C, D) float32 variable, aggregated by ONLY_FIRST_REPLICA.
        embeddings: (B, D).
        labels: (B,) integers in [0, C).
        rate: of the centres' own updates, in [0, 1].
    """
    replica = tf.distribute.get_replica_context()
    if replica and replica.num_replicas_in_sync > 1:
        embeddings, labels = replica.all_gather((embeddings, labels), axis=0)
    centers.assign(center_update(centers, embeddings, labels, rate))
