"""tf.data pipelines that feed the training of RetinaFace."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nets.normalization import normalize
from utils.config import cfg_mnet
from utils.datasets.wider_labels import LabelledImage
from utils.detection.anchors import Anchors
from utils.detection.matching import match
from utils.generators import photo_augmentations as photos
from utils.generators.decoding import read_photo
from utils.generators.photo_augmentations import Sample
from utils.generators.positions import ordered_images
from utils.generators.samplers import plain
from utils.generators.skipped_images import check_some_readable
from utils.settings.settings import override

_SIZE_MULTIPLE = 32


def detection_dataset(
    items: Sequence[LabelledImage],
    image_size: tuple[int, int],
    batch_size: int,
    augmentation: Mapping[str, Any] | None = None,
    seed: int = 0,
    start: int = 0,
    cfg: Mapping[str, Any] = cfg_mnet,
    mosaic: float = 0.0,
) -> tf.data.Dataset:
    """Returns an endless stream of augmented photos and their targets.

    `seed` and the position in the stream decide which photo an element shows and how. Each run of
    len(items) positions is a fresh permutation, and `start` continues a stream exactly where
    another left off. Photos that cannot be decoded are skipped with a warning.

    Args:
        items: from `utils.datasets.wider_labels.read_wider_labels`. Boxes refer to the upright photo, so
            after EXIF orientation.
        image_size: (height, width) of the network's input, multiples of 32.
        batch_size: photos a batch.
        augmentation: changes to `utils.generators.photo_augmentations.AUGMENTATION`.
        seed: of the order and of all augmentations.
        start: first position of the stream.
        cfg: has steps, min_sizes and variances of the anchors.
        mosaic: probability of filling an image with four photos.

    Returns:
        Dataset of dict(image (B, H, W, 3) float32 normalised "caffe", targets as
        `utils.detection.matching.match` returns them with a leading batch axis, index (B,) int64 positions in
        the stream).

    Raises:
        ValueError: no items, an unknown augmentation, or sizes that do not fit the network.
        FileNotFoundError: an image file does not exist.
        ImageError: none of several photos can be read.
    """
    settings = override(photos.AUGMENTATION, augmentation or {}, "augmentation")
    labels = _pack(items, image_size)
    to_element = _element_maker(image_size, cfg)

    def read(position: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tuple[Sample, ...]]:
        indices = _choose(index, len(items), _seeds_at(position, seed)[0], mosaic)
        return position, _read_all(indices, labels)

    def augment(position: tf.Tensor, samples: tuple[Sample, ...]) -> dict[str, Any]:
        sample = _augment(samples, image_size, _seeds_at(position, seed)[1], settings)
        return to_element(sample, position)

    elements = _elements(ordered_images(plain(items, seed), start).unbatch(), read, augment)
    return elements.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def validation_dataset(
    items: Sequence[LabelledImage], image_size: tuple[int, int], batch_size: int, cfg: Mapping[str, Any] = cfg_mnet
) -> tf.data.Dataset:
    """Returns all photos once and in order, letterboxed at the top left of `image_size` over grey.

    Arguments, elements and errors are those of `detection_dataset`; `index` counts the items and
    the last batch may be smaller.
    """
    labels = _pack(items, image_size)
    to_element = _element_maker(image_size, cfg)

    def read(index: tf.Tensor) -> tuple[tf.Tensor, Sample]:
        return index, _read(index, labels)

    def letterbox(index: tf.Tensor, sample: Sample) -> dict[str, Any]:
        window = photos.whole_window(tf.shape(sample.image)[:2], image_size)
        return to_element(photos.view(sample, window, image_size), index)

    elements = _elements(tf.data.Dataset.range(len(items)), read, letterbox)
    return elements.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _elements(order: tf.data.Dataset, read: Callable, change: Callable) -> tf.data.Dataset:
    # Only reading may fail silently: a mistake in what follows has to surface.
    samples = order.map(read, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors(log_warning=True)
    return samples.map(change, num_parallel_calls=tf.data.AUTOTUNE)


def _pack(items: Sequence[LabelledImage], image_size: tuple[int, int]) -> Sample:
    """Returns the labels of all photos, by photo, with paths for images."""
    if not items:
        raise ValueError("no labelled photos to train on: the label file lists none")
    if any(side < 1 or side % _SIZE_MULTIPLE for side in image_size):
        raise ValueError(f"image_size {tuple(image_size)}: multiples of {_SIZE_MULTIPLE} expected")
    paths, boxes, landmarks, has_landmarks = zip(*items, strict=True)
    missing = next((path for path in paths if not os.path.exists(path)), None)
    if missing is not None:
        raise FileNotFoundError(f"{missing}: the label file names it, but it does not exist")
    check_some_readable(paths, "photos")
    counts = [len(faces) for faces in boxes]

    def by_photo(parts: Sequence[np.ndarray], shape: tuple[int, ...], dtype: Any) -> tf.RaggedTensor:
        rows = np.concatenate([np.reshape(part, shape) for part in parts])
        return tf.RaggedTensor.from_row_lengths(tf.constant(rows, dtype), tf.constant(counts, tf.int64))

    with tf.device("CPU"):
        return Sample(
            tf.constant([str(path) for path in paths]),
            by_photo(boxes, (-1, 4), tf.float32),
            by_photo(landmarks, (-1, 5, 2), tf.float32),
            by_photo(has_landmarks, (-1,), tf.bool),
        )


def _read(index: tf.Tensor, labels: Sample) -> Sample:
    path, *faces = (column[index] for column in labels)
    return Sample(read_photo(path), *faces)


def _seeds_at(position: tf.Tensor, seed: int) -> list[tf.Tensor]:
    """Seeds of the choice of photos and of their augmentation."""
    return tf.unstack(tf.random.split(tf.stack([tf.constant(seed, tf.int64), position])))


def _choose(first: tf.Tensor, count: int, seed: tf.Tensor, mosaic: float) -> list[tf.Tensor]:
    """Indices of the photos of an element: one, or four where mosaics may come, -1 for none."""
    if mosaic <= 0:
        return [first]
    chance_seed, others_seed = tf.unstack(tf.random.split(seed))
    others = tf.random.stateless_uniform([3], others_seed, 0, count, tf.int64)
    is_mosaic = tf.random.stateless_uniform([], chance_seed) < mosaic
    return [first, *tf.unstack(tf.where(is_mosaic, others, tf.constant(-1, tf.int64)))]


def _read_all(indices: Sequence[tf.Tensor], labels: Sample) -> tuple[Sample, ...]:
    first, *others = indices
    rest = [tf.cond(i < 0, _blank, lambda i=i: _read(i, labels)) for i in others]
    return _read(first, labels), *rest


def _blank() -> Sample:
    image = tf.zeros([0, 0, 3], tf.uint8)
    return Sample(image, tf.zeros([0, 4]), tf.zeros([0, 5, 2]), tf.zeros([0], tf.bool))


def _augment(samples: Sequence[Sample], size: tuple[int, int], seed: tf.Tensor, settings: Mapping[str, Any]) -> Sample:
    *view_seeds, appearance_seed = tf.unstack(tf.random.split(seed, 5))

    def single() -> Sample:
        return photos.random_view(samples[0], size, view_seeds[0], settings)

    def four() -> Sample:
        tile = [side // 2 for side in size]
        views = zip(samples, view_seeds, strict=True)
        return photos.join_mosaic([photos.random_view(sample, tile, s, settings) for sample, s in views])

    sample = single() if len(samples) == 1 else tf.cond(tf.size(samples[1].image) > 0, four, single)
    return photos.random_appearance(sample, appearance_seed, settings)


def _element_maker(image_size: tuple[int, int], cfg: Mapping[str, Any]) -> Callable[[Sample, tf.Tensor], dict]:
    """Returns a function (sample, index) -> the element of a dataset."""
    anchors = Anchors(cfg, image_size).get_anchors()
    height, width = image_size

    def to_element(sample: Sample, index: tf.Tensor) -> dict[str, Any]:
        unit = np.array([width, height], np.float32)
        boxes, landmarks = sample.boxes / np.tile(unit, 2), sample.landmarks / unit
        targets = match(boxes, landmarks, sample.has_landmarks, anchors, variances=cfg["variances"])
        image = tf.ensure_shape(normalize(sample.image, "caffe"), [height, width, 3])
        return {"image": image, "targets": targets, "index": index}

    return to_element
