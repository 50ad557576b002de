"""Reads weight files of every supported format into one form: Keras layer name -> its arrays."""

import dataclasses
import json
import os
import re
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np

from utils.weights import tf1_names, torch_names
from utils.weights.mtcnn_npy import read_det_npy

INFO_ATTRIBUTE = "faces"  # attribute of our own files: JSON of how to build the network


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """The content of a weight file.

    Attributes:
        path: where it was read.
        format: "faces", "keras2", "torch", "tf1" or "mtcnn".
        layers: layer name -> arrays in the order of `layer.weights` (kernel, bias; gamma, beta,
            moving mean, moving variance; alpha). Names are those of nets/, but for automatic ones
            of Keras 2.
        ignored: names of tensors that belong to no layer: optimizer slots, counters.
        info: how our own files say the network is built; empty for others.
    """

    path: str
    format: str
    layers: dict[str, list[np.ndarray]]
    ignored: tuple[str, ...] = ()
    info: dict[str, Any] = dataclasses.field(default_factory=dict)

    def network(self) -> str | None:
        """Returns the name of the network the weights are of, or None where it cannot be told.

        Our own files say it, others are told by their layers. It is a name of `nets.backbones`, "retinaface_mobilenet"
        or "retinaface_resnet50".
        """
        if "backbone" in self.info:
            return self.info["backbone"]
        from nets.backbones import BACKBONES
        from nets.retinaface import SIGNATURES

        # Detectors first: they contain a backbone.
        known = {f"retinaface_{name}": layers for name, layers in SIGNATURES.items()}
        known |= {name: backbone.signature for name, backbone in BACKBONES.items()}
        fitting = (name for name, layers in known.items() if self.layers.keys() >= set(layers))
        return next(fitting, None)

    def network_among(self, names: Collection[str], given: str | None = None) -> str:
        """Returns which of some networks the weights are of.

        Args:
            names: the networks that will do.
            given: the network that the user asks for; None takes what the file says.

        Raises:
            ValueError: the weights are of another network, or nobody says of which.
        """
        found = self.network()
        network = given or found
        if network is None:
            raise ValueError(f"{self.path}: cannot tell which network these weights are of; set backbone")
        if found not in (None, network) or network not in names:
            wanted = given or f"those of {' or '.join(names)}"
            raise ValueError(f"{self.path}: the file holds {found} weights, not {wanted}")
        return network

    def build_settings(self) -> dict[str, Any]:
        """Returns the settings of `nets.facenet.facenet` that fit the weights, and normalization.

        Keys: embedding_size (D), symmetric (padding of PyTorch) and, where the format implies one
        that is not the backbone's own, normalization.
        """
        settings: dict[str, Any] = {"symmetric": self.format == "torch"}
        if "embedding_size" not in self.info:
            from nets.backbones import BACKBONES

            for name in {backbone.head[-1] for backbone in BACKBONES.values()} & set(self.layers):
                settings["embedding_size"] = int(self.layers[name][0].shape[0])
        if self.format in ("tf1", "torch") and self.network() == "inception_resnetv1":
            settings["normalization"] = "fixed"
        return settings | self.info


def read_weight_file(path: str | os.PathLike) -> WeightFile:
    """Returns the content of any supported weight file; formats are told apart by content.

    Args:
        path: a file, or the prefix of a TensorFlow 1 checkpoint (its .index, .meta or .data file
            will do as well).

    Returns:
        A WeightFile.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: damaged, or of no known format; one line that names the file.
    """
    path = os.fspath(path)
    prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", path)
    if os.path.exists(prefix + ".index"):
        return _read_tf1(prefix)
    if not os.path.isfile(path):
        if os.path.isdir(path):
            raise ValueError(f"{path}: a folder, not a weight file")
        raise FileNotFoundError(f"{path}: no such weight file; published ones: python -m utils.weights download list")
    with open(path, "rb") as file:
        head = file.read(8)
    if head.startswith(b"\x89HDF"):
        return _read_hdf5(path)
    if head.startswith(b"\x93NUMPY"):
        return WeightFile(path, "mtcnn", {name: list(arrays.values()) for name, arrays in read_det_npy(path).items()})
    if head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04")):
        return _read_torch(path)
    raise ValueError(f"{path}: not a weight file (.weights.h5, Keras .h5, .pth, TF 1 checkpoint, det .npy)")


def _read_hdf5(path: str) -> WeightFile:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            if "layer_names" in root.attrs:
                return WeightFile(path, "keras2", _keras2_layers(root))
            if "layers" in root:
                info = json.loads(file.attrs.get(INFO_ATTRIBUTE, "{}"))
                return WeightFile(path, "faces", _keras3_layers(root["layers"]), info=info)
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: damaged or truncated HDF5 file ({error})") from error
    raise ValueError(f"{path}: an HDF5 file without Keras weights")


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _keras2_layers(root: Any) -> dict[str, list[np.ndarray]]:
    groups = {name: root[name] for name in map(_text, root.attrs["layer_names"])}
    layers = {
        name: [np.asarray(group[weight]) for weight in group.attrs["weight_names"]] for name, group in groups.items()
    }
    return {name: arrays for name, arrays in layers.items() if arrays}


def _keras3_layers(root: Any) -> dict[str, list[np.ndarray]]:
    layers = {}
    for group in root.values():
        if len(variables := group.get("vars", ())):
            layers[_text(variables.attrs["name"])] = [np.asarray(variables[i]) for i in sorted(variables, key=int)]
    return layers


def _read_torch(path: str) -> WeightFile:
    try:
        with zipfile.ZipFile(path) as archive:
            whole_model = "config.json" in archive.namelist()
    except zipfile.BadZipFile:
        whole_model = False  # the format of PyTorch before 1.6, or damaged: torch will say
    if whole_model:
        raise ValueError(f"{path}: a whole Keras model; use keras.saving.load_model and save_weights")
    try:
        import torch
    except ImportError as error:
        raise ValueError(f"{path}: reading PyTorch weights needs torch: pip install torch") from error
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make its unpickler raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: damaged, or no PyTorch state dict ({reason})") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict):
        raise ValueError(f"{path}: holds a {type(state).__name__}, not a PyTorch state dict")
    arrays = {k: v.float().numpy() for k, v in state.items() if isinstance(v, torch.Tensor)}
    try:
        layers, ignored = torch_names.to_keras(arrays)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return WeightFile(path, "torch", layers, ignored)


def _read_tf1(prefix: str) -> WeightFile:
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(prefix)
        names = reader.get_variable_to_shape_map()
        arrays = {name: reader.get_tensor(name) for name in names if tf1_names.is_weight(name)}
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise ValueError(f"{prefix}: damaged TensorFlow checkpoint ({error})") from error
    ignored = tuple(sorted(set(names) - set(arrays)))
    return WeightFile(prefix, "tf1", tf1_names.to_keras(arrays), ignored)
