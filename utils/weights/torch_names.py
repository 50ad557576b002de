"""State-dict keys of the published PyTorch networks -> layers of nets/, in Keras layout."""

import re
from collections.abc import Mapping

import numpy as np

_STAGE_OFFSETS = {"1": 0, "2": 6, "3": 12}  # first block of each stage of the ArcFace MobileNetV1
_IRESNET_PARTS = {
    "bn1": "bn{}_branch2", "conv1": "res{}_branch2a", "bn2": "bn{}_branch2a",
    "prelu": "prelu{}_branch2a", "conv2": "res{}_branch2b", "bn3": "bn{}_branch2b",
    "downsample.0": "res{}_branch1", "downsample.1": "bn{}_branch1",
}  # fmt: skip
_INCEPTION_STEM = {
    "conv2d_1a": "Conv2d_1a_3x3", "conv2d_2a": "Conv2d_2a_3x3", "conv2d_2b": "Conv2d_2b_3x3",
    "conv2d_3b": "Conv2d_3b_1x1", "conv2d_4a": "Conv2d_4a_3x3", "conv2d_4b": "Conv2d_4b_3x3",
    "last_linear": "Bottleneck", "last_bn": "Bottleneck_BatchNorm",
}  # fmt: skip
_REPEATED = {"1": "Block35", "2": "Block17", "3": "Block8"}
# block -> kernel names of each branch, as in the TensorFlow network
_INCEPTION_BRANCHES = {
    "Block35": {0: ["1x1"], 1: ["0a_1x1", "0b_3x3"], 2: ["0a_1x1", "0b_3x3", "0c_3x3"]},
    "Block17": {0: ["1x1"], 1: ["0a_1x1", "0b_1x7", "0c_7x1"]},
    "Block8": {0: ["1x1"], 1: ["0a_1x1", "0b_1x3", "0c_3x1"]},
    "Mixed_6a": {0: ["1a_3x3"], 1: ["0a_1x1", "0b_3x3", "1a_3x3"]},
    "Mixed_7a": {0: ["0a_1x1", "1a_3x3"], 1: ["0a_1x1", "1a_3x3"], 2: ["0a_1x1", "0b_3x3", "1a_3x3"]},
}


def _mobilefacenet(module: str) -> str:
    renamed = {"prelu": "sep_prelu", "GDC_dw": "gdc_dw", "GDC_bn": "gdc_dw_bn"}
    renamed |= {"features": "linear", "last_bn": "embedding"}
    if module in renamed or "." not in module:
        return renamed.get(module, module)
    path, part = module.replace(".model.", "_").rsplit(".", 1)
    path = re.sub(r"\.conv$", "_expand", path).replace(".conv_dw", "_dw")
    return path.replace(".project", "_project") + ("" if part == "conv" else f"_{part}")


def _arcface_mobilenet(module: str) -> str:
    match = re.fullmatch(r"stage(\d)\.(\d+)\.(\d)", module)
    if not match:
        return {"prelu": "sep_prelu"}.get(module, module)
    stage, block, part = match.groups()
    number = _STAGE_OFFSETS[stage] + int(block)
    if number == 0:
        return {"0": "conv1", "1": "conv1_bn"}[part]
    name = {"0": "conv_dw_{}", "1": "conv_dw_{}_bn", "3": "conv_pw_{}", "4": "conv_pw_{}_bn"}[part]
    return name.format(number)


def _iresnet(module: str) -> str:
    match = re.fullmatch(r"layer(\d)\.(\d+)\.(.+)", module)
    if not match:
        stem = {"bn1": "bn_conv1", "prelu": "conv1_prelu", "fc": "linear"}
        return stem.get(module, module)
    stage, block, part = match.groups()
    return _IRESNET_PARTS[part].format(f"{int(stage) + 1}{chr(ord('a') + int(block))}")


