import csv
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

import video
from tests import command_line
from tests.shared import need
from tests.stream_server import StreamServer
from utils.faces.detections import Detections
from utils.gallery.gallery import Gallery
from utils.video.outputs import Outputs

ROOT = Path(__file__).resolve().parents[1]
RED, GREEN, BLUE = (230, 20, 20), (20, 230, 20), (20, 20, 230)
SIDE = 40


class ColourFacenet:
    """Stands in for Facenet: faces are squares of one bright colour, which is whose they are."""

    threshold = 1.1
    identity = {"weights": "colours"}

    def detect_batch(self, images):
        return [self._faces(image) for image in images]

    def _faces(self, image):
        bright = (image.max(axis=2) > 120).astype(np.uint8)
        stats = cv2.connectedComponentsWithStats(bright)[2][1:]
        x, y, w, h, area = stats[stats[:, 4] > 100].T
        points = np.stack([x + w / 2, y + h / 2], axis=1)[:, None].repeat(5, axis=1)
        points += np.array([[-1, -1], [1, -1], [0, 0], [-1, 1], [1, 1]]) * w[:, None, None] / 4
        return Detections(np.stack([x, y, x + w, y + h], axis=1), np.full(len(x), 0.9), points)

    def align(self, image, points):
        x, y = points[2].astype(int)
        return image[y - 3 : y + 4, x - 3 : x + 4]

    def embed_crops(self, crops):
        mean = np.stack([crop.reshape(-1, 3).mean(axis=0) for crop in crops])
        return (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)


def picture(*placed, size=(120, 200)):
    """Squares (colour, left, top) on black."""
    image = np.zeros((*size, 3), np.uint8)
    for colour, left, top in placed:
        image[top : top + SIDE, left : left + SIDE] = colour
    return image


def write_film(path, pictures, fps=25.0):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, pictures[0].shape[1::-1])
    for image in pictures:
        writer.write(image[..., ::-1])
    writer.release()
    return path


def read_film(path):
    capture, frames = cv2.VideoCapture(str(path)), []
    while (result := capture.read())[0]:
        frames.append(result[1][..., ::-1])
    return frames


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def film(tmp_path):
    """Red walks to the right for two seconds; blue stands there during the second one."""
    frames = [picture((RED, 10 + i, 20), *[(BLUE, 150, 70)] * (i >= 25)) for i in range(50)]
    return write_film(tmp_path / "film.avi", frames)


@pytest.fixture
def gallery(tmp_path):
    path = tmp_path / "known.h5"
    people = Gallery(path, ColourFacenet.identity)
    people.add("王伟", np.array(RED, np.float32))
    people.add("Green", np.array(GREEN, np.float32))
    return path


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs video.py in this process: (*arguments) -> status, lines of stdout, of stderr."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr("facenet.build_facenet", lambda settings: ColourFacenet())
    monkeypatch.setattr("facenet.build_detector", lambda settings: ColourFacenet())
    monkeypatch.setattr("utils.video.window.why_no_window", lambda: "there is no display")
    monkeypatch.chdir(tmp_path)

    def call(*arguments, **settings):
        return command_line.call(video.main, monkeypatch, capsys, arguments, settings)

    return call


def test_a_file_is_named_and_written(command, film, gallery, tmp_path):
    status, out, err = command(film, gallery_path=gallery, output="new/seen.mp4", csv_path="seen.csv")
    assert (status, err) == (0, [])
    assert out[-3].startswith("50 frames, ") and out[-3].endswith("2 faces followed")
    assert out[-2:] == ["video: new/seen.mp4", "table: seen.csv"]
    drawn = read_film(tmp_path / "new" / "seen.mp4")
    assert len(drawn) == 50 and drawn[0].shape == (120, 200, 3)
    ann, stranger = table(tmp_path / "seen.csv")
    assert (ann["track"], ann["name"], ann["first"], ann["last"]) == ("1", "王伟", "0.000", "1.960")
    assert ann["frames"] == "50" and float(ann["distance"]) < 0.1 and ann["clock"] == ""
    assert (stranger["name"], stranger["first"], stranger["frames"]) == ("unknown", "1.000", "25")
    # The box is green around the one and red around the other, who is blue.
    green = np.abs(drawn[40].astype(int) - (40, 200, 90)).max(axis=2) < 60
    assert green[15:65, 45:95].sum() > 100 and not green[60:, 140:].any()


