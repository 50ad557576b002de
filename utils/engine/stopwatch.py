"""Seconds and items by stage of a job."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Stopwatch:
    """Adds up the time of named stages; several threads may share it."""

    def __init__(self) -> None:
        """Starts the total."""
        self._start = time.perf_counter()
        self._stages: dict[str, list] = {}  # name -> [seconds, items, unit]
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str, items: int, unit: str = "images") -> Iterator[None]:
        """Counts the time of a `with` block, and the items worked on in it, to a stage.

        Blocks that run at once in several threads all count, so the sum may exceed the total.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            with self._lock:
                entry = self._stages.setdefault(name, [0.0, 0, unit])
                entry[0] += seconds
                entry[1] += items

    def timed(self, name: str, function: Callable[[list[_Item]], _Result]) -> Callable[[list[_Item]], _Result]:
        """Returns the function of a list with its calls counted to a stage, one item for each element."""

        def run(items: list[_Item]) -> _Result:
            with self.stage(name, len(items)):
                return function(items)

        return run

    @property
    def seconds(self) -> float:
        """Seconds since the stopwatch was made."""
        return time.perf_counter() - self._start

    def stages(self) -> dict[str, dict]:
        """{stage: {"seconds", "items", "unit", "per_second"}}, in the order they first ended."""
        with self._lock:
            entries = {name: tuple(entry) for name, entry in self._stages.items()}
        return {
            name: {"seconds": seconds, "items": items, "unit": unit, "per_second": items / seconds if seconds else 0.0}
            for name, (seconds, items, unit) in entries.items()
        }

    def table(self) -> str:
        """One line a stage: seconds, items, items per second; the total last."""
        stages = self.stages()
        width = max(len(name) for name in (*stages, "total"))
        rows = [
            f"  {name:<{width}} {entry['seconds']:8.2f} s {entry['items']:8,} {entry['unit']:<8}"
            f" {entry['per_second']:12,.1f}/s"
            for name, entry in stages.items()
        ]
        return "\n".join([*rows, f"  {'total':<{width}} {self.seconds:8.2f} s"])


def seconds_per_call(call: Callable[[], Any], times: int) -> float:
    """Returns the mean seconds of a call over `times` calls, after one that does not count."""
    call()
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def speeds(calls: Mapping[str, Callable[[], Any]], times: int) -> Iterator[str]:
    """Yields for each named call a line with its milliseconds and calls per second."""
    for name, call in calls.items():
        seconds = seconds_per_call(call, times)
        yield f"{name}: {1000 * seconds:.2f} ms, {1 / seconds:.1f} FPS"


class FrameRate:
    """Counts frames; the rate is that of the last second or so."""

    def __init__(self, frames: int = 25, clock: Callable[[], float] = time.perf_counter):
        """Starts.

        Args:
            frames: that the rate is taken over.
            clock: seconds.
        """
        self._clock, self.count = clock, 0
        self._start = clock()
        self._ends = deque([self._start], maxlen=frames + 1)

    def tick(self) -> float:
        """Counts a frame; returns the rate now, frames a second."""
        self._ends.append(self._clock())
        self.count += 1
        return (len(self._ends) - 1) / max(self._ends[-1] - self._ends[0], 1e-9)

    @property
    def mean(self) -> float:
        """Frames a second from the start to the last frame; 0 before the first."""
        return self.count / max(self._ends[-1] - self._start, 1e-9)
