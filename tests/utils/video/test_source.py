import socket
import subprocess
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.stream_server import StreamServer
from utils.video.source import VideoError, open_source, public_name

COUNT = 20
SERVER = Path(__file__).parents[2] / "rtsp_server.py"


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A video whose frames are grey, brighter and brighter, with a red left side."""
    path = tmp_path_factory.mktemp("film") / "фильм 1.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for i in range(COUNT):
        frame = np.full((48, 64, 3), 10 * i, np.uint8)
        frame[:, :32] = 0, 0, 200  # BGR
        writer.write(frame)
    writer.release()
    return path


def brightness(frame):
    return round(frame.image[:, 40:].mean() / 10)


def wait_until(condition, seconds=8.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def take(video, count, seconds=8.0):
    """The next frames that are not None."""
    frames, end = [], time.monotonic() + seconds
    for frame in video:
        assert time.monotonic() < end, "it took too long"
        frames += [frame] if frame is not None else []
        if len(frames) == count:
            return frames


def test_every_frame_of_a_file_in_order(film):
    video = open_source(str(film))
    assert (video.live, video.fps, video.count) == (False, 10.0, COUNT)
    frames = list(video)
    assert [brightness(frame) for frame in frames] == list(range(COUNT))
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(COUNT) / 10)
    left = frames[0].image[:, :24].reshape(-1, 3).mean(axis=0)
    assert left[0] > 180 and left[2] < 30  # RGB
    video.close()


def test_a_slow_reader_loses_nothing_of_a_file(film):
    slow = []
    for frame in open_source(str(film)):
        time.sleep(0.005)
        slow.append(brightness(frame))
    assert slow == list(range(COUNT))


@pytest.mark.parametrize("step", [2, 3, 50])
def test_steps(film, step):
    video = open_source(str(film), step)
    frames = list(video)
    assert [brightness(frame) for frame in frames] == list(range(COUNT))[::step]
    assert video.count == len(frames)
    np.testing.assert_allclose([f.seconds for f in frames], np.arange(0, COUNT, step) / 10)


def test_stop(film):
    video = open_source(str(film))
    seen = []
    for frame in video:
        seen.append(frame)
        if len(seen) == 3:
            video.stop()
    assert len(seen) == 3


@pytest.mark.parametrize(
    "source, error, words",
    [
        ("no such film.mp4", FileNotFoundError, "no such film.mp4"),
        ("99", VideoError, "camera 99: no such camera"),
        ("http://127.0.0.1:9/", VideoError, "http://127.0.0.1:9/: nothing to be seen"),
        ("rtsp://me:secret@127.0.0.1:9/", VideoError, r"rtsp://me:\*\*\*@127.0.0.1:9/: nothing"),
    ],
)
def test_nothing_there(source, error, words, capfd):
    with pytest.raises(error, match=words):
        open_source(source)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"text " * 100])
def test_not_a_video(tmp_path, content, capfd):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match="a.mp4: not a video"):
        open_source(str(path))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "source, name",
    [
        ("0", "camera 0"),
        ("a/b.mp4", "a/b.mp4"),
        ("rtsp://host:554/1", "rtsp://host:554/1"),
        ("rtsp://me:pa:ss@host/1", "rtsp://me:***@host/1"),
        ("rtsp://me:p@ss@host/1@2", "rtsp://me:***@host/1@2"),
        ("rtsp://host/user=me&password=x&channel=1", "rtsp://host/user=me&password=***&channel=1"),
        ("http://host/a?Token=x", "http://host/a?Token=***"),
    ],
)
def test_public_name(source, name):
    assert public_name(source) == name


def test_a_file_that_does_not_count_its_frames_is_still_a_file(film, monkeypatch):
    capture = cv2.VideoCapture

    class Uncounted:
        """A capture that knows neither number nor rate, as of a browser's recording."""

        def __init__(self, *arguments):
            self._capture = capture(*arguments)

        def get(self, key):
            unknown = {cv2.CAP_PROP_FRAME_COUNT: -9.2e18, cv2.CAP_PROP_FPS: 1000.0}
            return unknown.get(key, self._capture.get(key))

        def __getattr__(self, name):
            return getattr(self._capture, name)

    monkeypatch.setattr(cv2, "VideoCapture", Uncounted)
    video = open_source(str(film))
    assert (video.live, video.count, video.fps) == (False, None, 25.0)
    frames = list(video)
    assert [brightness(frame) for frame in frames] == list(range(COUNT))
    # the file's own times, at ten frames a second
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(COUNT) / 10)


