"""Where the pictures of a video go: a window, a page, a file; and what ends the work."""

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from utils.faces.detections import Detections
from utils.gallery.index import UNKNOWN
from utils.pictures.drawing import GREEN, RED, draw_detections
from utils.settings.settings import Settings
from utils.video import window as windows
from utils.video.preview_server import PreviewServer
from utils.video.recognizer import SeenFace
from utils.video.source import LiveVideo, VideoFile
from utils.video.writer import VideoWriter

_GREY = (120, 120, 120)  # of a face without a name yet
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


@dataclass
class Outputs:
    """Where pictures go; None is left out.

    Attributes:
        window: shows them on the screen.
        preview: shows them at an address.
        writer: writes them to a video file.
    """

    window: windows.Window | None = None
    preview: PreviewServer | None = None
    writer: VideoWriter | None = None

    def __bool__(self) -> bool:
        """Whether a picture is wanted at all."""
        return any((self.window, self.preview, self.writer))

    def put(self, picture: np.ndarray, seconds: float) -> None:
        """Shows and writes a picture, (H, W, 3) uint8 RGB, of this second of the video."""
        if self.writer:
            self.writer.write(picture, seconds)
        if self.preview:
            self.preview.show(picture)
        if self.window:
            self.window.show(picture)

    def end(self) -> None:
        """Closes the window, which also ends its pause."""
        if self.window:
            self.window.closed = True

    def poll(self) -> None:
        """Lets the window react while there is no new picture."""
        if self.window:
            self.window.poll()

    @property
    def closed(self) -> bool:
        """Whether the user has closed the window."""
        return self.window is not None and self.window.closed


def can_show(settings: Settings) -> bool:
    """Returns whether there can be a window.

    Args:
        settings: output, csv_path, preview_port.

    Raises:
        ValueError: there can be none, and nothing else shows or keeps the result.
    """
    reason = windows.why_no_window()
    others = (settings[key] is not None for key in ("output", "csv_path", "preview_port"))
    if reason and not any(others):
        raise ValueError(f"no window, as {reason}; give --output seen.mp4, --csv_path seen.csv or --preview_port 8000")
    return reason is None


def open_outputs(settings: Settings, video: VideoFile | LiveVideo, sees: bool, stack: contextlib.ExitStack) -> Outputs:
    """Opens what the settings ask for, and prints the address of a preview.

    Args:
        settings: source, output, preview_port.
        video: gives the frame rate of the file and the title of the window.
        sees: whether to open a window.
        stack: closes the outputs when it is left.

    Raises:
        ValueError: output is the source itself, or of an unknown format, or the port is none.
        OSError: the file or the port cannot be opened.
    """
    outputs, path = Outputs(), settings["output"]
    if path is not None:
        if Path(path).exists() and Path(path).resolve() == Path(settings["source"]).resolve():
            raise ValueError(f"{path}: output and source are the same file")
        outputs.writer = stack.enter_context(VideoWriter(path, video.fps))
    if settings["preview_port"] is not None:
        outputs.preview = stack.enter_context(PreviewServer(settings["preview_port"]))
        print(f"preview: {outputs.preview.address}", flush=True)
    if sees:
        outputs.window = windows.Window(f"{video.name} - q ends")
        stack.callback(outputs.window.close)
    return outputs


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Lets Ctrl-C and SIGTERM call `stop`, so that the work ends after the frame at hand.

    A second signal has its usual effect: it ends the program at once.
    """
    before: dict[int, Any] = {}

    def ask(number: int, _: object) -> None:
        signal.signal(number, before[number])
        stop()

    for number in (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)):
        # A signal that nohup, or a shell in the background, has switched off stays so.
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def draw(image: np.ndarray, faces: Sequence[SeenFace], fps: float) -> np.ndarray:
    """Returns a picture with boxes, names and the frame rate: known green, unknown red, open grey.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        faces: that are seen in it.
        fps: frames per second.
    """
    labels, colours = [], []
    for face in faces:
        known = face.name not in (None, UNKNOWN)
        labels.append(f"{face.name} {face.distance:.2f}" if known else face.name or "")
        colours.append(GREEN if known else RED if face.name else _GREY)
    found = np.array([[*face.box, face.score, *face.landmarks.ravel()] for face in faces])
    return draw_detections(image, Detections.from_array(found), labels, colours, note=f"{fps:.1f} fps")
