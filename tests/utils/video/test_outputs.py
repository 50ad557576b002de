import contextlib
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from utils.gallery.index import UNKNOWN
from utils.pictures.drawing import GREEN, RED
from utils.video.outputs import Outputs, can_show, draw, open_outputs, stopped_by_signals
from utils.video.recognizer import SeenFace

NOTHING = {"output": None, "csv_path": None, "preview_port": None, "source": "0"}
FILM = SimpleNamespace(name="film", fps=25.0)


@pytest.mark.parametrize(("name", "colour"), [("Ann", GREEN), (UNKNOWN, RED), (None, (120, 120, 120))])
def test_the_colour_of_a_box_says_who_is_known(name, colour):
    points = np.full((5, 2), 70.0)
    face = SeenFace(1, name, 0.5, np.array([40, 40, 100, 100]), points, 0.9)
    image = np.zeros((160, 160, 3), np.uint8)
    picture = draw(image, [face], 25.0)
    assert tuple(picture[80, 40]) == colour and not image.any()


def test_a_picture_without_faces_has_the_frame_rate():
    image = np.full((100, 160, 3), 90, np.uint8)
    changed = (draw(image, [], 25.0) != image).any(axis=2)
    assert changed[:12, :40].any() and not changed[50:].any()


@pytest.mark.parametrize("key", ["output", "csv_path", "preview_port"])
def test_without_window_one_other_result_is_enough(monkeypatch, key):
    monkeypatch.setattr("utils.video.window.why_no_window", lambda: "there is no display")
    assert can_show({**NOTHING, key: 0}) is False
    with pytest.raises(ValueError, match="no window, as there is no display; give --output"):
        can_show(NOTHING)
    monkeypatch.setattr("utils.video.window.why_no_window", lambda: None)
    assert can_show(NOTHING) is True


def test_nothing_asked_for_is_no_output():
    with contextlib.ExitStack() as stack:
        assert not open_outputs(NOTHING, FILM, False, stack)


def test_what_is_open_gets_every_picture(tmp_path):
    shown = []
    window = SimpleNamespace(show=shown.append, closed=False)
    picture = np.zeros((80, 80, 3), np.uint8)
    with contextlib.ExitStack() as stack:
        outputs = open_outputs({**NOTHING, "output": tmp_path / "a.avi"}, FILM, False, stack)
        outputs.window = window
        assert outputs and not outputs.closed
        outputs.put(picture, 0.0)
        outputs.end()
    assert outputs.closed and len(shown) == 1 and outputs.writer.frames == 1
    assert (tmp_path / "a.avi").stat().st_size > 0


def test_a_film_does_not_overwrite_itself(tmp_path):
    film = tmp_path / "film.avi"
    film.write_bytes(b"film")
    settings = {**NOTHING, "source": str(film), "output": tmp_path / "." / "film.avi"}
    with contextlib.ExitStack() as stack, pytest.raises(ValueError, match="are the same file"):
        open_outputs(settings, FILM, False, stack)
    assert film.read_bytes() == b"film"


def test_without_outputs_nothing_is_closed():
    outputs = Outputs()
    outputs.end()
    outputs.poll()
    assert not outputs and not outputs.closed


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_signals_that_nohup_switched_off_stay_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals(lambda: pytest.fail("stopped")):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