def test_a_stream_can_be_started_anew():
    server = StreamServer()
    video = open_source(server.address)
    try:
        wait_until(lambda: video.dropped > 5)
        before = video.start
        video.restart()
        assert video.dropped <= 1 and video.start > before
        assert 0 <= take(video, 1)[0].seconds < 0.5
    finally:
        video.close()
        server.close()


def test_a_slow_reader_gets_the_newest_frame_of_a_stream():
    server = StreamServer(fps=50)
    video = open_source(server.address)
    try:
        assert video.live and video.count is None and video.start is not None
        numbers = []
        for _ in range(6):
            numbers.append(take(video, 1)[0].image.mean())
            time.sleep(0.2)
        # Ten pictures go by while one is looked at; without dropping it would be one.
        assert np.median(np.diff(numbers)) > 4
        assert video.dropped > 10
        seconds = [frame.seconds for frame in take(video, 3)]
        assert seconds == sorted(seconds) and seconds[0] > 1.0
    finally:
        video.close()
        server.close()


def test_a_stream_that_breaks_is_taken_up_again(monkeypatch):
    monkeypatch.setattr("utils.video.source._RETRY", 0.1)
    said = []
    server = StreamServer()
    video = open_source(server.address, say=said.append)
    take(video, 2)
    server.close()
    wait_until(lambda: said)
    iterator = iter(video)
    wait_until(lambda: next(iterator) is None)
    server = StreamServer(server.port)
    try:
        take(video, 2)
        address = server.address
        assert said == [f"{address}: no picture any more; trying to get it back", f"{address}: the picture is back"]
    finally:
        video.close()
        server.close()


def test_a_stream_that_is_gone_can_be_stopped(monkeypatch):
    monkeypatch.setattr("utils.video.source._RETRY", 60)
    server = StreamServer()
    video = open_source(server.address, say=lambda line: None)
    take(video, 1)
    server.close()
    threading.Timer(0.3, video.stop).start()
    start = time.monotonic()
    list(video)
    video.close()
    assert time.monotonic() - start < 2.0
    assert not video._thread.is_alive()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rtsp_camera(port):
    """Starts tests/rtsp_server.py with the Python that has GStreamer; None if there is none."""
    command = ["/usr/bin/python3", str(SERVER), str(port)]
    try:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except FileNotFoundError:
        return None
    if server.stdout.readline() == "listening\n":
        return server
    server.kill()
    server.wait()
    return None


@pytest.mark.slow
def test_an_rtsp_camera_that_is_off_for_five_seconds():
    port = free_port()
    server = rtsp_camera(port)
    if server is None:
        pytest.skip("needs GStreamer's RTSP server, see tests/rtsp_server.py")
    said = []
    video = open_source(f"rtsp://127.0.0.1:{port}/camera", say=said.append)
    try:
        before = take(video, 25)
        server.kill()
        server.wait()
        wait_until(lambda: said, 15)
        time.sleep(5)
        server = rtsp_camera(port)
        after = take(video, 25, 30)
        assert after[0].image.shape == (240, 320, 3)
        assert after[-1].seconds > before[-1].seconds + 5
        assert len(said) == 2 and said[1].endswith("the picture is back")
    finally:
        video.close()
        server.kill()
        server.wait()


@pytest.mark.parametrize("size", [640, (640,), (640, 0), "640,480"])
def test_a_camera_size_is_two_numbers(film, size):
    with pytest.raises(ValueError, match="^camera_size .*: width, height expected"):
        open_source(str(film), camera_size=size)
