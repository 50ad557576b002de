"""Frames of a video file, a camera or a stream, in RGB."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

# FFmpeg writes its messages to stderr, where no handler can catch them; this module says enough.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

_USUAL_FPS = 25.0  # of a source that does not say
_MOST_FPS = 240.0  # a higher value is not a frame rate
_RETRY = 1.0  # seconds between attempts to get a live source back
_TIMEOUT = 10_000  # milliseconds that a stream may be silent
_MOMENT = 0.1  # seconds after which a live source yields None if there is no new frame


class VideoError(ValueError):
    """Raised if a video cannot be read; the message names it."""


class Frame(NamedTuple):
    """A picture and when it was.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        seconds: since the start, rising.
    """

    image: np.ndarray
    seconds: float


def open_source(
    source: str, step: int = 1, camera_size: tuple[int, int] | None = None, say: Callable[[str], None] = print
) -> "VideoFile | LiveVideo":
    """Opens a video.

    Args:
        source: number of a camera, path of a file or device, or address (rtsp://, http://, ...).
        step: of a file, every which frame is taken.
        camera_size: (width, height) that a camera is asked for; it may choose another.
        say: told when a live source is lost and when it is back.

    Raises:
        FileNotFoundError: there is no such file.
        VideoError: no camera, stream or video there.
        ValueError: camera_size is not a pair of positive numbers.
    """
    if camera_size is not None and (np.shape(camera_size) != (2,) or min(camera_size) < 1):
        raise ValueError(f"camera_size {camera_size!r}: width, height expected, such as 1280,720")
    name, is_address = public_name(source), "://" in source
    is_camera = source.isdecimal() or (not is_address and Path(source).is_char_device())
    if not (is_camera or is_address) and not Path(source).exists():
        raise FileNotFoundError(2, "no such video file, camera number or address", source)

    connect = partial(_connect, source, camera_size if is_camera else None)
    capture = connect()
    if capture is None and is_camera:
        raise VideoError(f"{name}: no such camera, or another program uses it")
    if capture is None:
        reason = "nothing to be seen at this address" if is_address else "not a video that can be read"
        raise VideoError(f"{name}: {reason}")
    if not is_camera and (Path(source).is_file() or _frame_count(capture)):
        return VideoFile(capture, name, step)
    return LiveVideo(capture, name, connect, say)


def public_name(source: str) -> str:
    """Returns the source as it may be shown: `camera 0`, or an address without its passwords."""
    if source.isdecimal():
        return f"camera {source}"
    source = re.sub(r"(://[^/@:]*):[^/]*@", r"\1:***@", source)
    return re.sub(r"(?i)((?:password|passwd|pwd|token)=)[^&/]*", r"\1***", source)


def _connect(source: str, camera_size: tuple[int, int] | None) -> cv2.VideoCapture | None:
    """Returns an open capture, or None if the source cannot be opened."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        if "://" in source:
            options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT]
            capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, options)
        else:
            capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(before)
    if camera_size:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, camera_size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, camera_size[1])
    if capture.isOpened():
        return capture
    capture.release()
    return None


def _fps(capture: cv2.VideoCapture) -> float:
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if 0 < fps <= _MOST_FPS else _USUAL_FPS


def _frame_count(capture: cv2.VideoCapture) -> int | None:
    """Returns about how many frames there are; None for a stream, or a file that does not say."""
    count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(count) if 0 < count < 1e9 else None


class VideoFile:
    """A file: iterating yields every frame in order.

    Attributes:
        name: how it may be called in messages.
        live: False.
        fps: frames a second that iterating yields, in the time of the video.
        count: about how many that will be; None if the file does not say.
        start: None, a file has no time of day.
    """

    live = False
    start = None

    def __init__(self, capture: cv2.VideoCapture, name: str, step: int = 1):
        """Takes over an open capture, of which every `step`-th frame is read."""
        self.name, self._capture, self._step = name, capture, step
        self.fps = _fps(capture) / step
        count = _frame_count(capture)
        self.count = count and -(-count // step)
        self._stopped = False

    def __iter__(self) -> Iterator[Frame]:
        """Yields the frames.

        Raises:
            VideoError: not even one frame can be read.
        """
        first, seconds = None, 0.0
        while not self._stopped:
            read, image = self._capture.read()
            if not read:
                break
            shown = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if first is None:
                first = shown
            else:  # phones vary their rate, so the file's own times count, where it has them
                rises = shown - first > seconds
                seconds = shown - first if rises else seconds + 1 / self.fps
            yield Frame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), seconds)
            for _ in range(self._step - 1):
                self._capture.grab()
        if first is None and not self._stopped:
            raise VideoError(f"{self.name}: no frame of this video can be read")

    def stop(self) -> None:
        """Ends the iteration after the frame at hand."""
        self._stopped = True

    def close(self) -> None:
        """Closes the file."""
        self.stop()
        self._capture.release()


class LiveVideo:
    """A camera or stream: iterating yields the newest frame, however long the work on the last took.

    A thread reads all the time and keeps one frame, so that none gets old in a queue. When the
    picture breaks off, the thread tries to get it back until it is stopped.

    Attributes:
        name: how it may be called in messages.
        live: True.
        fps: frames a second that the source promises.
        count: None.
        start: local time of second 0.
        dropped: number of frames that were left out to keep up.
    """

    live = True
    count = None

    def __init__(self, capture: cv2.VideoCapture, name: str, connect: Callable[[], Any], say: Callable[[str], None]):
        """Starts to read an open capture, which `connect` opens again if it is lost.

        Raises:
            VideoError: there is no picture.
        """
        self.name, self.fps, self.dropped = name, _fps(capture), 0
        self.start, self._zero = datetime.now(), time.monotonic()
        self._connect, self._say = connect, say
        self._newest: Frame | None = None
        self._changed, self._stopped = threading.Condition(), threading.Event()
        if not self._take(capture):
            raise VideoError(f"{name}: it can be opened, but sends no picture")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame | None]:
        """Yields each frame at most once, and None when a tenth of a second brought no new one."""
        while not self._stopped.is_set():
            with self._changed:
                if self._newest is None:
                    self._changed.wait(_MOMENT)
                frame, self._newest = self._newest, None
            yield frame

    def restart(self) -> None:
        """Makes this moment second 0 and forgets the frames before it."""
        with self._changed:
            self.start, self._zero = datetime.now(), time.monotonic()
            self.dropped, self._newest = 0, None

    def stop(self) -> None:
        """Ends the iteration and the thread."""
        self._stopped.set()

    def close(self) -> None:
        """Stops, and waits a little for the thread to let go of the camera."""
        self.stop()
        self._thread.join(timeout=2.0)

    def _take(self, capture: cv2.VideoCapture) -> bool:
        """Makes a capture the one that is read, and keeps its next picture; closes it if there is none."""
        read, image = capture.read()
        if not read:
            capture.release()
            return False
        self._capture = capture  # the thread's alone, once that runs
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        with self._changed:
            self.dropped += self._newest is not None
            self._newest = Frame(image, time.monotonic() - self._zero)
            self._changed.notify()
        return True

    def _read(self) -> None:
        """Reads frames until `stop` is called."""
        while not self._stopped.is_set():
            if not self._take(self._capture):
                self._say(f"{self.name}: no picture any more; trying to get it back")
                self._reconnect()
        self._capture.release()

    def _reconnect(self) -> None:
        """Tries until there is a picture again, or `stop` is called."""
        while not self._stopped.wait(_RETRY):
            capture = self._connect()
            if capture is not None and self._take(capture):
                self._say(f"{self.name}: the picture is back")
                return
