"""Writes a video that can be played even if the program is interrupted: it gets its name when it is closed."""

import contextlib
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from utils.files.atomic_file import replacing
from utils.images.placement import letterbox

# Codecs that OpenCV's own wheels can write, best first.
_CODECS = dict.fromkeys((".mp4", ".m4v", ".mov"), ("mp4v", "avc1"))
_CODECS |= {".mkv": ("mp4v", "MJPG"), ".avi": ("MJPG", "XVID")}
_LONGEST_STILL = 2.0  # seconds that a picture stays when none follows


class VideoWriter(contextlib.AbstractContextManager):
    """Writes pictures at the times they were seen.

    Pictures are repeated or left out so that the file plays in real time. Where none came for long,
    such as while a stream was interrupted, the last one stays for two seconds. A file of the same
    name is replaced when this one is closed.

    Example:
        >>> with VideoWriter("out.mp4", 25) as writer:
        ...     writer.write(picture, 0.0)
    """

    def __init__(self, path: str | os.PathLike, fps: float):
        """Checks the name; the first picture creates the file.

        Args:
            path: .mp4, .m4v, .mov, .mkv or .avi; its folder is created.
            fps: frames per second.

        Raises:
            ValueError: the path has another suffix.
            OSError: the folder cannot be made or written to, or the path is a folder.
        """
        self.path, self.fps, self.frames = Path(path), float(fps), 0
        if self.path.suffix.lower() not in _CODECS:
            raise ValueError(f"{path}: cannot write '{self.path.suffix}'; use {', '.join(_CODECS)}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_dir() or not os.access(self.path.parent, os.W_OK):
            raise OSError(f"{path}: cannot be written")
        self._files = contextlib.ExitStack()
        self._writer: Any = None  # an OpenCV writer, from the first picture on
        self._size, self._start = (0, 0), 0.0  # of the pictures; second of the source at which the file starts

    def write(self, picture: np.ndarray, seconds: float) -> None:
        """Adds a picture.

        Args:
            picture: (H, W, 3) uint8 RGB; one of another size than the first is fitted into it.
            seconds: when it was seen, rising.

        Raises:
            OSError: the file cannot be written.
        """
        if self._writer is None:
            self._open(picture)
            self._start = seconds
        due = round((seconds - self._start) * self.fps) + 1
        most = max(1, round(_LONGEST_STILL * self.fps))
        if due - self.frames > most:
            self._start += (due - self.frames - most) / self.fps
            due = self.frames + most
        if _even(picture.shape) == self._size:
            picture = picture[: self._size[0], : self._size[1]]
        else:
            picture = letterbox(picture, self._size, fill=0, resample="linear")[0]
        frame = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        for _ in range(due - self.frames):
            self._writer.write(frame)
        self.frames = max(self.frames, due)

    def close(self) -> None:
        """Finishes the file; without a picture there is no file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        self._files.close()

    def __exit__(self, *_: Any) -> None:
        """Finishes the file; after an error, too, what was written can be played."""
        self.close()

    def _open(self, picture: np.ndarray) -> None:
        """Opens a temporary file with the first codec that works."""
        self._size = _even(picture.shape)
        with contextlib.ExitStack() as files:
            temporary = files.enter_context(replacing(self.path))
            for codec in _CODECS[self.path.suffix.lower()]:
                writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*codec), self.fps, self._size[::-1])
                if writer.isOpened():
                    self._writer, self._files = writer, files.pop_all()
                    return
            raise OSError(f"{self.path}: OpenCV cannot write this kind of video here; try .avi")


def _even(shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns height and width as codecs want them: without the last odd row or column."""
    return max(2, shape[0] // 2 * 2), max(2, shape[1] // 2 * 2)
