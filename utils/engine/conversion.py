"""Converts Keras networks to LiteRT flatbuffers, and checks that they answer alike."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.engine import quantization

if TYPE_CHECKING:
    import keras

# How far an output may be from the original's: norm of the difference by its norm. The images are noise, which tells
# whether the kernels work, not how well int8 does on photos.
TOLERANCES = {"float32": 1e-2, "float16": 5e-2, "int8": 0.7}
_CHECKED_SIDE = 128  # pixels, where the network takes any


def convert(model: "keras.Model") -> bytes:
    """Returns the network as a LiteRT flatbuffer whose batch, height and width stay open.

    The weights enter the graph as constants: with variables the converter raises no error and the
    result returns NaN.

    Args:
        model: a functional or sequential Keras model with one input (B, H, W, C). If it returns a
            dict, the flatbuffer has a signature "serving_default" of "image" and these names.
    """
    import keras
    import tensorflow as tf

    model = _with_stock_prelu(model)
    groups = model.trainable_variables, model.non_trainable_variables
    values = [[variable.numpy() for variable in group] for group in groups]
    spec = tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32, name="image")

    @tf.function(input_signature=[spec], autograph=False)
    def forward(images: tf.Tensor) -> Any:
        constants = [[tf.constant(value) for value in group] for group in values]
        outputs, _ = model.stateless_call(*constants, images, training=False)
        if not isinstance(outputs, dict):
            outputs = keras.tree.flatten(outputs)
        return keras.tree.map_structure(lambda output: tf.cast(output, tf.float32), outputs)

    function = forward.get_concrete_function()
    # Without names the function stands in for the object that owns it: the converter then writes
    # no SavedModel and keeps the outputs in order.
    owner = tf.Module() if isinstance(function.structured_outputs, dict) else function
    return tf.lite.TFLiteConverter.from_concrete_functions([function], owner).convert()


def _with_stock_prelu(model: "keras.Model") -> "keras.Model":
    """Returns the network with Keras's own PReLU, whose formula LiteRT runs as a single op."""
    import keras

    from nets.layers import PReLU

    def has_prelu(layer: Any) -> bool:
        inner = layer.layers if isinstance(layer, keras.Model) else []
        return isinstance(layer, PReLU) or any(map(has_prelu, inner))

    if not has_prelu(model):
        return model

    def stock(layer: Any) -> Any:
        if isinstance(layer, PReLU):
            return keras.layers.PReLU(shared_axes=layer.shared_axes, name=layer.name)
        return type(layer).from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=stock, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def check_alike(
    expected: Callable[[np.ndarray], Sequence[np.ndarray]],
    run: Callable[[np.ndarray], Sequence[np.ndarray]],
    shape: Sequence[int | None],
    tolerance: float,
) -> None:
    """Raises RuntimeError if two forms of a network answer differently to noise.

    Args:
        expected: the original, (n, H, W, C) float32 -> outputs.
        run: what was made of it.
        shape: of its input; None for what may vary.
        tolerance: norm of the difference by the norm of the expected output.
    """
    sides = [side or _CHECKED_SIDE for side in shape[1:]]
    images = np.random.default_rng(0).uniform(-1, 1, (2, *sides)).astype(np.float32)
    for place, (want, got) in enumerate(zip(expected(images), run(images), strict=True)):
        finite = np.isfinite(want)  # Weights that overflow on noise are no fault of the conversion.
        want, got = want[finite], got[finite]
        if not np.linalg.norm(got - want) <= tolerance * np.linalg.norm(want) + 1e-6:
            raise RuntimeError(f"output {place} of the conversion differs from the original's")


def keras_outputs(model: "keras.Model", images: np.ndarray) -> list[np.ndarray]:
    """Returns the outputs of a Keras network in inference mode, float32 arrays in order."""
    import keras

    outputs = keras.tree.flatten(model(images, training=False))
    return [keras.ops.convert_to_numpy(output).astype(np.float32) for output in outputs]


def fingerprint(model: "keras.Model") -> str:
    """Returns a hexadecimal name for the conversion of a model: equal for two models only if their conversions are."""
    import keras
    import tensorflow as tf

    versions = f"{tf.__version__} {keras.__version__} {model.inputs[0].shape}"
    digest = hashlib.sha256(versions.encode())
    digest.update(json.dumps(model.get_config(), default=str).encode())
    modules = {sys.modules.get(type(layer).__module__) for layer in model.layers}
    files = {getattr(module, "__file__", None) for module in modules}
    files |= {__file__, quantization.__file__}
    for file in sorted(file for file in files if file and os.path.isfile(file)):
        digest.update(Path(file).read_bytes())
    for weight in model.weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()
