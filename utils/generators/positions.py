"""Positions of a training's stream: how workers share them, and which images come there."""

from typing import TypeVar

import numpy as np
import tensorflow as tf

from utils.generators.samplers import Sampler

Shard = tuple[int, int]
Positions = TypeVar("Positions", tf.Tensor, np.ndarray, int)

ENDLESS = 1 << 62  # positions: 10,000 images a second for ten million years
_CHUNK = 256  # positions that are looked up at once: a call into Python costs more than the look-up


def global_position(local: Positions, block: int, shard: Shard) -> Positions:
    """Returns the position in the whole stream of a worker's local position.

    Blocks are dealt to the workers in turn.

    Args:
        local: int64, of any shape.
        block: `Sampler.block`.
        shard: (which worker from 0, number of workers).
    """
    worker, workers = shard
    return (local // block * workers + worker) * block + local % block


def local_position(position: Positions, block: int, shard: Shard) -> Positions:
    """Returns the local position of a position of the whole stream, see `global_position`."""
    return position // block // shard[1] * block + position % block


def ordered_images(sampler: Sampler, start: int, stop: int = ENDLESS, shard: Shard = (0, 1)) -> tf.data.Dataset:
    """Returns the images of a stream in their order.

    Args:
        sampler: which image comes at which position.
        start: first position of the whole stream.
        stop: the position to stop before.
        shard: (which worker from 0, number of workers); only this worker's positions come.

    Returns:
        Dataset of (positions (n,) int64, images (n,) int64), where n is a multiple of
        `sampler.group`.
    """
    start, stop = (local_position(end, sampler.block, shard) for end in (start, stop))
    chunk = _CHUNK // sampler.group * sampler.group

    def look_up(first: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        local = tf.range(first, tf.minimum(first + chunk, stop), dtype=tf.int64)
        position = global_position(local, sampler.block, shard)
        image = tf.numpy_function(sampler.image, [position], tf.int64)
        return position, tf.ensure_shape(image, position.shape)

    look_up = tf.autograph.experimental.do_not_convert(look_up)
    # One chunk after the other: a round is drawn once, by the chunk that reaches it first.
    return tf.data.Dataset.range(start, stop, chunk).map(look_up)
