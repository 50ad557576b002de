"""How each family of networks wants its pixels scaled."""

import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

Pixels = Any  # an array of NumPy, or a tensor
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
_CAFFE_MEAN = np.array(CAFFE_MEAN_BGR, np.float32)


def _per_image(images: Pixels) -> Pixels:
    if isinstance(images, np.ndarray):
        mean = images.mean(axis=(-3, -2, -1), keepdims=True)
        std = images.std(axis=(-3, -2, -1), keepdims=True)
        return (images - mean) / np.maximum(std, 1.0 / np.sqrt(np.prod(images.shape[-3:])))
    import tensorflow as tf

    return tf.image.per_image_standardization(images)


def _caffe(images: Pixels) -> Pixels:
    import tensorflow as tf

    return tf.reverse(images, [-1]) - _CAFFE_MEAN  # far faster there than a slice of step -1


def _caffe_array(images: np.ndarray) -> np.ndarray:
    """Applies the formula "caffe" to an array: subtracts whole rows, as broadcasting over 3 is slow."""
    shape = images.shape
    if images.dtype == np.uint8 and images.size:
        bgr = cv2.cvtColor(images.reshape(-1, *shape[-2:]), cv2.COLOR_RGB2BGR)
    else:
        bgr = images[..., ::-1].astype(np.float32)
    rows = bgr.reshape(*shape[:-2], 3 * shape[-2]) - np.tile(_CAFFE_MEAN, shape[-2])
    return rows.reshape(shape)


_FORMULAS: dict[str, Callable[[Pixels], Pixels]] = {
    "pixels": lambda x: x,
    "unit": lambda x: x / 255.0,
    "symmetric": lambda x: x / 127.5 - 1.0,
    "fixed": lambda x: (x - 127.5) / 128.0,
    "per_image": _per_image,
    "caffe": _caffe,
}
NORMALIZATIONS = tuple(_FORMULAS)


def normalize(images: Pixels, kind: str) -> Pixels:
    """Returns pixels scaled as a network was trained to see them.

    Args:
        images: (..., H, W, 3) RGB, 0..255, any numeric dtype; NumPy array or tensor.
        kind: "unit" x / 255 (FaceNet in Keras), "symmetric" (x / 255 - 0.5) / 0.5 (ArcFace),
            "fixed" (x - 127.5) / 128 and "per_image" (x - mean) / max(std, 1 / sqrt(n)) (FaceNet in
            TensorFlow), "caffe" BGR minus (103.939, 116.779, 123.68) (RetinaFace),
            "pixels" as it is.

    Returns:
        float32 of the same shape, an array for an array and a tensor for a tensor.

    Raises:
        ValueError: `kind` is not one of NORMALIZATIONS.
    """
    if kind not in _FORMULAS:
        raise ValueError(f"normalization {kind!r} is not one of {', '.join(NORMALIZATIONS)}")
    if not isinstance(images, np.ndarray | list) and "tensorflow" in sys.modules:
        import tensorflow as tf

        if tf.is_tensor(images):
            return _FORMULAS[kind](tf.cast(images, tf.float32))
    if kind == "caffe":
        return _caffe_array(np.asarray(images))
    return _FORMULAS[kind](np.asarray(images, np.float32)).astype(np.float32, copy=False)