def test_without_gallery_faces_are_only_followed(command, film, tmp_path):
    status, out, _ = command(film, csv_path="seen.csv")
    assert status == 0
    assert any(line.startswith("gallery.h5: no gallery, so faces get no names") for line in out)
    assert [row["name"] for row in table(tmp_path / "seen.csv")] == ["", ""]


def test_max_seconds_frame_step_and_detect_every(command, film, gallery, tmp_path):
    settings = {"gallery_path": gallery, "csv_path": "seen.csv", "output": "seen.avi"}
    status, out, _ = command(film, max_seconds=1, frame_step=2, detect_every=3, **settings)
    assert status == 0 and "13 frames" in out[-3]
    (row,) = table(tmp_path / "seen.csv")
    assert (row["name"], row["last"], row["frames"]) == ("王伟", "0.960", "13")
    assert len(read_film(tmp_path / "seen.avi")) == 13


def test_faces_are_looked_at_mirrored_too(command, film, gallery, monkeypatch):
    batches = []
    embed = ColourFacenet.embed_crops
    monkeypatch.setattr(ColourFacenet, "embed_crops", lambda self, crops: batches.append(crops) or embed(self, crops))
    settings = {"gallery_path": gallery, "csv_path": "a.csv", "max_seconds": 0.1}
    command(film, **settings)
    (one, other), *_ = batches
    np.testing.assert_array_equal(one, other[:, ::-1])
    batches.clear()
    command(film, flip="no", **settings)
    assert [len(crops) for crops in batches] == [1]


@pytest.mark.parametrize(("detector", "expected"), [("retinaface", {"letterbox_image": False}), ("mtcnn", {})])
def test_the_detector_takes_frames_in_their_size(command, film, monkeypatch, detector, expected):
    built = []

    def build(settings):
        keys = ("letterbox_image", "input_shape", "precision")
        found = {key: settings.get(f"detector_{key}") for key in keys}
        built.append({key: value for key, value in found.items() if value is not None})
        return ColourFacenet()

    monkeypatch.setattr("facenet.build_detector", build)
    settings = {"detector": detector, "csv_path": "a.csv", "max_seconds": 0.1}
    assert command(film, **settings)[0] == 0
    assert command(film, detector_precision="int8", **settings)[0] == 0
    assert built == [expected, {**expected, "precision": "int8"}]


def test_the_threshold_of_a_false_accept_rate(command, film, gallery):
    status, out, _ = command(film, gallery_path=gallery, csv_path="a.csv", false_accept_rate=0.5)
    assert status == 0 and any(line.startswith("threshold ") for line in out)
    status, _, err = command(film, gallery_path=gallery, csv_path="a.csv", false_accept_rate=0.5, threshold=1)
    assert status == 1 and "exclude each other" in err[0]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["99"], "camera 99: no such camera, or another program uses it"),
        (["no.mp4"], "no.mp4: no such video file, camera number or address"),
        (["http://127.0.0.1:9/a"], "http://127.0.0.1:9/a: nothing to be seen at this address"),
        (["film.avi", "--output=a.gif"], "a.gif: cannot write '.gif'"),
        (["film.avi", "--output=film.avi"], "film.avi: output and source are the same file"),
        (["film.avi", "--gallery_path=no.h5"], "no.h5: no such gallery"),
        (["film.avi", "--detect_every=0"], "detect_every 0: at least 1 expected"),
        (["film.avi", "--track_memory=-1"], "track_memory -1.0: at least 0 expected"),
        (["film.avi", "--max_seconds=1:30"], "max_seconds '1:30': at least 0 expected"),
        (["film.avi", "--camera_size=640"], "camera_size 640: width, height expected"),
        (["film.avi", "--detector=none"], "detector None is not one of retinaface, mtcnn"),
        (["film.avi", "--detector_confidence=2"], "detector_confidence 2: a number from 0 to 1"),
        (["film.avi", "--preview_port=99999"], "preview_port 99999: a whole number"),
    ],
)
def test_mistakes_are_one_line(command, film, arguments, words):
    status, _, err = command(*arguments, "--csv_path=seen.csv")
    assert status == 1 and len(err) == 1
    assert err[0].startswith(f"video.py: {words}")
    assert not Path("seen.csv").exists()


