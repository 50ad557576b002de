"""Networks as they are exported: from pixels to results that need no code of this project.

Each takes `image`, float32 (B, H, W, 3) RGB pixels, 0..255, and returns its results by name. What
the wrappers do in NumPy around the network, scaling the pixels and decoding the anchors, is part of
the graph. Finding the face's crop and suppressing overlapping boxes is not.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from nets.normalization import normalize
from utils.detection.box_coding import decode_boxes, decode_landmarks


class Normalize(keras.layers.Layer):
    """Scales pixels as `nets.normalization.normalize` does."""

    def __init__(self, kind: str, **kwargs: Any):
        """Takes a kind of `nets.normalization.NORMALIZATIONS`."""
        super().__init__(**kwargs)
        self.kind = kind

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the normalised images, float32."""
        return normalize(inputs, self.kind)

    def get_config(self) -> dict[str, Any]:
        """Returns the settings that rebuild the layer."""
        return {**super().get_config(), "kind": self.kind}


class DecodeAnchors(keras.layers.Layer):
    """Turns RetinaFace's outputs into boxes, scores and landmarks of every anchor."""

    def __init__(self, cfg: Mapping[str, Any], **kwargs: Any):
        """Takes `utils.config.cfg_mnet` or `cfg_re50`."""
        super().__init__(**kwargs)
        self.cfg = cfg

    def call(self, inputs: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Decodes [bbox_reg (B, A, 4), cls (B, A, 2), ldm_reg (B, A, 10), image (B, H, W, 3)].

        Returns:
            {"boxes": (B, A, 4) xyxy, "scores": (B, A), "landmarks": (B, A, 5, 2)}: positions are
            fractions of the image's width and height.
        """
        codes, scores, points, image = inputs
        anchors = self.anchors(tf.shape(image)[1:3])
        landmarks = decode_landmarks(points, anchors, self.cfg["variances"])
        return {
            "boxes": decode_boxes(codes, anchors, self.cfg["variances"]),
            "scores": scores[..., 1],
            "landmarks": tf.reshape(landmarks, (-1, tf.shape(anchors)[0], 5, 2)),
        }

    def anchors(self, size: tf.Tensor) -> tf.Tensor:
        """Returns the anchors (A, 4) of `utils.detection.anchors.Anchors`; `size` is a tensor (H, W)."""
        levels = zip(self.cfg["steps"], self.cfg["min_sizes"], strict=True)
        return tf.concat([_level(step, sides, size) for step, sides in levels], axis=0)


def _level(step: int, sides: Sequence[int], size: tf.Tensor) -> tf.Tensor:
    """Returns the anchors of one pyramid level, (cells * sides, 4)."""
    cells = -(-size // step)
    half = tf.constant(sides, tf.float32) / 2
    spans = []  # along y, then x: lower and upper ends, each (cells, sides)
    for axis in range(2):
        centers = (tf.cast(tf.range(cells[axis]), tf.float32)[:, None] + 0.5) * float(step)
        length = tf.cast(size[axis], tf.float32)
        spans.append(((centers - half) / length, (centers + half) / length))
    (y1, y2), (x1, x2) = spans
    shape = tf.stack([cells[0], cells[1], len(sides)])
    rows = [tf.broadcast_to(end, shape) for end in (x1, y1[:, None], x2, y2[:, None])]
    return tf.reshape(tf.stack(rows, axis=-1), (-1, 4))


def serve_recognizer(model: keras.Model, normalization: str) -> keras.Model:
    """Returns the network with its normalisation in front.

    Args:
        model: of `nets.facenet.facenet`, mode "predict".
        normalization: a kind of `nets.normalization.normalize`.

    Returns:
        A Keras model: image -> {"embedding": (B, D), rows of unit length}.
    """
    image = keras.Input(model.input_shape[1:], name="image")
    embedding = model(Normalize(normalization, name="normalize")(image))
    return keras.Model(image, {"embedding": embedding}, name=model.name)


def serve_retinaface(model: keras.Model, cfg: Mapping[str, Any], size: tuple[int, int] | None = None) -> keras.Model:
    """Returns the detector with normalisation in front and decoding behind.

    Args:
        model: of `nets.retinaface.RetinaFace`.
        cfg: its `cfg_mnet` or `cfg_re50`.
        size: (height, width) of the image; None leaves it open.

    Returns:
        A Keras model: image -> what `DecodeAnchors` returns.
    """
    image = keras.Input((*(size or (None, None)), 3), name="image")
    outputs = model(Normalize("caffe", name="normalize")(image))
    return keras.Model(image, DecodeAnchors(cfg, name="decode")([*outputs, image]), name=model.name)


def serve_mtcnn(model: keras.Model) -> keras.Model:
    """Returns a network of `nets.mtcnn` with its normalisation in front.

    Returns:
        A Keras model: image -> {"scores": (B, ...), "offsets": (B, ..., 4)} and, of O-Net,
        "landmarks" (B, 10).
    """
    image = keras.Input(model.input_shape[1:], name="image")
    prob, *others = model(Normalize("fixed", name="normalize")(image))
    outputs = {"scores": prob[..., 1]} | dict(zip(("offsets", "landmarks"), others, strict=False))
    return keras.Model(image, outputs, name=model.name)
