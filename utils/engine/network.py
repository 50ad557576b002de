"""Where a network comes from: its compiled form if that is at hand, else its builder."""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from utils.engine import conversion, quantization
from utils.engine.compiled import Compiled, cached_path, flatbuffer, keep_in_cache, read_compiled
from utils.engine.devices import start_tensorflow
from utils.engine.litert import Interpreters
from utils.files.digests import digest

if TYPE_CHECKING:
    import keras


class Built(NamedTuple):
    """A network as its builder returns it.

    Attributes:
        model: the Keras model.
        facts: JSON values that are kept with its compiled form.
        report: of loading the weights.
    """

    model: "keras.Model"
    facts: Mapping[str, Any]
    report: Any = None


class Network:
    """A network that is built in Keras only when somebody needs that.

    Several threads may share it.
    """

    def __init__(self, title: str, name: str, build: Callable[[], Built], beside: Mapping[str, Path] | None = None):
        """Takes the way to the network.

        Args:
            title: what to call the network in a message.
            name: digest of weights, settings and code; two networks of one name compute the same.
            build: builds it and loads its weights.
            beside: precision -> where a compiled form may lie that comes along with the weights.
        """
        self.title = title
        self.name = name
        self._build = build
        self._beside = beside or {}
        self._built: Built | None = None
        self._found: dict[str, Compiled] = {}
        self._lock = threading.RLock()

    def built(self) -> Built:
        """Returns the Keras model, its facts and report; builds it at the first call.

        Raises:
            ModuleNotFoundError: TensorFlow is not installed.
        """
        with self._lock:
            if self._built is None:
                start_tensorflow(self.title)
                self._built = self._build()
            return self._built

    def prepare(self, precision: str) -> None:
        """Builds the Keras model if no compiled form serves; raises what the builder raises."""
        with self._lock:
            if self._find(precision) is None and self._find("float32") is None:
                self.built()

    def compiled(self, precision: str = "float32") -> Compiled:
        """Returns the network for LiteRT: as found beside the weights or in the cache, else made.

        Args:
            precision: of the weights, one of `quantization.PRECISIONS`.

        Raises:
            ModuleNotFoundError: ai-edge-litert is not installed.
            RuntimeError: the converted network does not answer as the Keras model does.
            Exception: whatever the converter raises for a layer that it does not know.
        """
        with self._lock:
            return self._find(precision) or self.make(precision)

    def make(self, precision: str = "float32") -> Compiled:
        """Converts the network, checks the result and keeps it in the cache; arguments and errors as of `compiled`."""
        with self._lock:
            made = self._convert() if precision == "float32" else self._quantize(precision)
            self._found[precision] = keep_in_cache(made._replace(facts={**made.facts, "name": self._name(precision)}))
            self._built = None  # The compiled form is enough; a Keras model is built again when it is asked for.
            return self._found[precision]

    def _name(self, precision: str) -> str:
        return digest(json.dumps([self.name, precision]).encode()).hex()

    def _find(self, precision: str) -> Compiled | None:
        """Returns a compiled form that lies beside the weights or in the cache."""
        if precision not in self._found:
            name = self._name(precision)
            places = [cached_path(name)]
            if precision in self._beside:
                places.insert(0, self._beside[precision])
            found = next(filter(None, (read_compiled(place, name) for place in places)), None)
            if found is None:
                return None
            self._found[precision] = found
        return self._found[precision]

    def _convert(self) -> Compiled:
        model, facts, _ = self.built()
        shape = model.inputs[0].shape
        import ai_edge_litert.interpreter  # noqa: F401  Fail before the conversion, not after it.

        print(f"{self.title}: is converted to LiteRT, once", file=sys.stderr)
        content = conversion.convert(model)
        conversion.check_alike(
            lambda images: conversion.keras_outputs(model, images),
            Interpreters(content, 1, 1),
            shape,
            conversion.TOLERANCES["float32"],
        )
        return Compiled(content, {**facts, "shape": list(shape)})

    def _quantize(self, precision: str) -> Compiled:
        whole = self.compiled()
        content = flatbuffer(whole)
        made = quantization.quantize(content, precision)
        conversion.check_alike(
            Interpreters(content, 1, 1),
            Interpreters(made, 1, 1),
            whole.facts["shape"],
            conversion.TOLERANCES[precision],
        )
        return Compiled(made, whole.facts)
