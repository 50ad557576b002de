"""The published networks, built literally from ../shared/specs with stock Keras layers."""

import dataclasses
import re
import zlib

import h5py
import keras
import numpy as np
from keras import layers

_LINE = re.compile(
    r"^(?P<name>\S+?)\s*(?P<kind>InputLayer|Conv2D|DepthwiseConv2D|BatchNormalization|PReLU|Activation|"
    r"LeakyReLU|Add|Concatenate|Dense|Dropout|Flatten|GlobalAveragePooling2D|MaxPooling2D|"
    r"ZeroPadding2D|Lambda|UpsampleLike|Reshape)\s+<- (?P<inputs>.+?)\s+out (?P<out>\S+)\s*"
    r"(?P<settings>[^|]*)(?:\|(?P<weights>.*))?$"
)


@dataclasses.dataclass
class SpecLayer:
    name: str
    kind: str
    inputs: list
    out: str
    settings: dict
    weights: list  # (weight name, shape)


def read_spec(path):
    found = []
    for line in path.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.match(line)
        assert match, line
        settings = dict(s.split("=", 1) for s in re.findall(r"\w+=(?:\[[^ ]*\ ?[^ ]*|\S+)", match["settings"]))
        weights = []
        for item in filter(None, (w.strip() for w in (match["weights"] or "").split(";"))):
            name, shape = item.split()
            weights.append((name, tuple(int(n) for n in shape.split("x"))))
        inputs = [] if match["inputs"].strip() == "-" else match["inputs"].split(", ")
        found.append(
            SpecLayer(match["name"], match["kind"], [i.strip() for i in inputs], match["out"], settings, weights)
        )
    return found


def random_weight(layer_kind, name, shape):
    """The weights of refs/README.md: a pure function of the name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    kind = name.rsplit("/", 1)[-1].removesuffix(":0")
    if kind == "gamma":
        value = 1 + 0.1 * rng.standard_normal(shape)
    elif kind == "moving_variance":
        value = 0.5 + rng.random(shape)
    elif kind in ("beta", "moving_mean", "bias"):
        value = 0.1 * rng.standard_normal(shape)
    elif kind == "alpha":
        value = 0.25 + 0.05 * rng.standard_normal(shape)
    else:
        fan = shape[0] * shape[1] if "depthwise" in kind else int(np.prod(shape[:-1]))
        value = np.sqrt(2 / fan) * rng.standard_normal(shape)
    return value.astype(np.float32)


def layer_weights(layer):
    return [random_weight(layer.kind, f"{layer.name}/{n}:0", shape) for n, shape in layer.weights]


def _pair(text):
    return tuple(int(n) for n in text.split("x"))


class _Resize(layers.Layer):
    def call(self, inputs):
        source, target = inputs
        return keras.ops.repeat(keras.ops.repeat(source, 2, axis=1), 2, axis=2)


def _stock_layer(spec, scale):
    s = spec.settings
    conv = {
        "strides": _pair(s.get("strides", "1x1")),
        "padding": s.get("padding", "valid"),
        "use_bias": s.get("use_bias") == "True",
    }
    makers = {
        "Conv2D": lambda: layers.Conv2D(int(s["filters"]), _pair(s["kernel_size"]), **conv),
        "DepthwiseConv2D": lambda: layers.DepthwiseConv2D(_pair(s["kernel_size"]), **conv),
        "BatchNormalization": lambda: layers.BatchNormalization(
            epsilon=float(s["epsilon"]), scale=s["scale"] == "True"
        ),
        "PReLU": lambda: layers.PReLU(shared_axes=[1, 2]),
        "Activation": lambda: layers.Activation(s["activation"]),
        "LeakyReLU": lambda: layers.LeakyReLU(negative_slope=float(s["alpha"])),
        "Add": layers.Add,
        "Concatenate": lambda: layers.Concatenate(axis=1 if spec.name in ("bbox_reg", "cls", "ldm_reg") else -1),
        "Dense": lambda: layers.Dense(int(s["units"]), use_bias=s["use_bias"] == "True"),
        "Dropout": lambda: layers.Dropout(float(s["rate"])),
        "Flatten": layers.Flatten,
        "GlobalAveragePooling2D": layers.GlobalAveragePooling2D,
        "MaxPooling2D": lambda: layers.MaxPooling2D(
            _pair(s["pool_size"]), strides=_pair(s["strides"]), padding=s["padding"]
        ),
        "ZeroPadding2D": lambda: layers.ZeroPadding2D(int(re.search(r"\d+", s["padding"])[0])),
        "Lambda": lambda: scale,
        "UpsampleLike": _Resize,
        "Reshape": lambda: layers.Reshape(_pair(s["target_shape"].replace("-1", "-1"))),
    }
    return makers[spec.kind]()


def _residual_scale(name):
    """The factor before each residual sum of Inception-ResNet-v1; None for the final L2."""
    for prefix, factor in (("Block35", 0.17), ("Block17", 0.1), ("Block8_6", 1.0), ("Block8", 0.2)):
        if name.startswith(prefix):
            return layers.Rescaling(factor)
    return layers.UnitNormalization()


def build_from_spec(path, input_shape):
    """Returns a stock Keras model with the random weights of refs/README.md."""
    tensors, consumed, filled = {}, set(), []
    for spec in read_spec(path):
        if spec.kind == "InputLayer":
            tensors[spec.name] = inputs = keras.Input(input_shape)
            continue
        layer = _stock_layer(spec, _residual_scale(spec.inputs[0]))
        arguments = [tensors[i] for i in spec.inputs]
        tensors[spec.name] = layer(arguments if len(arguments) > 1 else arguments[0])
        consumed.update(spec.inputs)
        if spec.weights:
            filled.append((layer, layer_weights(spec)))
    outputs = [tensor for name, tensor in tensors.items() if name not in consumed]
    model = keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0])
    for layer, weights in filled:
        layer.set_weights(weights)
    return model


def write_keras2_file(spec_path, target, first=0):
    """Writes the random weights in the Keras 2 layout, automatic names counted from `first`."""
    counted = re.compile(r"(conv2d|batch_normalization|p_re_lu|depthwise_conv2d)(?:_(\d+))?")
    with h5py.File(target, "w") as file:
        names = []
        for layer in read_spec(spec_path):
            match, name = counted.fullmatch(layer.name), layer.name
            if match:
                number = int(match[2] or 0) + first
                name = match[1] + (f"_{number}" if number else "")
            names.append(name)
            group = file.create_group(name)
            weights = [f"{name}/{n}:0" for n, _ in layer.weights]
            group.attrs["weight_names"] = [w.encode() for w in weights]
            for weight, array in zip(weights, layer_weights(layer), strict=True):
                group[weight] = array
        file.attrs["layer_names"] = [n.encode() for n in names]
        file.attrs["keras_version"], file.attrs["backend"] = b"2.3.0-tf", b"tensorflow"