def test_a_table_that_cannot_be_written_is_told_before_the_film(command, film, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    status, _, err = command(film, csv_path="folder.csv", output="a.mp4")
    assert status == 1 and len(err) == 1 and "folder.csv" in err[0]
    assert not list(tmp_path.glob("*.mp4"))


def test_a_table_that_another_program_holds_is_written_later(command, monkeypatch, tmp_path):
    from utils.video.sightings import Sightings

    write, calls = Sightings.write, []

    def held(self, path, named):
        calls.append(path)
        if len(calls) == 2:
            raise PermissionError(13, "in use", str(path))
        write(self, path, named)

    monkeypatch.setattr(Sightings, "write", held)
    monkeypatch.setattr(video, "_SAVE_EVERY", 0.2)
    server = StreamServer(picture=lambda n: picture((RED, 20, 20)))
    status, _, err = command(server.address, csv_path="a.csv", max_seconds=1)
    server.close()
    assert status == 0 and len(calls) > 3 and "in use" in " ".join(err)
    assert int(table(tmp_path / "a.csv")[0]["frames"]) > 3


def test_a_live_picture_starts_when_the_networks_are_there(command, monkeypatch, tmp_path):
    def slow(settings):
        time.sleep(1.5)
        return ColourFacenet()

    monkeypatch.setattr("facenet.build_detector", slow)
    server = StreamServer(picture=lambda n: picture((RED, 20, 20)))
    status, out, _ = command(server.address, csv_path="a.csv", max_seconds=1)
    server.close()
    (row,) = table(tmp_path / "a.csv")
    assert status == 0 and float(row["first"]) < 0.5 and float(row["last"]) > 0.5
    left_out = next(line for line in out if "left out to keep up" in line)
    assert int(left_out.split("frames, ")[1].split()[0]) < 20


def test_where_no_window_can_be_something_else_must(command, film):
    status, _, err = command(film)
    assert status == 1 and len(err) == 1
    assert "no window, as there is no display; give --output" in err[0]


def test_a_password_is_not_printed(command, film):
    server = StreamServer()
    address = server.address.replace("://", "://me:secret@")
    status, out, err = command(address, max_seconds=0.3, csv_path="seen.csv")
    server.close()
    assert status == 0 and "secret" not in " ".join(out + err)


def test_a_stream_breaks_and_comes_back(command, gallery, tmp_path):
    draw = lambda number: picture((RED, 10 + number % 100, 20))  # noqa: E731
    server = StreamServer(picture=draw)
    pauses = [threading.Timer(0.8, server.close)]
    pauses.append(threading.Timer(1.3, lambda: servers.append(StreamServer(server.port, 25, draw))))
    servers = []
    for timer in pauses:
        timer.start()
    status, out, err = command(server.address, gallery_path=gallery, max_seconds=3.2, csv_path="a.csv", output="a.mp4")
    servers[0].close()
    assert status == 0 and len(err) == 2
    assert err[0].endswith("no picture any more; trying to get it back")
    assert err[1].endswith("the picture is back")
    rows = table(tmp_path / "a.csv")
    assert {row["name"] for row in rows} == {"王伟"} and rows[0]["clock"]
    assert float(rows[-1]["last"]) > 2.5
    assert 60 < len(read_film(tmp_path / "a.mp4")) < 85  # 3.2 seconds, with the gap as a still


@pytest.mark.slow
def test_a_stream_that_is_away_for_five_seconds(command, tmp_path):
    server, servers = StreamServer(), []
    threading.Timer(1.0, server.close).start()
    threading.Timer(6.0, lambda: servers.append(StreamServer(server.port))).start()
    status, out, err = command(server.address, max_seconds=9, output="a.mp4")
    servers[0].close()
    assert status == 0 and err[-1].endswith("the picture is back")
    # A second before, two seconds of still picture, two and a half seconds or so after.
    assert 110 < len(read_film(tmp_path / "a.mp4")) < 160


def test_preview_while_it_runs(command, film, monkeypatch):
    shown = []
    put = Outputs.put

    def look(self, image, seconds):
        put(self, image, seconds)
        if len(shown) < 3:
            with urllib.request.urlopen(f"{self.preview.address}picture.jpg", timeout=5) as answer:
                data = np.frombuffer(answer.read(), np.uint8)
            shown.append(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))

    monkeypatch.setattr(Outputs, "put", look)
    status, out, _ = command(film, preview_port=0)
    assert status == 0 and any(line.startswith("preview: http://127.0.0.1:") for line in out)
    assert shown[0].shape == (120, 200, 3) and shown[0][40, 30, 0] > 180


