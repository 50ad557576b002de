"""Writes a Keras network as TFLite, ONNX or SavedModel file, and runs such a file.

The networks are those of `utils.export.serving`: one input `image`, results by name.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from utils.engine.conversion import convert
from utils.engine.quantization import quantize
from utils.files.atomic_file import replacing

SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "saved_model": "_saved_model"}
RUNTIMES = {"tflite": "ai-edge-litert", "onnx": "onnxruntime", "saved_model": "tensorflow"}
"""The package that `open_exported` runs a format with."""

_OPSET = 17  # of ONNX; ONNX Runtime 1.12 (2022) and later know it
_AXES = ("batch", "height", "width")

Run = Callable[[np.ndarray], dict[str, np.ndarray]]


def check_format(kind: str, precision: str) -> None:
    """Raises an error for a pair of format and precision that `write_exported` cannot write.

    Raises:
        ValueError: the format does not have this precision.
        ModuleNotFoundError: a package for it is not installed.
    """
    if precision != "float32" and kind != "tflite":
        raise ValueError(f"precision {precision} needs format tflite, not {kind}")
    if kind == "onnx":
        try:
            import tf2onnx  # noqa: F401
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("format onnx needs a converter: pip install tf2onnx onnxruntime") from error


def write_exported(
    model: Any,
    path: str | os.PathLike,
    kind: str,
    precision: str = "float32",
    check: Callable[[Path], None] = lambda path: None,
) -> None:
    """Writes a network, whole or not at all.

    Args:
        model: a network of `utils.export.serving`.
        path: path of the file; for "saved_model" of the folder, which may hold an earlier one.
        kind: a key of SUFFIXES.
        precision: of the weights, see `utils.engine.quantization`; TFLite only.
        check: called with the file's temporary path; if it raises, there will be no file.

    Raises:
        ValueError: a folder of something else is there.
        Exception: whatever a converter raises for a layer that it does not know.
    """
    path = Path(path)
    with (_replacing_folder if kind == "saved_model" else replacing)(path) as temporary:
        if kind == "tflite":
            temporary.write_bytes(quantize(convert(model), precision))
        elif kind == "onnx":
            temporary.write_bytes(_to_onnx(model).SerializeToString())
        else:
            _save_model(model, temporary)
        check(temporary)


def _signature(model: Any) -> Any:
    """Returns the network as a `tf.function` of `image`, in inference mode."""
    import tensorflow as tf

    spec = tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32, name="image")
    return tf.function(lambda image: model(image, training=False), input_signature=[spec], autograph=False)


def _to_onnx(model: Any) -> Any:
    """Returns the network as an ONNX model whose open sides are named."""
    import tf2onnx

    function = _signature(model)
    network, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=_OPSET)
    for value in (*network.graph.input, *network.graph.output):
        names = _AXES if value.name == "image" else _AXES[:1]
        for name, side in zip(names, value.type.tensor_type.shape.dim, strict=False):
            if not side.dim_value:
                side.dim_param = name
    for node in network.graph.node:
        values = {attribute.name: attribute for attribute in node.attribute}
        mode = values.get("coordinate_transformation_mode")
        if mode and mode.s == b"tf_half_pixel_for_nn":
            # ONNX has dropped this mode. Its floor(x) is round(x - 0.5), with halves rounded up, of half_pixel.
            mode.s, values["nearest_mode"].s = b"half_pixel", b"round_prefer_ceil"
    return network


def _save_model(model: Any, folder: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.model = model  # The module must own the variables.
    tf.saved_model.save(module, folder, signatures={"serving_default": _signature(model)})


@contextlib.contextmanager
def _replacing_folder(path: Path) -> Iterator[Path]:
    """Does what `replacing` does for the folder of a SavedModel."""
    if path.exists() and not (path / "saved_model.pb").is_file():
        raise ValueError(f"{path}: there is something else than a SavedModel; move it away")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = (path.with_name(f".{uuid.uuid4().hex}.{path.name}") for _ in range(2))
    try:
        yield temporary
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    finally:
        for folder in (temporary, old):
            shutil.rmtree(folder, ignore_errors=True)


def open_exported(path: str | os.PathLike, kind: str) -> Run:
    """Opens an exported network.

    Args:
        path: what `write_exported` wrote.
        kind: its format.

    Returns:
        A function: float32 (B, H, W, 3) pixels -> {name: array}.

    Raises:
        ModuleNotFoundError: the package that runs the format is not installed.
    """
    if kind == "tflite":
        from ai_edge_litert.interpreter import Interpreter

        signature = Interpreter(model_path=os.fspath(path)).get_signature_runner()
        return lambda images: signature(image=images)
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda images: dict(zip(names, session.run(names, {"image": images}), strict=True))
    import tensorflow as tf

    loaded = tf.saved_model.load(os.fspath(path))

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        # The variables live as long as `loaded`, so the function must hold it, not the signature alone.
        results = loaded.signatures["serving_default"](image=tf.constant(images))
        return {name: value.numpy() for name, value in results.items()}

    return run


def runtime(kind: str) -> str:
    """Returns name and, where it is known, version of the package that runs a format."""
    name = RUNTIMES[kind]
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:  # a variant, such as onnxruntime-gpu
        return name
