"""Positions of a training's stream: how workers share them, and which image stands at each."""

from typing import Any

import tensorflow as tf

from utils.generators.samplers import Sampler

Shard = tuple[int, int]

_ENDLESS = 1 << 62  # positions: 10,000 images a second for ten million years
CHUNK = 256  # positions that are looked up at once: a call into Python costs more than the look-up


def global_position(local: Any, block: int, shard: Shard) -> Any:
    """Returns the position in the whole stream of a worker's local position.

    Blocks are dealt to the workers in turn.

    Args:
        local: int64, a tensor or array of any shape, or an int.
        block: `Sampler.block`.
        shard: (which worker from 0, number of workers).
    """
    worker, workers = shard
    return (local // block * workers + worker) * block + local % block


def local_position(position: Any, block: int, shard: Shard) -> Any:
    """Returns the local position of a position of the whole stream, see `global_position`."""
    return position // block // shard[1] * block + position % block


def ordered_images(sampler: Sampler, start: int, shard: Shard = (0, 1)) -> tf.data.Dataset:
    """Returns the images of an endless stream in their order.

    Args:
        sampler: which image comes at which position.
        start: first position of the whole stream.
        shard: (which worker from 0, number of workers); only this worker's positions come.

    Returns:
        Dataset of (positions (n,) int64, images (n,) int64), where n is a multiple of
        `sampler.group`.
    """
    chunk = CHUNK // sampler.group * sampler.group

    def look_up(first: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        position = global_position(tf.range(first, first + chunk, dtype=tf.int64), sampler.block, shard)
        image = tf.numpy_function(sampler.image, [position], tf.int64)
        return position, tf.ensure_shape(image, position.shape)

    look_up = tf.autograph.experimental.do_not_convert(look_up)
    # One chunk after the other: a round is drawn once, by the chunk that reaches it first.
    return tf.data.Dataset.range(local_position(start, sampler.block, shard), _ENDLESS, chunk).map(look_up)
