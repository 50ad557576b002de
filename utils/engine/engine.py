"""Runs a Keras network on batches of images, as fast as the machine allows.

On a CPU the network is converted to LiteRT (`utils.engine.litert`), on a GPU it becomes one `tf.function`.
"""

import logging
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.engine.conversion import fingerprint
from utils.engine.devices import cores, has_gpu
from utils.engine.litert import Interpreters
from utils.engine.network import Built, Network
from utils.engine.quantization import check_precision

if TYPE_CHECKING:
    import keras

ENGINES = ("auto", "keras", "litert")
# Pixels of one run. LiteRT is no faster on many small images than on a few, and slower once their
# activations leave the cores' caches; TensorFlow gains from batches, and memory is the limit.
LITERT_PIXELS_PER_THREAD = 2**15
KERAS_PIXELS = 2**22

_log = logging.getLogger(__name__)


class Engine:
    """A compiled network: call it with a batch. Several threads may share it.

    Attributes:
        name: "litert" or "keras", what it runs on.
        facts: JSON values about the network: "shape" of its input, and what its builder says of it.
    """

    def __init__(
        self, name: str, run: Callable[[np.ndarray], tuple[np.ndarray, ...]], facts: Mapping[str, Any], pixels: int
    ):
        """Takes what runs a batch.

        Args:
            name: "litert" or "keras".
            run: (n, H, W, C) float32 -> tuple of (n, ...) float32.
            facts: has "shape", (None, H, W, C) of the input, H and W None for any.
            pixels: of all images of one run; a larger batch is run in parts.
        """
        self.name = name
        self.facts = facts
        self._run = run
        self._input_shape = tuple(facts["shape"])
        self._pixels = pixels

    def __call__(self, batch: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """Runs the network in inference mode.

        Args:
            batch: (N, H, W, C) array, cast to float32; any N, also 0. H and W are the network's,
                or any size where the network leaves them None.

        Returns:
            A float32 array (N, ...), or a tuple of them in the order of `model.outputs`.

        Raises:
            ValueError: the batch does not have the shape of the network's input.
        """
        batch = np.ascontiguousarray(batch, np.float32)
        self._check_shape(batch.shape)
        if not len(batch):
            outputs = self._run(np.zeros((1, *batch.shape[1:]), np.float32))
            outputs = tuple(output[:0] for output in outputs)
        else:
            step = max(1, self._pixels // (batch.shape[1] * batch.shape[2]))
            parts = [self._run(batch[start : start + step]) for start in range(0, len(batch), step)]
            outputs = parts[0]
            if len(parts) > 1:
                outputs = tuple(np.concatenate(part) for part in zip(*parts, strict=True))
        return outputs[0] if len(outputs) == 1 else outputs

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        wanted = self._input_shape
        fits = len(shape) == len(wanted) and all(
            want in (None, got) for want, got in zip(wanted[1:], shape[1:], strict=True)
        )
        if not fits or 0 in shape[1:]:
            text = ", ".join("any" if side is None else str(side) for side in wanted[1:])
            raise ValueError(f"the network takes a batch of shape (N, {text}), not {tuple(shape)}")


def compile_engine(
    network: "Network | keras.Model",
    engine: str = "auto",
    threads: int | None = None,
    sizes: int = 2,
    precision: str = "float32",
) -> Engine:
    """Makes a network ready for inference.

    TensorFlow is imported only where the network has to be built, or runs on it.

    Args:
        network: a Network, or a functional or sequential Keras model with one input (B, H, W, C); H and W may be None.
            Its layers must read their weights through Keras, as `nets.layers` does.
        engine: "keras" for a `tf.function`, "litert" for LiteRT, or "auto": LiteRT on a CPU if
            it is installed and can run the network, else the `tf.function`.
        threads: CPU threads of LiteRT; None for all that this process may use.
        sizes: image sizes (H, W) that LiteRT keeps ready, each with its own buffers. Another size costs up to half a
            run, once.
        precision: of the weights: "float32", or "float16" or "int8" (`utils.engine.quantization`), which
            run on LiteRT only.

    Returns:
        An `Engine`: float32 (N, H, W, C) in, one float32 array or a tuple of them out. On LiteRT it
        keeps the weights of this moment: compile again after changing them.

    Raises:
        ValueError: an unknown engine or precision, a precision that the engine does not have, or a
            model of several inputs.
        ValueError: engine "litert" or a lower precision was asked for and cannot be run.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is not one of {', '.join(ENGINES)}")
    check_precision(precision)
    lower = precision != "float32"
    if lower and engine == "keras":
        raise ValueError(f"precision {precision} needs engine litert or auto, not keras")
    source = network if isinstance(network, Network) else _network_of(network)
    on_gpu = engine != "litert" and not lower and has_gpu()
    if engine == "litert" or lower or (engine == "auto" and not on_gpu):
        source.prepare(precision)  # outside of `try`: its errors are about the weights, not about LiteRT
        threads = threads or cores()
        try:
            compiled = source.compiled(precision)
            run = Interpreters(compiled.content, threads, sizes)
            return Engine("litert", run, compiled.facts, threads * LITERT_PIXELS_PER_THREAD)
        except Exception as error:  # The converter and the interpreter raise types of their own.
            reason = f"LiteRT cannot run {source.title!r}: {_first_line(error)}"
            if engine == "litert" or lower or find_spec("tensorflow") is None:
                raise ValueError(reason) from error
            _log.warning("%s; it runs slower, on TensorFlow", reason)
    model, facts, _ = source.built()
    facts = {**facts, "shape": list(model.inputs[0].shape)}
    return Engine("keras", _keras_runner(model, on_gpu), facts, KERAS_PIXELS)


def _network_of(model: "keras.Model") -> Network:
    """Returns the Network of a Keras model that is there already."""
    if len(model.inputs) != 1:
        raise ValueError(f"an engine takes one input, {model.name!r} has {len(model.inputs)}")
    return Network(model.name, fingerprint(model), lambda: Built(model, {}))


def _first_line(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"no module {error.name}, pip install ai-edge-litert"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _keras_runner(model: "keras.Model", pad: bool) -> Callable:
    """Returns the network as one `tf.function`; `pad` rounds batches up to a power of two."""
    import keras
    import tensorflow as tf

    spec = tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32)

    @tf.function(input_signature=[spec], autograph=False)
    def forward(images: tf.Tensor) -> list[tf.Tensor]:
        outputs = keras.tree.flatten(model(images, training=False))
        return [tf.cast(output, tf.float32) for output in outputs]

    def run(batch: np.ndarray) -> tuple[np.ndarray, ...]:
        count = len(batch)
        if pad:  # A GPU searches for its best kernels anew at every batch size.
            extra = (1 << (count - 1).bit_length()) - count
            batch = np.pad(batch, ((0, extra), (0, 0), (0, 0), (0, 0)))
        return tuple(output.numpy()[:count] for output in forward(tf.constant(batch)))

    return run
