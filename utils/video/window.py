"""A window that shows a video, where the machine has a screen and OpenCV can open one."""

import os
import sys

import cv2
import numpy as np

_QUIT = (ord("q"), ord("Q"), 27)  # 27: ESC
_PAUSE = ord(" ")
_NO_KEY = 255  # what waitKey's -1 becomes


def why_no_window() -> str | None:
    """Returns why no window can be opened, or None if one can."""
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform not in ("win32", "darwin") and not has_display:
        return "there is no display"
    if not cv2.currentUIFramework():
        return (
            "this OpenCV is the headless one (for windows: pip uninstall opencv-python-headless, "
            "then pip install opencv-python)"
        )
    return None


class Window:
    """Shows pictures; q, ESC or its close button closes it, the space bar pauses.

    Attributes:
        closed: whether the user has closed it.
    """

    def __init__(self, title: str):
        """Prepares the window; the first picture opens it."""
        self._title, self._open, self.closed = title, False, False

    def show(self, picture: np.ndarray) -> None:
        """Shows a picture, (H, W, 3) uint8 RGB; returns when it is not paused."""
        if not self._open:
            plain = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL  # no tool bar
            cv2.namedWindow(self._title, plain)
            cv2.resizeWindow(self._title, picture.shape[1], picture.shape[0])
            self._open = True
        cv2.imshow(self._title, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if self.poll() == _PAUSE:
            while not self.closed and self.poll(50) != _PAUSE:
                pass

    def poll(self, milliseconds: int = 1) -> int:
        """Lets the window react for some time; returns the key that was pressed, 255 for none."""
        if not self._open:
            return _NO_KEY
        key = cv2.waitKey(milliseconds) & 255
        # Systems that cannot tell whether a window is visible answer -1.
        gone = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) == 0
        self.closed = self.closed or key in _QUIT or gone
        return key

    def close(self) -> None:
        """Closes the window if it is open."""
        if self._open:
            cv2.destroyWindow(self._title)
            self._open = False
