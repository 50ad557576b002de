"""RetinaFace (Deng et al., 2019, arXiv:1905.00641): feature pyramid, SSH context, three heads."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import KerasTensor, layers

from nets.layers import BatchNormalization, UpsampleLike
from nets.mobilenet import mobilenet_v1
from nets.resnet import resnet50

# The parts after the backbone, which are trained while it is frozen.
HEAD_PREFIXES = ("C3_", "C4_", "C5_", "P3_", "P4_", "P5_", "Conv_", "ssh_", "bbox", "cls", "ldm")

ANCHORS_PER_CELL = 2
LEVELS = ("P3", "P4", "P5")
_SSH_CONVS = ("3x3", "5x5_1", "5x5_2", "7x7_2", "7x7_3")

# The published weight files name these layers by counters, in the order of their creation there.
PUBLISHED_ORDER = (
    *("C3_reduced_bn", "C4_reduced_bn", "C5_reduced_bn", "Conv_P4_merged_bn", "Conv_P3_merged_bn"),
    *(f"ssh_{lvl}_{conv}{end}" for lvl in LEVELS for conv in _SSH_CONVS for end in ("", "_bn")),
    *(f"{head}_{level}" for head in ("bbox", "cls", "ldm") for level in LEVELS),
)

# Layers by which a weight file is told to be of the detector on each backbone, the first that fits.
SIGNATURES = {"resnet50": ("C3_reduced", "res2a_branch2a"), "mobilenet": ("C3_reduced",)}

# Where `nets.block_distillation` cuts the small detector.
MOBILENET_BLOCKS = (
    *("conv1_relu", *(f"conv_pw_{number}_relu" for number in range(1, 14))),
    *("C3_reduced_leaky", "C4_reduced_leaky", "C5_reduced_leaky"),
    *("Conv_P4_merged_leaky", "Conv_P3_merged_leaky", *(f"ssh_{lvl}_relu" for lvl in LEVELS)),
    *("bbox_reg", "cls", "ldm_reg"),
)


def _conv_norm(x: KerasTensor, filters: int, kernel_size: int, name: str, leaky: float | None = None) -> KerasTensor:
    x = layers.Conv2D(filters, kernel_size, padding="same", name=name)(x)
    x = BatchNormalization(name=f"{name}_bn")(x)
    if leaky is None:
        return x
    return layers.LeakyReLU(negative_slope=leaky, name=f"{name}_leaky")(x)


def _pyramid(
    c3: KerasTensor, c4: KerasTensor, c5: KerasTensor, channels: int, leaky: float
) -> tuple[KerasTensor, KerasTensor, KerasTensor]:
    """Top-down feature pyramid (Lin et al., 2017): three maps of `channels` channels."""
    p3 = _conv_norm(c3, channels, 1, "C3_reduced", leaky)
    p4 = _conv_norm(c4, channels, 1, "C4_reduced", leaky)
    p5 = _conv_norm(c5, channels, 1, "C5_reduced", leaky)
    p5_upsampled = UpsampleLike(name="P5_upsampled")([p5, p4])
    p4 = layers.Add(name="P4_merged")([p5_upsampled, p4])
    p4 = _conv_norm(p4, channels, 3, "Conv_P4_merged", leaky)
    p4_upsampled = UpsampleLike(name="P4_upsampled")([p4, p3])
    p3 = layers.Add(name="P3_merged")([p4_upsampled, p3])
    p3 = _conv_norm(p3, channels, 3, "Conv_P3_merged", leaky)
    return p3, p4, p5


def _ssh(x: KerasTensor, channels: int, leaky: float, name: str) -> KerasTensor:
    """Context module of SSH (Najibi et al., 2017): 3x3, 5x5 and 7x7 fields side by side."""
    conv3x3 = _conv_norm(x, channels // 2, 3, f"{name}_3x3")
    shared = _conv_norm(x, channels // 4, 3, f"{name}_5x5_1", leaky)
    conv5x5 = _conv_norm(shared, channels // 4, 3, f"{name}_5x5_2")
    conv7x7 = _conv_norm(shared, channels // 4, 3, f"{name}_7x7_2", leaky)
    conv7x7 = _conv_norm(conv7x7, channels // 4, 3, f"{name}_7x7_3")
    x = layers.Concatenate(name=f"{name}_concat")([conv3x3, conv5x5, conv7x7])
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _head(
    feature_maps: Sequence[KerasTensor], values: int, name: str, output_name: str, activation: str = "linear"
) -> KerasTensor:
    """Predicts `values` numbers an anchor on every level: (B, A, values), float32."""
    outputs = []
    for level, x in zip(LEVELS, feature_maps, strict=True):
        x = layers.Conv2D(ANCHORS_PER_CELL * values, 1, name=f"{name}_{level}")(x)
        x = layers.Reshape((-1, values), name=f"{name}_{level}_reshape")(x)
        outputs.append(x)
    x = layers.Concatenate(axis=1, name=f"{name}_concat")(outputs)
    return layers.Activation(activation, dtype="float32", name=output_name)(x)


def RetinaFace(  # noqa: N802
    cfg: Mapping[str, Any],
    backbone: str | None = None,
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
) -> keras.Model:
    """Builds the detector.

    Args:
        cfg: `utils.config.cfg_mnet` or `cfg_re50`; its name, out_channels and leaky are used.
        backbone: "mobilenet" (width 0.25) or "resnet50"; None takes cfg["name"].
        input_shape: (height, width, 3); None for sizes that may change.

    Returns:
        A Keras model. Input (B, H, W, 3), normalised "caffe", H and W multiples of 32. Outputs
        in order, for the A anchors of `utils.detection.anchors.Anchors`: bbox_reg (B, A, 4), cls (B, A, 2)
        softmax with the face at index 1, ldm_reg (B, A, 10), all float32.

    Raises:
        ValueError: unknown backbone.
    """
    backbone = backbone or cfg["name"]
    inputs = keras.Input(input_shape, name="image")
    if backbone == "mobilenet":
        stages = mobilenet_v1(inputs, width=0.25)
        c3, c4, c5 = stages[4], stages[10], stages[12]
    elif backbone == "resnet50":
        c3, c4, c5 = resnet50(inputs)
    else:
        raise ValueError(f"backbone {backbone!r} is neither 'mobilenet' nor 'resnet50'")
    channels, leaky = cfg["out_channels"], cfg["leaky"]
    pyramid = _pyramid(c3, c4, c5, channels, leaky)
    features = [_ssh(x, channels, leaky, f"ssh_{lvl}") for lvl, x in zip(LEVELS, pyramid, strict=True)]
    outputs = [
        _head(features, 4, "bbox", "bbox_reg"),
        _head(features, 2, "cls", "cls", "softmax"),
        _head(features, 10, "ldm", "ldm_reg"),
    ]
    return keras.Model(inputs, outputs, name=f"retinaface_{backbone}")
