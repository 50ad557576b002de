"""tf.data pipelines that feed the training of recognition."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from utils.generators.decoding import read_face
from utils.generators.face_augmentations import Augmentation, augment
from utils.generators.pixel_changes import crop
from utils.generators.positions import CHUNK, Shard, ordered_images
from utils.generators.samplers import Sampler
from utils.generators.skipped_images import file_tensors


def recognition_dataset(
    paths: Sequence[str],
    labels: Sequence[int],
    size: tuple[int, int],
    batch_size: int,
    sampler: Sampler,
    augmentation: Augmentation,
    seed: int = 0,
    start: int = 0,
    shard: Shard = (0, 1),
    replicas: int = 1,
) -> tf.data.Dataset:
    """Returns an endless stream of training batches, of which `seed` and the position decide everything.

    An image that cannot be read is left out, and the next one takes its place: give each batch's
    `index` to a `SkippedImages`, which names the files. To resume, start at the last `index` plus 1.

    Under several replicas of one machine, distribute the dataset (its batch is split). Under
    several workers, give each one its `shard` and the batch size of a worker; tf.data's own
    sharding is then off. Without a shard it would let every worker read everything.

    Args:
        paths: (N,) image files.
        labels: (N,) class ids.
        size: (height, width) of the network's input; images are letterboxed to it.
        batch_size: images a batch; a multiple of replicas * `sampler.group`.
        sampler: which image comes at which position, from `utils.generators.samplers`.
        augmentation: how images are changed.
        seed: of the augmentation.
        start: first position; a multiple of `sampler.block` * workers.
        shard: (this worker from 0, number of workers). Blocks of positions are dealt in turn.
        replicas: parts that the batch is split into, each all anchors, all positives, all negatives.

    Returns:
        Dataset of dict(image (B, h, w, 3) float32 pixels 0..255, label (B,) int32, index (B,) int64
        position in the stream).

    Raises:
        ValueError: no images, labels that do not fit, or an impossible batch size.
        ImageError: none of several images can be read.
    """
    files = file_tensors(paths, labels)
    unit = replicas * sampler.group
    if batch_size < 1 or batch_size % unit:
        raise ValueError(f"batch_size {batch_size}: a positive multiple of {unit} expected")
    order = ordered_images(sampler, start, shard)
    faces = _read_faces(order, files, sampler.group, _with_margin(size, augmentation.crop))
    stream = tf.constant(seed, tf.int64)

    def change(index: tf.Tensor, label: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return index, label, augment(image, [stream, index], augmentation, size)

    def finish(*columns: tf.Tensor) -> dict[str, tf.Tensor]:
        return _batch(*_lay_out(columns, sampler.group, replicas))

    batches = _map(faces, change).batch(batch_size, drop_remainder=True)
    return _map(batches, finish).prefetch(tf.data.AUTOTUNE).with_options(_options(shard))


def validation_dataset(
    paths: Sequence[str], labels: Sequence[int], size: tuple[int, int], batch_size: int, margin: float = 0.0
) -> tf.data.Dataset:
    """Returns all images once, in order and unchanged; the last batch may be smaller.

    Args:
        paths: (N,) image files.
        labels: (N,) class ids.
        size: (height, width) of the network's input.
        batch_size: images a batch.
        margin: the `crop` trained with: images are made larger by it and the middle is kept.

    Returns:
        Dataset of dicts as `recognition_dataset` gives; `index` is the row of `paths`. An image
        that cannot be read is left out.

    Raises:
        ValueError: no images, or paths and labels do not fit each other.
        ImageError: none of several images can be read.
    """
    files = file_tensors(paths, labels)
    order = tf.data.Dataset.range(len(labels)).batch(CHUNK).map(lambda position: (position, position))
    faces = _read_faces(order, files, 1, _with_margin(size, margin))

    def middle(index: tf.Tensor, label: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return index, label, crop(image, size, 0.5, 0.5)

    batches = _map(_map(faces, middle).batch(batch_size), _batch)
    return batches.prefetch(tf.data.AUTOTUNE).with_options(_options((0, 1)))


def _with_margin(size: tuple[int, int], margin: float) -> tuple[int, int]:
    return round(size[0] * (1 + margin)), round(size[1] * (1 + margin))


def _batch(index: tf.Tensor, label: tf.Tensor, images: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"image": tf.cast(images, tf.float32), "label": label, "index": index}


def _read_faces(
    order: tf.data.Dataset, files: tuple[tf.Tensor, tf.Tensor], group: int, size: tuple[int, int]
) -> tf.data.Dataset:
    """Elements (position () int64, label () int32, image (h, w, 3) uint8) of readable groups."""
    paths, labels = files

    def look_up(position: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, ...]:
        columns = (position, tf.gather(labels, image), tf.gather(paths, image))
        return columns if group == 1 else tuple(tf.reshape(x, [-1, group]) for x in columns)

    def read(position: tf.Tensor, label: tf.Tensor, name: tf.Tensor) -> tuple[tf.Tensor, ...]:
        if group == 1:
            return position, label, read_face(name, size)
        return position, label, tf.stack([read_face(part, size) for part in tf.unstack(name)])

    samples = _map(order, look_up).unbatch()
    # Only reading may fail in silence (`SkippedImages` tells): a later mistake has to surface.
    faces = _map(samples, read).ignore_errors()
    return faces if group == 1 else faces.unbatch()


def _map(dataset: tf.data.Dataset, function: Callable) -> tf.data.Dataset:
    # Without AutoGraph, which has nothing to convert here, tracing takes half the time.
    function = tf.autograph.experimental.do_not_convert(function)
    return dataset.map(function, num_parallel_calls=tf.data.AUTOTUNE)


def _lay_out(columns: Sequence[tf.Tensor], group: int, replicas: int) -> Sequence[tf.Tensor]:
    """Orders a batch: each replica's part has the first image of each of its groups, then the second ones, etc."""
    if group == 1:
        return columns
    rows = np.arange(columns[0].shape[0]).reshape(replicas, -1, group).swapaxes(1, 2).ravel()
    return [tf.gather(column, rows) for column in columns]


def _options(shard: Shard) -> tf.data.Options:
    options = tf.data.Options()
    options.deterministic = True
    if shard[1] > 1:
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return options
