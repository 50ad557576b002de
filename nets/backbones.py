"""The recognition networks by name: how to build each, and what it expects."""

import dataclasses
from collections.abc import Callable

from nets import inception_resnetv1 as inception
from nets import iresnet, mobilefacenet, mobilenet

SCORES = "Scores"  # the layer that tells people apart in training
_CROP = (112, 112, 3)  # ArcFace's aligned crops


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A recognition network.

    Attributes:
        build: (inputs, embedding_size, keep_probability, symmetric) -> (B, D) before L2.
        input_shape: (height, width, 3) it was published with.
        embedding_size: D it was published with.
        normalization: kind of `nets.normalization.normalize` it was published with.
        head: its layers after the last feature map; the last one gives the embedding.
        signature: layers by which a weight file is told to be of this network.
        keep_probability: of its dropout in training.
        blocks: layers after which block distillation cuts it, the last one "Prelogits"; empty where
            that is not offered.
    """

    build: Callable
    input_shape: tuple[int, int, int]
    embedding_size: int
    normalization: str
    head: tuple[str, ...]
    signature: tuple[str, ...]
    keep_probability: float = 0.5
    blocks: tuple[str, ...] = ()


BACKBONES = {
    "mobilenet": Backbone(
        mobilenet.facenet_mobilenet, (160, 160, 3), 128, "unit", mobilenet.FACENET_HEAD, mobilenet.FACENET_SIGNATURE
    ),
    "inception_resnetv1": Backbone(
        inception.inception_resnetv1, (160, 160, 3), 128, "unit", inception.HEAD, inception.SIGNATURE
    ),
    "arcface_mobilenet": Backbone(
        mobilenet.arcface_mobilenet, _CROP, 512, "symmetric", mobilenet.ARCFACE_HEAD, mobilenet.ARCFACE_SIGNATURE
    ),
    "arcface_mobilefacenet": Backbone(
        mobilefacenet.mobilefacenet,
        _CROP,
        128,
        "symmetric",
        mobilefacenet.HEAD,
        mobilefacenet.SIGNATURE,
        1.0,
        mobilefacenet.MOBILEFACENET_BLOCKS,
    ),
    "arcface_iresnet50": Backbone(iresnet.iresnet50, _CROP, 512, "symmetric", mobilenet.FLAT_HEAD, iresnet.SIGNATURE),
}

# What is trained while a backbone is frozen.
HEAD_LAYERS = frozenset({SCORES}).union(*(backbone.head for backbone in BACKBONES.values()))


def find_backbone(name: str) -> Backbone:
    """Returns the Backbone of that name; ValueError with the choices if there is none."""
    if name not in BACKBONES:
        raise ValueError(f"backbone {name!r} is not one of {', '.join(BACKBONES)}")
    return BACKBONES[name]
