"""Loads and saves the weights of a network."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.files.atomic_file import replacing
from utils.weights.weight_files import INFO_ATTRIBUTE, WeightFile, read_weight_file

if TYPE_CHECKING:
    import keras

# Keras class name -> the name that Keras 2 counted its layers with
_AUTOMATIC = {
    "Conv2D": "conv2d",
    "DepthwiseConv2D": "depthwise_conv2d",
    "BatchNormalization": "batch_normalization",
    "PReLU": "p_re_lu",
    "Dense": "dense",
}
_COUNTED = re.compile(rf"({'|'.join(_AUTOMATIC.values())})(?:_(\d+))?")


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a load did; each list holds "layer/weight" names of the model, or of the file.

    Attributes:
        format: of the file.
        loaded: model weights that were set.
        skipped: model weights that were left as they were (only with skip_mismatch).
        unused: layers and tensors of the file that the model has no place for.
    """

    format: str
    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{len(self.loaded)} tensors loaded ({self.format})"
        for word, names in (("skipped", self.skipped), ("unused", self.unused)):
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                text += f", {len(names)} {word}: {', '.join(names[:3])}{more}"
        return text


def load_weights(model: "keras.Model", path: str | os.PathLike | WeightFile, skip_mismatch: bool = False) -> LoadReport:
    """Sets the weights of a model of nets/ from a file of any supported format.

    Layers are matched by name; automatic names of Keras 2 (conv2d_7) by the order of creation
    within their class. Nothing is set unless everything fits.

    Args:
        model: a Keras model of nets/.
        path: see `utils.weights.weight_files.read_weight_file`, or a WeightFile already read.
        skip_mismatch: leave weights as they are that the file lacks or has in another shape.

    Returns:
        A LoadReport.

    Raises:
        FileNotFoundError, ValueError: no such file; damaged; weights of another network (names the
            first tensor that does not fit).
    """
    source = path if isinstance(path, WeightFile) else read_weight_file(path)
    named = _name_automatic(model, source.layers) if source.format == "keras2" else source.layers
    matched, skipped = [], []
    for layer in model.layers:
        arrays = named.get(layer.name, [])
        for i, weight in enumerate(layer.weights):
            name = f"{layer.name}/{weight.name}"
            array = arrays[i] if i < len(arrays) else None
            fits = array is not None and tuple(array.shape) == tuple(weight.shape)
            if fits and len(arrays) == len(layer.weights):
                matched.append((name, weight, array))
            elif skip_mismatch:
                skipped.append(name)
            else:
                raise ValueError(_mismatch(model, source, name, tuple(weight.shape), arrays, array))
    if not matched:
        raise ValueError(f"{source.path}: none of its tensors fits the network {model.name}")
    used = {name.rsplit("/", 1)[0] for name, _, _ in matched}
    unused = tuple(name for name in named if name not in used)
    larger = [name for name in unused if any(array.ndim == 4 for array in named[name])]
    if larger and not skip_mismatch:  # a head to tell people apart may be left over, no convolution
        raise ValueError(
            f"{source.path}: is of a larger network than {model.name}: nothing there takes "
            f"{larger[0]} and {len(larger) - 1} more convolutions"
        )
    for _, weight, array in matched:
        weight.assign(array)
    unused += source.ignored
    return LoadReport(source.format, tuple(n for n, _, _ in matched), tuple(skipped), unused)


def _mismatch(
    model: "keras.Model", source: WeightFile, name: str, wanted: tuple, arrays: list, array: np.ndarray | None
) -> str:
    """Returns the message about a weight of the model that the file lacks, or has in another shape."""
    network = source.network()
    hint = f"; the file holds {network} weights" if network not in (None, model.name) else ""
    if array is None:
        return f"{source.path}: has nothing for {name} {wanted} of {model.name}{hint}"
    if tuple(array.shape) == wanted:
        layer = name.rsplit("/", 1)[0]
        return f"{source.path}: has {len(arrays)} tensors for {layer} of {model.name}, too many{hint}"
    return f"{source.path}: {name} has shape {tuple(array.shape)}, {model.name} needs {wanted}{hint}"


def _name_automatic(model: "keras.Model", layers: Mapping[str, list[np.ndarray]]) -> dict[str, list[np.ndarray]]:
    """Returns the layers with automatic Keras 2 names changed to the model's, by class and order of creation."""
    from nets.retinaface import PUBLISHED_ORDER

    own = {layer.name for layer in model.layers}
    counted: dict[str, list[tuple[int, str]]] = {}
    for name in layers:
        match = _COUNTED.fullmatch(name)
        if match and name not in own:
            counted.setdefault(match[1], []).append((int(match[2] or 0), name))
    order = {name: i for i, name in enumerate(PUBLISHED_ORDER)}
    waiting: dict[str, list[tuple[int, str]]] = {}
    for position, layer in enumerate(model.layers):
        kind = _AUTOMATIC.get(type(layer).__name__)
        if kind and layer.weights and layer.name not in layers:
            created = order.get(layer.name, position)
            waiting.setdefault(kind, []).append((created, layer.name))
    renamed: dict[str, str] = {}
    for kind, targets in waiting.items():
        sources = sorted(counted.get(kind, []))
        renamed |= {s: t for (_, s), (_, t) in zip(sources, sorted(targets), strict=False)}
    return {renamed.get(name, name): arrays for name, arrays in layers.items()}


def save_weights(model: "keras.Model", path: str | os.PathLike, **info: Any) -> None:
    """Writes a model's weights to a .weights.h5 file, whole or not at all.

    Args:
        model: a Keras model of nets/.
        path: must end in .weights.h5; the folder is made.
        **info: JSON values kept in the file that say how to build the network: backbone,
            embedding_size, symmetric, normalization.

    Raises:
        ValueError: another ending.
    """
    import h5py

    if not os.fspath(path).endswith(".weights.h5"):
        raise ValueError(f"{path}: the name of a weight file must end in .weights.h5")
    with replacing(path) as temporary:
        model.save_weights(temporary)
        with h5py.File(temporary, "a") as file:
            file.attrs[INFO_ATTRIBUTE] = json.dumps(info, ensure_ascii=False)
