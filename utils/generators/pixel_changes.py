"""Changes of an image's pixels in a graph, for training recognition and detection."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# What shows outside a photo or a moved face: the grey of `utils.images.placement.letterbox`.
FILL = 128.0
_LUMA = (0.299, 0.587, 0.114)
_BLUR_RADIUS = 5


def between(limits: Sequence[Any], draw: tf.Tensor) -> tf.Tensor:
    """Returns the number between two limits at a draw of 0 to 1."""
    return limits[0] + (limits[1] - limits[0]) * draw


def sometimes(when: tf.Tensor, change: Callable[[Any], Any], value: Any) -> Any:
    """Returns the value, changed where a scalar bool says so.

    Args:
        when: whether to change it.
        change: keeps types and shapes; its cost is spared where nothing changes.
        value: a tensor, or tensors in a structure.
    """
    changed = tf.cond(when, lambda: change(value), lambda: value)
    return tf.nest.map_structure(lambda new, old: tf.ensure_shape(new, old.shape), changed, value)


def to_uint8(image: tf.Tensor) -> tf.Tensor:
    """Returns an image rounded to uint8; what is below 0 or above 255 is cut off."""
    if image.dtype == tf.uint8:
        return image
    return tf.saturate_cast(tf.round(image), tf.uint8)


def flip(image: tf.Tensor) -> tf.Tensor:
    """Returns an image mirrored left to right.

    Args:
        image: (H, W, 3), any dtype.
    """
    return tf.reverse(image, axis=[1])


def crop(image: tf.Tensor, size: tuple[int, int], x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Returns a window of the image.

    Args:
        image: (H, W, 3) of static shape, any dtype.
        size: (height, width), at most (H, W).
        x: place from left to right, 0 <= x < 1; 0.5 is the middle.
        y: place from top to bottom.
    """
    height, width = size
    top = tf.cast(y * float(image.shape[0] - height + 1), tf.int32)
    left = tf.cast(x * float(image.shape[1] - width + 1), tf.int32)
    window = tf.slice(image, [top, left, 0], [height, width, 3])
    return tf.ensure_shape(window, [height, width, 3])