def _inception(module: str) -> str:
    module = module.removesuffix(".conv")
    norm = "_BatchNorm" if module.endswith(".bn") else ""
    module = module.removesuffix(".bn")
    if module in _INCEPTION_STEM:
        return _INCEPTION_STEM[module] + norm
    path = re.sub(r"^repeat_(\d)\.(\d+)", lambda m: f"{_REPEATED[m[1]]}_{int(m[2]) + 1}", module)
    path = re.sub(r"^block8\b", "Block8_6", path).replace("mixed_", "Mixed_")
    match = re.fullmatch(r"(\w+)\.branch(\d)(?:\.(\d))?", path)
    if not match:
        return path.replace(".conv2d", "_Conv2d_1x1")
    block, branch, position = match.groups()
    kind = block if block.startswith("Mixed") else block.rsplit("_", 1)[0]
    kernel = _INCEPTION_BRANCHES[kind][int(branch)][int(position or 0)]
    return f"{block}_Branch_{branch}_Conv2d_{kernel}{norm}"


# a module that only this network has, and its renaming
_NETWORKS = (
    ("conv_23.conv.conv", _mobilefacenet),
    ("stage1.0.0", _arcface_mobilenet),
    ("layer1.0.bn1", _iresnet),
    ("conv2d_1a.conv", _inception),
)
_HEADS = ("head", "logits")


def to_keras(state: Mapping[str, np.ndarray]) -> tuple[dict[str, list[np.ndarray]], tuple[str, ...]]:
    """Returns the weights of a state dict under the names, and in the layout, of nets/.

    Args:
        state: {key: array}, as in the published files; "module." and "arcface." prefixes are
            dropped.

    Returns:
        ({layer name: [arrays in the order of layer.weights]}, ignored keys). Kernels become
        (H, W, in, out), depthwise ones (H, W, C, 1), dense ones (in, out); the dense layer after
        a flatten is reordered from (C, H, W) to (H, W, C).

    Raises:
        ValueError: keys of no known network.
    """
    modules: dict[str, dict[str, np.ndarray]] = {}
    ignored = []
    for key, array in state.items():
        path, _, kind = re.sub(r"^(module\.|arcface\.)+", "", key).rpartition(".")
        if kind == "num_batches_tracked" or path.split(".")[0] in _HEADS or not path:
            ignored.append(key)
        else:
            modules.setdefault(path, {})[kind] = array
    rename = next((rename for module, rename in _NETWORKS if module in modules), None)
    if rename is None:
        example = next(iter(state), "nothing")
        raise ValueError(f"a PyTorch state dict of no known network (first key {example!r})")
    layers = {}
    for module, arrays in modules.items():
        try:
            layers[rename(module)] = _to_layer(arrays)
        except (KeyError, IndexError) as error:
            raise ValueError(f"a PyTorch state dict of no known network (key {module!r})") from error
    if rename is _inception:
        _fold_gamma(layers)
    return layers, tuple(ignored)


def _to_layer(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    weight, bias = arrays["weight"], arrays.get("bias")
    if "running_mean" in arrays:
        return [weight, arrays["bias"], arrays["running_mean"], arrays["running_var"]]
    if weight.ndim == 1:  # PReLU
        return [weight.reshape(1, 1, -1)]
    return [_to_kernel(weight)] + ([] if bias is None else [bias])


def _to_kernel(weight: np.ndarray) -> np.ndarray:
    if weight.ndim == 4:
        depthwise = weight.shape[1] == 1
        return np.transpose(weight, (2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    outputs, inputs = weight.shape
    if inputs % 49 == 0:  # 7 x 7 maps, flattened channel first
        weight = weight.reshape(outputs, -1, 7, 7).transpose(0, 2, 3, 1).reshape(outputs, inputs)
    return weight.T


def _fold_gamma(layers: Mapping[str, list[np.ndarray]]) -> None:
    """Moves gamma into the kernel: the TensorFlow network's normalisation has none.

    gamma * (k x - m) / s + b = ((gamma k) x - gamma m) / s + b.
    """
    for name, arrays in layers.items():
        if name.endswith("_BatchNorm"):
            gamma, beta, mean, variance = arrays
            kernel = layers[name.removesuffix("_BatchNorm")]
            kernel[0] = kernel[0] * gamma
            arrays[:] = [beta, gamma * mean, variance]
