"""Changes of an image's pixels in a graph, for training."""

import math

import tensorflow as tf

# What shows where a moved face leaves the frame: the grey of `utils.images.placement.letterbox`.
FILL = 128.0
_LUMA = (0.299, 0.587, 0.114)


def between(limits: tuple[float, float], draw: tf.Tensor) -> tf.Tensor:
    """Returns the number between two limits at a draw of 0 to 1."""
    return limits[0] + (limits[1] - limits[0]) * draw


def to_float(image: tf.Tensor) -> tf.Tensor:
    """Returns an image as float32, its values as they are."""
    return tf.cast(image, tf.float32)


def flip(image: tf.Tensor) -> tf.Tensor:
    """Mirrors left and right.

    Args:
        image: (H, W, 3), any dtype.
    """
    return tf.reverse(image, axis=[1])


def crop(image: tf.Tensor, size: tuple[int, int], x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Keeps a window of the image.

    Args:
        image: (H, W, 3) of static shape, any dtype.
        size: (height, width), at most (H, W).
        x: Place from left to right, 0 <= x < 1; 0.5 is the middle.
        y: Place from top to bottom.
    """
    height, width = size
    top = tf.cast(y * float(image.shape[0] - height + 1), tf.int32)
    left = tf.cast(x * float(image.shape[1] - width + 1), tf.int32)
    window = tf.slice(image, [top, left, 0], [height, width, 3])
    return tf.ensure_shape(window, [height, width, 3])


def warp(
    image: tf.Tensor, shift: tuple[tf.Tensor, tf.Tensor], scale: tf.Tensor, angle: tf.Tensor
) -> tf.Tensor:
    """Moves, scales and turns the content about the centre; bilinear, FILL outside.

    Args:
        image: (H, W, 3) float32 of static shape.
        shift: Of the content to the right and down, as fractions of the width and height.
        scale: Above 1 enlarges.
        angle: Clockwise, in radians.

    Returns:
        float32 of the same shape.
    """
    height, width = image.shape[:2]
    cos, sin = tf.cos(angle) / scale, tf.sin(angle) / scale
    # The op wants the way back: from a pixel of the result to one of the image.
    centre = ((width - 1) / 2, (height - 1) / 2)
    x, y = centre[0] + shift[0] * width, centre[1] + shift[1] * height
    to_image = [
        *(cos, sin, centre[0] - cos * x - sin * y),
        *(-sin, cos, centre[1] + sin * x - cos * y),
        *(0.0, 0.0),
    ]
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack(to_image)[None],
        output_shape=[height, width],
        fill_value=FILL,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return moved[0]


def colour(
    image: tf.Tensor,
    brightness: tf.Tensor,
    contrast: tf.Tensor,
    saturation: tf.Tensor,
    hue: tf.Tensor,
) -> tf.Tensor:
    """Changes the colours by one matrix: hue, then saturation, contrast and brightness.

    Args:
        image: (H, W, 3) float32 of static shape, 0..255.
        brightness: Is added.
        contrast: Multiplies the distance from the mean luma; 1 changes nothing.
        saturation: Multiplies the distance from the pixel's own luma (BT.601); 0 is grey.
        hue: Turn about the grey axis of the RGB cube, in turns.

    Returns:
        float32 of the same shape, 0..255.
    """
    turn = 2 * math.pi * hue
    cos, sin = tf.cos(turn), tf.sin(turn) / math.sqrt(3)
    # Rodrigues' formula for the axis (1, 1, 1) / sqrt(3); rows are the result's channels.
    diagonal, next_one, other = cos + (1 - cos) / 3, (1 - cos) / 3 - sin, (1 - cos) / 3 + sin
    rotation = tf.reshape(
        tf.stack([diagonal, next_one, other, other, diagonal, next_one, next_one, other, diagonal]),
        [3, 3],
    )
    luma = tf.constant([_LUMA], tf.float32)
    desaturate = saturation * tf.eye(3) + (1 - saturation) * tf.tile(luma, [3, 1])
    matrix = contrast * desaturate @ rotation
    pixels = tf.reshape(image, [-1, 3])
    mean_luma = tf.reduce_sum(tf.reduce_mean(pixels, axis=0) * luma)
    changed = tf.matmul(pixels, matrix, transpose_b=True) + (
        (1 - contrast) * mean_luma + brightness
    )
    return tf.reshape(tf.clip_by_value(changed, 0.0, 255.0), image.shape)


def blur(image: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Loses detail as a small face does: shrinks by area, then enlarges bilinearly.

    Args:
        image: (H, W, 3) float32 of static shape.
        scale: Side of the smaller image as a fraction, above 0 to 1.

    Returns:
        float32 of the same shape.
    """
    size = list(image.shape[:2])
    small = tf.maximum(tf.cast(tf.round(scale * tf.constant(size, tf.float32)), tf.int32), 1)
    shrunk = tf.raw_ops.ResizeArea(images=image[None], size=small)
    return tf.raw_ops.ResizeBilinear(images=shrunk, size=size, half_pixel_centers=True)[0]


def compress(image: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    """Encodes as JPEG and decodes again.

    Args:
        image: (H, W, 3) uint8.
        quality: From 1 to 100.

    Returns:
        uint8 of the same shape.
    """
    quality = tf.cast(tf.round(quality), tf.int32)
    encoded = tf.raw_ops.EncodeJpegVariableQuality(images=image, quality=quality)
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def erase(
    image: tf.Tensor,
    corner: tuple[tf.Tensor, tf.Tensor],
    extent: tuple[tf.Tensor, tf.Tensor],
    level: tf.Tensor,
) -> tf.Tensor:
    """Covers a rectangle with one grey level.

    Args:
        image: (H, W, 3) float32 of static shape.
        corner: Top and left, as fractions of the height and width.
        extent: Height and width of the rectangle, as fractions.
        level: 0..255.

    Returns:
        float32 of the same shape.
    """
    rows, columns = (
        _covered(side, first, length)
        for side, first, length in zip(image.shape[:2], corner, extent, strict=True)
    )
    return tf.where(rows[:, None, None] & columns[None, :, None], level, image)


def _covered(side: int, first: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Which pixel centres of a side lie in [first, first + length), as fractions of the side."""
    centres = (tf.range(side, dtype=tf.float32) + 0.5) / side
    return (centres >= first) & (centres < first + length)
