"""Cost of a network, counted from its layers."""

import math

from keras import layers


def flops(model):
    """Counts the floating-point operations of one image through a network.

    A multiplication and an addition count as two, as is usual. Convolutions and dense layers, with
    their biases, are counted; normalisation is folded into them when a network runs, and
    activations are left out.

    Args:
        model: a Keras model of fixed input size.

    Returns:
        int.

    Raises:
        ValueError: the size of a feature map is not known.
    """
    return sum(_layer_flops(layer) for layer in model.layers)


def _layer_flops(layer):
    if not isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)):
        return 0
    shape = layer.output.shape[1:]
    if None in shape:
        raise ValueError(f"{layer.name}: output of unknown size; build the network for one size")
    inputs = math.prod(layer.kernel.shape[:-1])
    if isinstance(layer, layers.DepthwiseConv2D):
        inputs = math.prod(layer.kernel.shape[:2])
    return math.prod(shape) * (2 * inputs + (1 if layer.use_bias else 0))
