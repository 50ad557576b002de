"""tf.data pipelines that feed the training of RetinaFace."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nets.normalization import normalize
from utils.config import cfg_mnet
from utils.datasets.wider_labels import LabelledImage
from utils.detection.anchors import Anchors
from utils.detection.matching import match
from utils.generators.decoding import read_photo
from utils.generators.photo_augmentations import (
    AUGMENTATION,
    Sample,
    join_mosaic,
    random_appearance,
    random_view,
    view,
    whole_window,
)
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
    settings = override(AUGMENTATION, augmentation or {}, "augmentation")
    labels = _pack(items, image_size)
    to_element = _element_maker(image_size, cfg)
    sampler = plain(items, seed)

    def read(position, index):
        choice_seed, _ = _seeds_at(position, seed)
        indices = _choose(index, len(items), choice_seed, mosaic)
        return position, _read_all(indices, labels)

    def augment(position, samples):
        _, augmentation_seed = _seeds_at(position, seed)
        sample = _augment(samples, image_size, augmentation_seed, settings)
        return to_element(sample, position)

    order = ordered_images(sampler, start).unbatch()
    photos = order.map(read, num_parallel_calls=tf.data.AUTOTUNE)
    # Only reading may fail silently: a mistake in what follows has to surface.
    photos = photos.ignore_errors(log_warning=True)
    elements = photos.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
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

    def read(index):
        return index, _read(index, labels)

    def letterbox(index, sample):
        window = whole_window(tf.shape(sample.image)[:2], image_size)
        return to_element(view(sample, window, image_size), index)

    photos = tf.data.Dataset.range(len(items)).map(read, num_parallel_calls=tf.data.AUTOTUNE)
    photos = photos.ignore_errors(log_warning=True)
    elements = photos.map(letterbox, num_parallel_calls=tf.data.AUTOTUNE)
    return elements.batch(batch_size).prefetch(tf.data.AUTOTUNE)


class _Labels(NamedTuple):
    """Faces of all photos end to end: those of photo i are rows offsets[i] to offsets[i + 1]."""

    paths: tf.Tensor
    offsets: tf.Tensor
    boxes: tf.Tensor
    landmarks: tf.Tensor
    has_landmarks: tf.Tensor


def _pack(items: Sequence[LabelledImage], image_size: tuple[int, int]) -> _Labels:
    if not items:
        raise ValueError("no labelled photos to train on: the label file lists none")
    if any(side < 1 or side % _SIZE_MULTIPLE for side in image_size):
        raise ValueError(f"image_size {tuple(image_size)}: multiples of {_SIZE_MULTIPLE} expected")
    paths, boxes, landmarks, has_landmarks = zip(*items, strict=True)
    missing = next((path for path in paths if not os.path.exists(path)), None)
    if missing is not None:
        raise FileNotFoundError(f"{missing}: the label file names it, but it does not exist")
    check_some_readable(paths, "photos")
    counts = [len(face_boxes) for face_boxes in boxes]
    with tf.device("CPU"):
        return _Labels(
            tf.constant([str(path) for path in paths]),
            tf.constant(np.cumsum([0, *counts]), tf.int64),
            tf.constant(np.concatenate([np.reshape(b, (-1, 4)) for b in boxes]), tf.float32),
            tf.constant(np.concatenate([np.reshape(p, (-1, 5, 2)) for p in landmarks]), tf.float32),
            tf.constant(np.concatenate([np.reshape(h, -1) for h in has_landmarks]), tf.bool),
        )


def _read(index: tf.Tensor, labels: _Labels) -> Sample:
    faces = slice(labels.offsets[index], labels.offsets[index + 1])
    return Sample(
        read_photo(labels.paths[index]), labels.boxes[faces], labels.landmarks[faces], labels.has_landmarks[faces]
    )


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


def _read_all(indices, labels) -> tuple[Sample, ...]:
    first, *others = indices
    rest = [tf.cond(i < 0, _blank, lambda i=i: _read(i, labels)) for i in others]
    return _read(first, labels), *rest


def _blank() -> Sample:
    image = tf.zeros([0, 0, 3], tf.uint8)
    return Sample(image, tf.zeros([0, 4]), tf.zeros([0, 5, 2]), tf.zeros([0], tf.bool))


def _augment(samples, image_size, seed, settings):
    *view_seeds, appearance_seed = tf.unstack(tf.random.split(seed, 5))

    def single():
        return random_view(samples[0], image_size, view_seeds[0], settings)

    def four():
        tile_size = [side // 2 for side in image_size]
        views = zip(samples, view_seeds, strict=True)
        return join_mosaic([random_view(sample, tile_size, s, settings) for sample, s in views])

    if len(samples) == 1:
        sample = single()
    else:
        sample = tf.cond(tf.size(samples[1].image) > 0, four, single)
    return random_appearance(sample, appearance_seed, settings)


def _element_maker(image_size, cfg) -> Callable[[Sample, tf.Tensor], dict]:
    """Returns a function (sample, index) -> the element of a dataset."""
    anchors = Anchors(cfg, image_size).get_anchors()
    height, width = image_size

    def to_element(sample, index):
        unit = np.float32([width, height])
        boxes, landmarks = sample.boxes / np.tile(unit, 2), sample.landmarks / unit
        return {
            "image": tf.ensure_shape(normalize(sample.image, "caffe"), [height, width, 3]),
            "targets": match(boxes, landmarks, sample.has_landmarks, anchors, variances=cfg["variances"]),
            "index": index,
        }

    return to_element
