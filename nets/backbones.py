"""The recognition networks by name: how to build each, and what it expects."""

import dataclasses
from collections.abc import Callable

from nets.inception_resnetv1 import inception_resnetv1
from nets.iresnet import iresnet50
from nets.mobilefacenet import MOBILEFACENET_BLOCKS, mobilefacenet
from nets.mobilenet import arcface_mobilenet, facenet_mobilenet

# What is trained while the backbone is frozen: the layers after the last feature map.
HEAD_LAYERS = frozenset(
    "Bottleneck BatchNorm_Bottleneck Bottleneck_BatchNorm sep sep_bn sep_prelu gdc_dw gdc_dw_bn "
    "linear embedding bn2 features Scores".split()
)


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A recognition network.

    Attributes:
        build: (inputs, embedding_size, keep_probability, symmetric) -> (B, D) before L2.
        input_shape: (height, width, 3) it was published with.
        embedding_size: D it was published with.
        normalization: kind of `nets.normalization.normalize` it was published with.
        keep_probability: of its dropout in training.
        blocks: layers after which block distillation cuts it, the last one "Prelogits"; empty where
            that is not offered.
    """

    build: Callable
    input_shape: tuple[int, int, int]
    embedding_size: int
    normalization: str
    keep_probability: float = 0.5
    blocks: tuple[str, ...] = ()


BACKBONES = {
    "mobilenet": Backbone(facenet_mobilenet, (160, 160, 3), 128, "unit"),
    "inception_resnetv1": Backbone(inception_resnetv1, (160, 160, 3), 128, "unit"),
    "arcface_mobilenet": Backbone(arcface_mobilenet, (112, 112, 3), 512, "symmetric"),
    "arcface_mobilefacenet": Backbone(
        mobilefacenet, (112, 112, 3), 128, "symmetric", 1.0, MOBILEFACENET_BLOCKS
    ),
    "arcface_iresnet50": Backbone(iresnet50, (112, 112, 3), 512, "symmetric"),
}


def find_backbone(name):
    """Returns the Backbone of that name; ValueError with the choices if there is none."""
    if name not in BACKBONES:
        raise ValueError(f"backbone {name!r} is not one of {', '.join(BACKBONES)}")
    return BACKBONES[name]
