"""Reads image files inside a TensorFlow graph, as `utils.images.image_files` does outside."""

import os

import numpy as np
import tensorflow as tf

from utils.generators.pixel_changes import FILL
from utils.images.image_files import read_image

_HEAD = 1024  # bytes of a file in which to look for what follows
# EXIF orientation (tag 0x0112, a short) other than upright, in either byte order. The tag is found
# by its bytes, not by walking the directory: a false alarm only costs the time of the slow reader.
_TURNED = (
    r"\C*Exif\x00\x00"
    r"(?:II\C*\x12\x01\x03\x00\x01\x00\x00\x00[\x02-\x08]"
    r"|MM\C*\x01\x12\x00\x03\x00\x00\x00\x01\x00[\x02-\x08])\C*"
)
# Eight bits, grey (0) or RGB (2).
_PLAIN_PNG = r"\CPNG\r\n\x1a\n\C{16}\x08[\x00\x02]\C*"


def read_face(path: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Returns an image file letterboxed, as `utils.images` reads and places it.

    Upright JPEGs and 8-bit grey or RGB PNGs are decoded by TensorFlow. Anything else (turned by
    EXIF, transparent, 16 bits, BMP, PGM, WebP...) goes through `utils.images.image_files.read_image` and the
    Python lock: correct, but slower.

    Args:
        path: scalar string.
        size: (height, width).

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        tf.errors.OpError: the file cannot be read; outside a graph also `ImageError`.
    """
    image = read_photo(path)
    fits = tf.reduce_all(tf.shape(image)[:2] == tf.constant(size))
    image = tf.cond(fits, lambda: image, lambda: _letterbox(image, size))
    return tf.ensure_shape(image, [*size, 3])


def read_photo(path: tf.Tensor) -> tf.Tensor:
    """Returns an image file at its own size, upright; otherwise as `read_face`."""
    data = tf.io.read_file(path)
    image = tf.cond(_is_plain(data), lambda: _decode(data), lambda: _read_in_python(path))
    return tf.ensure_shape(image, [None, None, 3])


def _is_plain(data: tf.Tensor) -> tf.Tensor:
    """Returns whether TensorFlow's decoder gives what `read_image` would."""
    head = tf.strings.substr(data, 0, _HEAD)
    upright = ~tf.strings.regex_full_match(head, _TURNED)
    return (tf.io.is_jpeg(data) & upright) | tf.strings.regex_full_match(head, _PLAIN_PNG)


def _decode(data: tf.Tensor) -> tf.Tensor:
    # The accurate transform is the one of Pillow and OpenCV, and is no slower. Decodes PNG too.
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")


def _read_in_python(path: tf.Tensor) -> tf.Tensor:
    def read(name: bytes) -> np.ndarray:
        return read_image(os.fsdecode(np.asarray(name).item()))

    return tf.numpy_function(read, [path], tf.uint8)


def _letterbox(image: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """`utils.images.placement.letterbox` in the graph: antialiased bicubic, centred, FILL around it."""
    shape = tf.cast(tf.shape(image)[:2], tf.int64)
    # The side that limits is filled, the other rounded down; compared without division.
    wide = shape[1] * size[0] >= shape[0] * size[1]
    inner = tf.where(wide, shape * size[1] // shape[1], shape * size[0] // shape[0])
    inner = tf.maximum(inner, 1)
    resized = tf.raw_ops.ScaleAndTranslate(
        images=tf.cast(image, tf.float32)[None],
        size=tf.cast(inner, tf.int32),
        scale=tf.cast(inner, tf.float32) / tf.cast(shape, tf.float32),
        translation=tf.zeros(2),
        kernel_type="keyscubic",
        antialias=True,
    )
    pixels = tf.saturate_cast(tf.round(resized[0]), tf.uint8)
    missing = size - inner
    bars = tf.stack([missing // 2, missing - missing // 2], axis=1)
    return tf.pad(pixels, tf.pad(bars, [[0, 1], [0, 0]]), constant_values=int(FILL))