def warp(image: tf.Tensor, shift: tuple[tf.Tensor, tf.Tensor], scale: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    """Returns an image whose content is moved, scaled and turned about the centre.

    The resampling is bilinear; FILL shows outside.

    Args:
        image: (H, W, 3) float32 of static shape.
        shift: of the content to the right and down, as fractions of the width and height.
        scale: above 1 enlarges.
        angle: clockwise, in radians.

    Returns:
        float32 of the same shape.
    """
    height, width = image.shape[:2]
    cos, sin = tf.cos(angle) / scale, tf.sin(angle) / scale
    # The op wants the way back: from a pixel of the result to one of the image.
    centre = ((width - 1) / 2, (height - 1) / 2)
    x, y = centre[0] + shift[0] * width, centre[1] + shift[1] * height
    to_image = [*(cos, sin, centre[0] - cos * x - sin * y), *(-sin, cos, centre[1] + sin * x - cos * y), *(0.0, 0.0)]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack(to_image)[None],
        output_shape=[height, width],
        fill_value=FILL,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return moved[0]


def colour_matrix(saturation: tf.Tensor, hue: tf.Tensor) -> tf.Tensor:
    """Returns the linear map of RGB columns that changes the hue, then the saturation.

    Args:
        saturation: scalar; 1 changes nothing, 0 leaves the luma (ITU-R BT.601) only.
        hue: scalar, turns about the grey axis: a third takes red to green, green to blue.

    Returns:
        (3, 3) float32. Grey stays as it is.
    """
    angle = 2.0 * np.pi * hue
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / np.sqrt(3.0, dtype=np.float32)
    mean, luma, unit = (
        np.full((3, 3), 1 / 3, np.float32),
        np.full((3, 3), _LUMA, np.float32),
        np.eye(3, dtype="float32"),
    )
    rotation = tf.cos(angle) * (unit - mean) + mean + tf.sin(angle) * cross  # Rodrigues
    return tf.matmul(saturation * (unit - luma) + luma, rotation)


def colour(
    image: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor, hue: tf.Tensor
) -> tf.Tensor:
    """Changes the colours by one matrix: hue, then saturation, contrast and brightness.

    Args:
        image: (H, W, 3) float32 of static shape, 0..255.
        brightness: added to all pixels.
        contrast: multiplies the distance from the mean luma; 1 changes nothing.
        saturation: see `colour_matrix`.
        hue: see `colour_matrix`.

    Returns:
        float32 of the same shape, 0..255.
    """
    matrix = contrast * colour_matrix(saturation, hue)
    pixels = tf.reshape(image, [-1, 3])
    mean_luma = tf.reduce_sum(tf.reduce_mean(pixels, axis=0) * _LUMA)
    changed = tf.matmul(pixels, matrix, transpose_b=True) + ((1 - contrast) * mean_luma + brightness)
    return tf.reshape(tf.clip_by_value(changed, 0.0, 255.0), image.shape)


def blur(image: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Loses detail as a small face does: shrinks by area, then enlarges bilinearly.

    Args:
        image: (H, W, 3) float32 of static shape.
        scale: side of the smaller image as a fraction, above 0 to 1.

    Returns:
        float32 of the same shape.
    """
    size = list(image.shape[:2])
    small = tf.maximum(tf.cast(tf.round(scale * tf.constant(size, tf.float32)), tf.int32), 1)
    shrunk = tf.raw_ops.ResizeArea(images=image[None], size=small)
    return tf.raw_ops.ResizeBilinear(images=shrunk, size=size, half_pixel_centers=True)[0]


def gaussian_blur(image: tf.Tensor, sigma: tf.Tensor) -> tf.Tensor:
    """Returns an image blurred by a Gaussian, cut off at 5 pixels.

    Args:
        image: (H, W, 3) float32, larger than 5 pixels a side.
        sigma: scalar, standard deviation in pixels, above 0.
    """
    distance = np.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, dtype=np.float32)
    weights = tf.nn.softmax(-0.5 * tf.square(distance / sigma))
    kernel = tf.tile(weights[:, None, None, None], [1, 1, 3, 1])
    margin = [_BLUR_RADIUS, _BLUR_RADIUS]
    padded = tf.pad(image, [margin, margin, [0, 0]], "SYMMETRIC")[None]
    rows = tf.nn.depthwise_conv2d(padded, kernel, [1, 1, 1, 1], "VALID")
    columns = tf.transpose(kernel, [1, 0, 2, 3])
    return tf.nn.depthwise_conv2d(rows, columns, [1, 1, 1, 1], "VALID")[0]


def compress(image: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    """Returns an image encoded as JPEG and decoded again.

    Args:
        image: (H, W, 3), 0..255, uint8 or float.
        quality: scalar, from 1 to 100.

    Returns:
        Whole numbers in the shape and dtype of the image.
    """
    quality = tf.cast(tf.round(quality), tf.int32)
    encoded = tf.raw_ops.EncodeJpegVariableQuality(images=to_uint8(image), quality=quality)
    pixels = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.cast(pixels, image.dtype)


def erase(
    image: tf.Tensor, corner: tuple[tf.Tensor, tf.Tensor], extent: tuple[tf.Tensor, tf.Tensor], level: tf.Tensor
) -> tf.Tensor:
    """Covers a rectangle with one grey level.

    Args:
        image: (H, W, 3) float32 of static shape.
        corner: top and left, as fractions of the height and width.
        extent: height and width of the rectangle, as fractions.
        level: 0..255.

    Returns:
        float32 of the same shape.
    """
    rows, columns = map(_covered, image.shape[:2], corner, extent)
    return tf.where(rows[:, None, None] & columns[None, :, None], level, image)


def _covered(side: int, first: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Returns which pixel centres of a side lie in [first, first + length), as fractions of the side."""
    centres = (tf.range(side, dtype=tf.float32) + 0.5) / side
    return (centres >= first) & (centres < first + length)
