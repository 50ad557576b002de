"""Runs a compiled network on the CPU with LiteRT, whose XNNPACK kernels use every core."""

import collections
import threading
from pathlib import Path
from typing import Any

import numpy as np


class Interpreters:
    """The interpreters of one flatbuffer, one for each of the last used image sizes."""

    def __init__(self, content: bytes | Path, threads: int, sizes: int):
        """Loads a network.

        Args:
            content: a flatbuffer, or the path of a file that begins with one.
            threads: CPU threads of a run.
            sizes: image sizes (H, W) kept ready.

        Raises:
            ModuleNotFoundError: ai-edge-litert is not installed.
            ValueError: `content` is no flatbuffer that LiteRT can load.
        """
        self._content = content
        self._threads = threads
        self._limit = sizes
        self._lock = threading.Lock()
        first = self._new()
        self._source = first.get_input_details()[0]["index"]
        self._targets = [detail["index"] for detail in first.get_output_details()]
        # (H, W) -> (interpreter, shape of its input), the least recently used first.
        self._kept: collections.OrderedDict[Any, tuple[Any, tuple[int, ...] | None]]
        self._kept = collections.OrderedDict({None: (first, None)})

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns the outputs (n, ...) of a float32 (n, H, W, C) batch.

        Threads take turns, since one run keeps all cores busy.
        """
        size = batch.shape[1:3]
        with self._lock:
            interpreter, shape = self._take(size)
            if shape != batch.shape:
                self._resize(interpreter, batch.shape)
            interpreter.set_tensor(self._source, batch)
            interpreter.invoke()
            self._kept[size] = interpreter, batch.shape  # Not reached if the run fails.
            return tuple(interpreter.get_tensor(target) for target in self._targets)

    def _take(self, size: tuple[int, ...]) -> tuple[Any, tuple[int, ...] | None]:
        for known in (size, None):  # None: the first one, which has no size yet
            if known in self._kept:
                return self._kept.pop(known)
        if len(self._kept) < self._limit:
            return self._new(), None
        # Resizing is cheaper than starting anew: the packed weights stay.
        return self._kept.popitem(last=False)[1]

    def _resize(self, interpreter: Any, shape: tuple[int, ...]) -> None:
        try:
            interpreter.resize_tensor_input(self._source, shape)
            interpreter.allocate_tensors()
        except RuntimeError as error:
            height, width = shape[1:3]
            reason = f"the network cannot run on an image of height {height}, width {width}"
            raise ValueError(reason) from error

    def _new(self) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        if isinstance(self._content, bytes):
            return Interpreter(model_content=self._content, num_threads=self._threads)
        return Interpreter(model_path=str(self._content), num_threads=self._threads)
