"""Random changes to photos and their labelled faces, for training a detector.

Everything is stateless TensorFlow that runs inside `tf.data`: the same seed gives the same result.
A seed is an integer tensor of shape (2,). Coordinates are continuous pixels, so the centre of the
first pixel is at 0.5; images hold RGB from 0 to 255. A window is the part of a photo that fills the
output, xyxy in the photo's pixels; it may reach beyond the photo.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from utils.faces.detections import MIRRORED
from utils.generators.pixel_changes import FILL, between, colour_matrix, compress, flip, gaussian_blur, sometimes

AUGMENTATION = {
    "crop_scale": (0.3, 1.0),  # side of a crop, as a fraction of the largest that fits the photo
    "zoom_out": 0.25,  # probability of showing the whole photo on a larger canvas instead
    "zoom_out_scale": 3.0,  # largest side of that canvas; 1 is the smallest that holds the photo
    "min_face": 5.0,  # output pixels: a face with a shorter side is dropped, so it is background
    "mirror": 0.5,  # probability
    "brightness": 0.3,  # largest relative change of the light
    "contrast": 0.3,  # largest relative change of the distance from mid-grey
    "saturation": 0.5,  # largest relative change of the distance from grey
    "hue": 0.05,  # largest turn of the colour circle, in turns
    "grey": 0.05,  # probability of no colour at all
    "blur": 0.1,  # probability
    "blur_sigma": (0.5, 2.0),  # standard deviation of the Gaussian, in pixels
    "jpeg": 0.2,  # probability of compression artefacts
    "jpeg_quality": (40, 95),  # lowest and highest, of 1 to 100
}

_CROP_ATTEMPTS = 250


class Sample(NamedTuple):
    """A photo and its faces.

    image (H, W, 3) is uint8 or float32; boxes (N, 4) xyxy and landmarks (N, 5, 2) are float32
    pixels of the image; has_landmarks (N,) is bool, and landmarks without a label mean nothing.
    """

    image: tf.Tensor
    boxes: tf.Tensor
    landmarks: tf.Tensor
    has_landmarks: tf.Tensor


def view(sample: Sample, window: tf.Tensor, size: Sequence[int], min_face: float = 0.0) -> Sample:
    """Returns a window of a photo at another size: crop, zoom and letterbox in one resampling.

    The resampling is antialiased (a triangle filter as wide as the scale demands). A face stays
    if its centre is inside the window, as in RetinaFace; its box is clipped, its landmarks are not.

    Args:
        sample: photo and faces.
        window: (4,) float32 xyxy; where it reaches beyond the photo, FILL shows.
        size: (height, width) of the result, static.
        min_face: in pixels of the result. A face whose box, once clipped, has a side shorter than
            this is dropped.

    Returns:
        Sample with a float32 image of `size`.
    """
    height, width = size
    origin = window[:2]
    scale = tf.constant([width, height], tf.float32) / (window[2:] - origin)
    image = tf.raw_ops.ScaleAndTranslate(
        images=(tf.cast(sample.image, tf.float32) - FILL)[None],
        size=[height, width],
        scale=tf.reverse(scale, axis=[0]),
        translation=tf.reverse(-origin * scale, axis=[0]),
        kernel_type="triangle",
        antialias=True,
    )[0]
    boxes = (sample.boxes - tf.tile(origin, [2])) * tf.tile(scale, [2])
    landmarks = (sample.landmarks - origin) * scale
    moved = Sample(image + FILL, boxes, landmarks, sample.has_landmarks)
    return _keep_visible(moved, size, min_face)


def whole_window(image_size: tf.Tensor, size: Sequence[int]) -> tf.Tensor:
    """Returns the smallest window of the shape of `size` that holds a photo at its top left.

    Args:
        image_size: (2,) height and width of the photo.
        size: (height, width) of the output.
    """
    return _window(tf.zeros(2), _extent(image_size, size, tf.maximum))


def random_crop_window(
    image_size: tf.Tensor, boxes: tf.Tensor, size: Sequence[int], seed: tf.Tensor, scale: Sequence[float]
) -> tf.Tensor:
    """Returns a random window inside a photo that shows a face, if one of 250 attempts does.

    Args:
        image_size: (2,) height and width of the photo.
        boxes: (N, 4) faces in pixels; one counts as shown if its centre is inside.
        size: (height, width) of the output, whose shape the window has: a square for a square.
        seed: (2,).
        scale: range of its side, as a fraction of the largest that fits.

    Returns:
        (4,) float32 xyxy.
    """
    draws = tf.random.stateless_uniform([_CROP_ATTEMPTS, 3], seed)
    extent = _extent(image_size, size, tf.minimum) * between(scale, draws[:, :1])
    windows = _window(draws[:, 1:] * (_width_height(image_size) - extent), extent)
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    shown = (center > windows[:, None, :2]) & (center < windows[:, None, 2:])
    first = tf.argmax(tf.cast(tf.reduce_any(tf.reduce_all(shown, axis=2), axis=1), tf.int32))
    return windows[first]


def random_zoom_out_window(
    image_size: tf.Tensor, boxes: tf.Tensor, size: Sequence[int], seed: tf.Tensor, scale: float, min_face: float = 0.0
) -> tf.Tensor:
    """Returns a window that holds the whole photo at a random place: large faces become small ones.

    Args:
        image_size: (2,) height and width of the photo.
        boxes: (N, 4) faces in pixels.
        size: (height, width) of the output, whose shape the window has.
        seed: (2,).
        scale: largest side, as a multiple of the smallest that holds the photo. It is lowered to
            where the smallest face reaches `min_face`, or else visible faces would turn into
            background.
        min_face: in pixels of the output; taken as 1 if below.

    Returns:
        (4,) float32 xyxy.
    """
    extent = _extent(image_size, size, tf.maximum)
    smallest = tf.reduce_min(boxes[:, 2:] - boxes[:, :2]) * size[1] / extent[0]
    scale = tf.clip_by_value(smallest / max(min_face, 1.0), 1.0, scale)
    draws = tf.random.stateless_uniform([3], seed)
    extent *= between((1.0, scale), draws[0])
    return _window(draws[1:] * (_width_height(image_size) - extent), extent)


def random_view(sample: Sample, size: Sequence[int], seed: tf.Tensor, settings: Mapping[str, Any]) -> Sample:
    """Returns a random crop of a photo, or sometimes all of it on a larger canvas.

    Args:
        sample: photo and faces.
        size: (height, width) of the result.
        seed: (2,).
        settings: AUGMENTATION, or as much of it as this needs.
    """
    choice_seed, crop_seed, zoom_seed = tf.unstack(tf.random.split(seed, 3))
    image_size = tf.shape(sample.image)[:2]
    faces, min_face = sample.boxes, settings["min_face"]
    crop = random_crop_window(image_size, faces, size, crop_seed, settings["crop_scale"])
    whole = random_zoom_out_window(image_size, faces, size, zoom_seed, settings["zoom_out_scale"], min_face)
    zoomed_out = tf.random.stateless_uniform([], choice_seed) < settings["zoom_out"]
    return view(sample, tf.where(zoomed_out, whole, crop), size, min_face)


def join_mosaic(tiles: Sequence[Sample]) -> Sample:
    """Returns four samples of one static size (h, w) joined to one of (2h, 2w), row by row."""
    height, width, _ = tiles[0].image.shape
    images = [tile.image for tile in tiles]
    rows = [tf.concat(images[:2], axis=1), tf.concat(images[2:], axis=1)]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float32)
    boxes = [tile.boxes + np.tile(corner, 2) for tile, corner in zip(tiles, corners, strict=True)]
    landmarks = [tile.landmarks + corner for tile, corner in zip(tiles, corners, strict=True)]
    has_landmarks = [tile.has_landmarks for tile in tiles]
    return Sample(*(tf.concat(parts, axis=0) for parts in (rows, boxes, landmarks, has_landmarks)))


def mirror(sample: Sample) -> Sample:
    """Returns a photo mirrored left to right; the first eye and mouth corner stay those on the left."""
    width = tf.cast(tf.shape(sample.image)[1], tf.float32)
    x1, y1, x2, y2 = tf.unstack(sample.boxes, axis=1)
    x, y = tf.unstack(tf.gather(sample.landmarks, MIRRORED, axis=1), axis=2)
    return Sample(
        flip(sample.image),
        tf.stack([width - x2, y1, width - x1, y2], axis=1),
        tf.stack([width - x, y], axis=2),
        sample.has_landmarks,
    )


def random_color(image: tf.Tensor, seed: tf.Tensor, settings: Mapping[str, Any]) -> tf.Tensor:
    """Returns an image of other light, contrast, saturation and hue, changed by one linear map.

    Args:
        image: (H, W, 3) float32.
        seed: (2,).
        settings: AUGMENTATION, or as much of it as this needs.

    Returns:
        (H, W, 3) float32, 0 to 255.
    """
    ranges = [settings[name] for name in ("brightness", "contrast", "saturation", "hue")]
    draws = tf.random.stateless_uniform([5], seed)
    jitter = ranges * between((-1.0, 1.0), draws[:4])
    light, contrast, saturation = tf.unstack(1.0 + jitter[:3])
    saturation = tf.where(draws[4] < settings["grey"], 0.0, saturation)
    matrix = light * contrast * colour_matrix(saturation, jitter[3])
    # A 1x1 convolution and its bias run as one kernel, 2.6 times faster than product and sum.
    changed = tf.nn.conv2d(image[None], tf.transpose(matrix)[None, None], 1, "VALID")
    bias = tf.fill([3], light * (1.0 - contrast) * 127.5)
    return tf.clip_by_value(tf.nn.bias_add(changed, bias)[0], 0.0, 255.0)


def random_appearance(sample: Sample, seed: tf.Tensor, settings: Mapping[str, Any]) -> Sample:
    """Returns a sample mirrored at random, its colours, sharpness and compression changed.

    Args:
        sample: float32 image.
        seed: (2,).
        settings: AUGMENTATION, or as much of it as this needs.
    """
    color_seed, draw_seed = tf.unstack(tf.random.split(seed))
    draws = tf.random.stateless_uniform([5], draw_seed)
    mirrored, blurred, compressed = tf.unstack(draws[:3] < [settings["mirror"], settings["blur"], settings["jpeg"]])
    sigma, quality = between(settings["blur_sigma"], draws[3]), between(settings["jpeg_quality"], draws[4])
    sample = sometimes(mirrored, mirror, sample)
    image = random_color(sample.image, color_seed, settings)
    image = sometimes(blurred, lambda x: gaussian_blur(x, sigma), image)
    image = sometimes(compressed, lambda x: compress(x, quality), image)
    return sample._replace(image=image)


def _keep_visible(sample: Sample, size: Sequence[int], min_face: float) -> Sample:
    limits = np.array([size[1], size[0]], np.float32)
    low, high = sample.boxes[:, :2], sample.boxes[:, 2:]
    center = (low + high) / 2
    low, high = (tf.clip_by_value(corner, 0.0, limits) for corner in (low, high))
    shown = tf.reduce_all((center > 0.0) & (center < limits), axis=1)
    sides = tf.reduce_min(high - low, axis=1)
    kept = shown & (sides > 0.0) & (sides >= min_face)
    faces = (tf.concat([low, high], axis=1), sample.landmarks, sample.has_landmarks)
    return Sample(sample.image, *(tf.boolean_mask(values, kept) for values in faces))


def _extent(image_size: tf.Tensor, size: Sequence[int], choose: Callable) -> tf.Tensor:
    """Returns width and height (2,) of the shape of `size` that fit in (tf.minimum) or around a photo."""
    unit = tf.constant([size[1], size[0]], tf.float32)
    ratio = _width_height(image_size) / unit
    return unit * choose(ratio[0], ratio[1])


def _width_height(image_size: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.reverse(image_size, axis=[0]), tf.float32)


def _window(origin: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
    return tf.concat([origin, origin + extent], axis=-1)
