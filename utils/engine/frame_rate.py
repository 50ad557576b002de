"""How many frames a second are done."""

import time
from collections import deque
from collections.abc import Callable


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
