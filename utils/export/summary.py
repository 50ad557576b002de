"""What a network is made of, and what it costs."""

import math
from collections.abc import Iterator, Sequence

import keras
from keras import layers

from nets.facenet import facenet
from nets.retinaface import RetinaFace
from utils.config import cfg_mnet, cfg_re50


def networks(backbone: str | None, detector_backbone: str | None, shape: Sequence | None) -> Iterator[keras.Model]:
    """Yields the recognition network and RetinaFace, with random weights.

    Args:
        backbone: a name of nets/backbones.py; None: "arcface_mobilefacenet".
        detector_backbone: "mobilenet" or "resnet50"; None: "mobilenet".
        shape: height and width of the detector's input, see `input_size`; None: 640, 640.

    Raises:
        ValueError: an unknown backbone, or a shape that is none.
    """
    height, width = input_size(shape) or (640, 640)
    yield facenet(backbone=backbone or "arcface_mobilefacenet")
    cfg = cfg_re50 if detector_backbone == "resnet50" else cfg_mnet
    yield RetinaFace(cfg, input_shape=(height, width, 3))


def input_size(shape: Sequence | None) -> tuple[int, int] | None:
    """Returns height and width of a setting `detector_input_shape`; None for None.

    Raises:
        ValueError: it is not a list of at least height and width.
    """
    if shape is None:
        return None
    if not isinstance(shape, list | tuple) or len(shape) < 2:
        raise ValueError(f"detector_input_shape {shape!r}: height, width, 3 expected, such as 640,640,3")
    return shape[0], shape[1]


def text(model: keras.Model) -> str:
    """Returns the layers of a network, and how many layers, parameters and FLOPs it has, in lines.

    Raises:
        ValueError: the size of a feature map is not known.
    """
    lines: list[str] = []
    model.summary(line_length=110, print_fn=lines.append)
    counts = f"{len(model.layers)} layers, {model.count_params():,} parameters, {flops(model) / 1e9:.3f} GFLOPs"
    return "\n".join([*lines, f"{model.name}: {counts} at {model.input_shape[1]}x{model.input_shape[2]}\n"])


def flops(model: keras.Model) -> int:
    """Returns the number of floating-point operations of one image through a network.

    A multiplication and an addition count as two, as is usual. Convolutions and dense layers, with
    their biases, are counted; normalisation is folded into them when a network runs, and
    activations are left out.

    Args:
        model: a Keras model of fixed input size.

    Raises:
        ValueError: the size of a feature map is not known.
    """
    return sum(_layer_flops(layer) for layer in model.layers)


def _layer_flops(layer: keras.Layer) -> int:
    if not isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)):
        return 0
    shape = layer.output.shape[1:]
    if None in shape:
        raise ValueError(f"{layer.name}: output of unknown size; build the network for one size")
    kernel = layer.kernel.shape
    inputs = math.prod(kernel[:2] if isinstance(layer, layers.DepthwiseConv2D) else kernel[:-1])
    return math.prod(shape) * (2 * inputs + (1 if layer.use_bias else 0))
