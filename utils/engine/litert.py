"""Runs a Keras network on the CPU with LiteRT, whose XNNPACK kernels use every core.

One conversion serves every batch and image size. It takes seconds, so its result is kept on disk,
named by all that decides it: the weights, the layers and their code, the input and the versions.
A network in a lower precision is made from the float32 conversion and kept beside it.
"""

import collections
import contextlib
import hashlib
import json
import os
import sys
import threading
from pathlib import Path

import numpy as np

from utils.engine import quantization
from utils.files.atomic_file import replacing
from utils.files.cache import cache_folder, drop_oldest

_CHECKSUM_BYTES = hashlib.sha256().digest_size
# How far an output may be from the Keras model's: norm of the difference by its norm. The images
# are noise, which tells whether the kernels work, not how well int8 does on photos.
_TOLERANCES = {"float32": 1e-2, "float16": 5e-2, "int8": 0.7}


def compile_litert(model, threads, sizes, precision="float32"):
    """Returns a network on LiteRT: from the cache, else converted, tested and cached.

    Args:
        model: a functional or sequential Keras model with one input (B, H, W, C).
        threads: CPU threads of a run.
        sizes: image sizes (H, W) kept ready.
        precision: of the weights, one of `quantization.PRECISIONS`.

    Returns:
        A function: float32 (n, H, W, C) -> tuple of float32 arrays (n, ...), as `model.outputs`.

    Raises:
        ModuleNotFoundError: ai-edge-litert is not installed.
        RuntimeError: the converted network does not answer as the Keras model does.
        Exception: whatever the converter raises for a layer that it does not know.
    """
    import ai_edge_litert.interpreter  # noqa: F401  Fail before the conversion, not after it.

    return Interpreters(_flatbuffer(model, fingerprint(model), precision), threads, sizes)


def _flatbuffer(model, name, precision):
    """Returns the flatbuffer of a network, whose fingerprint is `name`, and sees to its cache."""
    suffix = "" if precision == "float32" else f"-{precision}"
    path = cache_folder("engine") / f"{name}{suffix}.tflite"
    content = read_cache(path)
    if content:
        return content
    if precision == "float32":
        content = convert(model)
    else:
        content = quantization.quantize(_flatbuffer(model, name, "float32"), precision)
    _check_answers(model, Interpreters(content, 1, 1), _TOLERANCES[precision])
    write_cache(path, content)
    return content


def convert(model):
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
    def forward(images):
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


def _with_stock_prelu(model):
    """Returns the network with Keras's own PReLU, whose formula LiteRT runs as a single op."""
    import keras

    from nets.layers import PReLU

    def has_prelu(layer):
        inner = layer.layers if isinstance(layer, keras.Model) else []
        return isinstance(layer, PReLU) or any(map(has_prelu, inner))

    if not has_prelu(model):
        return model

    def stock(layer):
        if isinstance(layer, PReLU):
            return keras.layers.PReLU(shared_axes=layer.shared_axes, name=layer.name)
        return type(layer).from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=stock, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def _check_answers(model, run, tolerance):
    """Raises RuntimeError if a converted network answers otherwise than its Keras model."""
    import keras

    shape = (2, *(side or 128 for side in model.inputs[0].shape[1:]))
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    expected = keras.tree.flatten(model(images, training=False))
    for place, (want, got) in enumerate(zip(expected, run(images), strict=True)):
        want = keras.ops.convert_to_numpy(want).astype(np.float32)
        finite = np.isfinite(want)  # Weights that overflow on noise are no fault of the conversion.
        want, got = want[finite], got[finite]
        if not np.linalg.norm(got - want) <= tolerance * np.linalg.norm(want) + 1e-6:
            raise RuntimeError(f"output {place} of the conversion differs from the Keras model's")


class Interpreters:
    """The interpreters of one flatbuffer, one for each of the last used image sizes."""

    def __init__(self, content, threads, sizes):
        """Raises ValueError if `content`, bytes, is not a flatbuffer that LiteRT can load."""
        self._content = content
        self._threads = threads
        self._limit = sizes
        self._lock = threading.Lock()
        first = self._new()
        self._source = first.get_input_details()[0]["index"]
        self._targets = [detail["index"] for detail in first.get_output_details()]
        # (H, W) -> (interpreter, shape of its input), the least recently used first.
        self._kept = collections.OrderedDict({None: (first, None)})

    def __call__(self, batch):
        """Runs a float32 (n, H, W, C) batch; one at a time, since one run keeps all cores busy."""
        size = batch.shape[1:3]
        with self._lock:
            interpreter, shape = self._take(size)
            if shape != batch.shape:
                self._resize(interpreter, batch.shape)
            interpreter.set_tensor(self._source, batch)
            interpreter.invoke()
            self._kept[size] = interpreter, batch.shape  # Not reached if the run fails.
            return tuple(interpreter.get_tensor(target) for target in self._targets)

    def _take(self, size):
        if size in self._kept:
            return self._kept.pop(size)
        if len(self._kept) < self._limit:
            return self._new(), None
        # Resizing is cheaper than starting anew: the packed weights stay.
        return self._kept.popitem(last=False)[1]

    def _resize(self, interpreter, shape):
        try:
            interpreter.resize_tensor_input(self._source, shape)
            interpreter.allocate_tensors()
        except RuntimeError as error:
            height, width = shape[1:3]
            reason = f"the network cannot run on an image of height {height}, width {width}"
            raise ValueError(reason) from error

    def _new(self):
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(model_content=self._content, num_threads=self._threads)


def fingerprint(model):
    """Returns a hexadecimal name for the conversion of a model: equal only if that would be."""
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


def read_cache(path):
    """Returns the flatbuffer in a cache file; None if there is none or it is damaged."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    content, checksum = stored[:-_CHECKSUM_BYTES], stored[-_CHECKSUM_BYTES:]
    return content if hashlib.sha256(content).digest() == checksum else None


def write_cache(path, content):
    """Stores a flatbuffer with its checksum behind it; where that is not possible, does nothing."""
    with contextlib.suppress(OSError):
        with replacing(path) as temporary:
            temporary.write_bytes(content + hashlib.sha256(content).digest())
        drop_oldest(path.parent, ".tflite")
