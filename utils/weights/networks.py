"""Networks of weight files, for an engine: found compiled, by their content, or built where that is needed."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nets import GRAPH_VERSION
from utils.config import cfg_mnet, cfg_re50
from utils.engine.network import Built, Network
from utils.engine.quantization import PRECISIONS
from utils.files.digests import digest, weights_digest
from utils.weights.cards import card_path
from utils.weights.loading import load_weights
from utils.weights.weight_files import read_weight_file

if TYPE_CHECKING:
    import keras

DETECTORS = {"mobilenet": cfg_mnet, "resnet50": cfg_re50}
"""Backbones of RetinaFace, and the configuration of each."""

MTCNN_FILES = ("det1.npy", "det2.npy", "det3.npy")


def recognizer(path: str, backbone: str | None = None, input_shape: Sequence[int] | None = None) -> Network:
    """Returns the recognition network of a weight file.

    Its facts are backbone, embedding_size and normalization.

    Args:
        path: of the weights, any format of `read_weight_file`.
        backbone: a name of `nets.backbones`; None takes what the file says.
        input_shape: (height, width, 3); None takes the backbone's own.

    Raises:
        FileNotFoundError: no weights there.
    """

    def build() -> Built:
        from nets.backbones import BACKBONES
        from nets.facenet import facenet

        weights = read_weight_file(path)
        name = weights.network_among(BACKBONES, backbone)
        fitting, spec = weights.build_settings(), BACKBONES[name]
        model = facenet(
            input_shape, backbone=name, embedding_size=fitting.get("embedding_size"), symmetric=fitting["symmetric"]
        )
        report = load_weights(model, weights)
        facts = {
            "backbone": name,
            "embedding_size": model.output_shape[-1],
            "normalization": fitting.get("normalization") or spec.normalization,
        }
        return Built(model, facts, report)

    shape = None if input_shape is None else [int(side) for side in input_shape]
    return _network(path, {"input_shape": shape}, build)


def beside(path: str | os.PathLike, precision: str = "float32") -> Path:
    """Returns where a compiled form may lie beside weights: x.tflite or x.int8.tflite for x.weights.h5."""
    bits = "" if precision == "float32" else f".{precision}"
    return card_path(path).with_suffix(f"{bits}.tflite")


def named_backbone(network: Network, facts: Mapping[str, Any], given: str | None) -> str:
    """Returns the backbone of a network.

    Args:
        network: of this module.
        facts: those of its compiled form.
        given: what the user calls it; None takes what the weights are of.

    Raises:
        ValueError: the weights are of another one.
    """
    if given not in (None, facts["backbone"]):
        raise ValueError(f"{network.title}: the file holds {facts['backbone']} weights, not {given}")
    return facts["backbone"]


def retinaface(path: str, backbone: str | None = None) -> Network:
    """Returns the RetinaFace network of a weight file; its only fact is the backbone.

    Args:
        path: of the weights, any format of `read_weight_file`.
        backbone: a key of DETECTORS; None takes what the file says.

    Raises:
        FileNotFoundError: no weights there.
    """

    def build() -> Built:
        from nets.retinaface import RetinaFace

        weights = read_weight_file(path)
        given = backbone and f"retinaface_{backbone}"
        network = weights.network_among([f"retinaface_{name}" for name in DETECTORS], given)
        name = network.removeprefix("retinaface_")
        model = RetinaFace(DETECTORS[name])
        return Built(model, {"backbone": name}, load_weights(model, weights))

    return _network(path, {}, build)


def mtcnn(folder: str) -> tuple[Network, Network, Network]:
    """Returns P-Net, R-Net and O-Net of a folder with det1.npy, det2.npy and det3.npy.

    Raises:
        FileNotFoundError: one of the files is not there; names it.
    """
    paths = [Path(folder, name) for name in MTCNN_FILES]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: MTCNN finds no {', no '.join(missing)} there; set model_path to their "
            "folder, or get them with: python -m utils.weights download mtcnn"
        )
    first, second, third = (
        _network(path, {"mtcnn": name}, _mtcnn_builder(path, name))
        for path, name in zip(paths, ("pnet", "rnet", "onet"), strict=True)
    )
    return first, second, third


def _mtcnn_builder(path: Path, name: str) -> Callable[[], Built]:
    def build() -> Built:
        from nets import mtcnn as builders

        model: keras.Model = getattr(builders, name)()
        return Built(model, {}, load_weights(model, path))

    return build


def _network(path: str | os.PathLike, settings: Mapping[str, Any], build: Callable[[], Built]) -> Network:
    """Names a network by the content of its weights, the settings that shape it, and the version of the graphs."""
    named = json.dumps([GRAPH_VERSION, weights_digest(path), settings], sort_keys=True)
    return Network(
        os.fspath(path), digest(named.encode()).hex(), build, {kind: beside(path, kind) for kind in PRECISIONS}
    )
