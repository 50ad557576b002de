import numpy as np
import pytest

from utils.video import window
from utils.video.window import Window, why_no_window

PICTURE = np.zeros((4, 6, 3), np.uint8)
PICTURE[..., 0] = 9


class Screen:
    """Stands in for OpenCV's windows; answers with these keys, one a call."""

    def __init__(self, keys=(), visible=1.0):
        self.keys, self.visible, self.shown, self.open = list(keys), visible, [], False

    def namedWindow(self, *_):  # noqa: N802
        self.open = True

    def destroyWindow(self, _):  # noqa: N802
        self.open = False

    def resizeWindow(self, *_):  # noqa: N802
        pass

    def imshow(self, _, image):
        self.shown.append(image)

    def waitKey(self, _):  # noqa: N802
        return self.keys.pop(0) if self.keys else -1

    def getWindowProperty(self, *_):  # noqa: N802
        return self.visible

    def install(self, monkeypatch):
        for name in dir(self):
            if name[0] != "_" and callable(getattr(self, name)) and name != "install":
                monkeypatch.setattr(window.cv2, name, getattr(self, name), raising=False)
        return self


@pytest.mark.parametrize("key, closed", [(-1, False), (ord("q"), True), (27, True), (65, False)])
def test_keys(monkeypatch, key, closed):
    screen = Screen([key]).install(monkeypatch)
    shown = Window("faces")
    shown.poll()
    assert not screen.open and screen.keys  # nothing to react before the first picture
    shown.show(PICTURE)
    assert shown.closed is closed and screen.open
    assert screen.shown[0][0, 0].tolist() == [0, 0, 9]  # BGR
    shown.close()
    assert not screen.open


def test_pause(monkeypatch):
    screen = Screen([ord(" "), -1, -1, ord(" "), 65]).install(monkeypatch)
    shown = Window("faces")
    shown.show(PICTURE)
    assert screen.keys == [65] and not shown.closed


def test_quit_while_paused(monkeypatch):
    Screen([ord(" "), -1, 27]).install(monkeypatch)
    shown = Window("faces")
    shown.show(PICTURE)
    assert shown.closed


@pytest.mark.parametrize("visible, closed", [(0.0, True), (-1.0, False), (1.0, False)])
def test_close_button(monkeypatch, visible, closed):
    Screen(visible=visible).install(monkeypatch)
    shown = Window("faces")
    shown.show(PICTURE)
    assert shown.closed is closed


@pytest.mark.parametrize(
    "platform, display, framework, reason",
    [
        ("linux", "", "GTK3", "no display"),
        ("linux", ":0", "", "headless"),
        ("linux", ":0", "GTK3", None),
        ("win32", "", "WIN32", None),
        ("darwin", "", "", "headless"),
    ],
)
def test_why_no_window(monkeypatch, platform, display, framework, reason):
    monkeypatch.setattr(window.sys, "platform", platform)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(window.cv2, "currentUIFramework", lambda: framework, raising=False)
    told = why_no_window()
    assert told is None if reason is None else reason in told