class Keyboard:
    """Stands in for the window; q is pressed at the tenth picture."""

    def __init__(self, title):
        self.count, self.closed = 0, False

    def show(self, image):
        self.count += 1
        self.closed = self.count == 10

    def poll(self):
        pass

    def close(self):
        pass


def test_q_ends_it_and_the_file_is_whole(command, film, monkeypatch, tmp_path):
    monkeypatch.setattr("utils.video.window.why_no_window", lambda: None)
    monkeypatch.setattr("utils.video.window.Window", Keyboard)
    status, out, _ = command(film, output="a.mp4")
    assert status == 0 and len(read_film(tmp_path / "a.mp4")) == 10


SCRIPT = """
import sys, time
import facenet, video
from tests.test_video import ColourFacenet
from utils.settings.command_line import run
facenet.build_detector = lambda settings: ColourFacenet()
video.device_name = lambda: "CPU"
run(video.main)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_the_file_is_whole(number, tmp_path):
    server = StreamServer(picture=lambda n: picture((RED, 20, 20)))
    command = [sys.executable, "-c", SCRIPT, server.address, "--output", tmp_path / "a.mp4"]
    command += ["--csv_path", tmp_path / "a.csv", "--gallery_path", "none", "--max_seconds", "60"]
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        # tests that run in the background have it switched off, and it would stay so
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    try:
        end = time.monotonic() + 60
        while not [p for p in tmp_path.glob("*.mp4") if p.stat().st_size > 0]:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        server.close()
    assert process.returncode == 0 and "faces followed" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.mp4"]
    assert len(read_film(tmp_path / "a.mp4")) >= 1
    assert int(table(tmp_path / "a.csv")[0]["frames"]) >= 1


@pytest.mark.slow
def test_names_in_a_video_of_real_photos(tmp_path):
    from retinaface import Retinaface
    from tests.benchmarks import bench_video
    from tests.make_video import choose, read_identities, write
    from utils.settings.command_line import from_command_line

    weights = need("weights/arcface_mobilefacenet.pth")
    detector_weights = need("weights/retinaface_mobilenet025_tf2.h5")
    identities = read_identities(need("data/celeba/identities.txt"))
    detector = Retinaface(model_path=detector_weights, enlarge=False)
    write(choose(need("data/celeba/images"), identities, detector), tmp_path)
    keys = {"model_path": weights, "detector_model_path": detector_weights}
    keys |= {"gallery_path": tmp_path / "gallery.h5"}
    arguments = [f"--{key}={value}" for key, value in keys.items()]
    settings = from_command_line(video._defaults, video.__file__, "", arguments)
    settings["source"] = str(tmp_path / "video.mp4")
    bench_video.encode(settings, tmp_path)
    frames, _ = bench_video.run(settings)
    figures = bench_video.measure(frames, bench_video.read_truth(tmp_path))
    # Measured: 0.984; the network alone, frame by frame, is right in 0.900.
    assert figures["right"] >= 0.95
    assert figures["strangers_named"] <= 0.02
    assert figures["most_changes"] <= 1
