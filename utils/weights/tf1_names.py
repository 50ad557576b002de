"""Variables of the TensorFlow 1 Inception-ResNet-v1 -> layers of nets/inception_resnetv1.py."""

import re
from collections.abc import Mapping

import numpy as np

SCOPE = "InceptionResnetV1/"
_VARIABLE = re.compile(
    rf"{SCOPE}(?P<path>.+?)/(?P<norm>BatchNorm/)?"
    r"(?P<kind>weights|biases|beta|moving_mean|moving_variance)$"
)
# order of a layer's arrays in layer.weights
_ORDER = ("weights", "biases", "beta", "moving_mean", "moving_variance")


def is_weight(variable: str) -> bool:
    """Returns whether a checkpoint variable is a weight of the network, not an optimizer slot."""
    return _VARIABLE.match(variable) is not None


def layer_name(path: str, norm: str | None) -> str:
    """Returns "Block35_1_Branch_0_Conv2d_1x1" for "Repeat/block35_1/Branch_0/Conv2d_1x1".

    The last, unscaled block stands alone as "Block8" there and is Block8_6 here.
    """
    path = re.sub(r"^Repeat(_\d)?/block", "Block", path)
    path = re.sub(r"^Block8/", "Block8_6/", path)
    return path.replace("/", "_") + ("_BatchNorm" if norm else "")


def to_keras(arrays: Mapping[str, np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Returns {layer name: [arrays in the order of layer.weights]} for {variable name: array}."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for variable, array in arrays.items():
        match = _VARIABLE.match(variable)
        if match is None:
            raise ValueError(f"{variable}: not a weight of Inception-ResNet-v1")
        name = layer_name(match["path"], match["norm"])
        found.setdefault(name, {})[match["kind"]] = array
    return {name: [kinds[k] for k in _ORDER if k in kinds] for name, kinds in found.items()}
