import csv
import os
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import predict
from facenet import Facenet
from nets.facenet import facenet
from nets.retinaface import RetinaFace
from retinaface import Retinaface
from tests import command_line
from tests.shared import need
from utils.config import cfg_mnet
from utils.engine import stopwatch
from utils.faces.detections import Detections
from utils.images.image_files import read_image
from utils.weights.loading import save_weights

ROOT = Path(__file__).resolve().parents[1]
BOX = (20, 10, 60, 50)  # of the face that the stand-in detector sees
POINTS = [[30, 20], [50, 20], [40, 30], [32, 42], [48, 42]]


class Detector:
    """Stands in for Retinaface and Mtcnn: as many faces as `count`, whatever the photo."""

    _defaults = Retinaface._defaults
    count = 0

    def __init__(self, **settings):
        self.settings = settings

    def detect(self, image):
        read_image(image)
        boxes = np.float32([BOX] * self.count).reshape(-1, 4)
        scores = np.full(self.count, 0.875)
        return Detections(boxes, scores, np.float32([POINTS] * self.count).reshape(-1, 5, 2))

    def detect_batch(self, images):
        return [self.detect(image) for image in images]


@pytest.fixture
def detector(monkeypatch):
    monkeypatch.setattr("retinaface.Retinaface", Detector)
    monkeypatch.setattr("utils.detection.mtcnn.Mtcnn", Detector)
    monkeypatch.setattr(Detector, "count", 0)
    return Detector


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs predict.py in this process: (*arguments) -> status, lines of stdout, of stderr."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # `run` replaces it
    monkeypatch.setenv("CI", "1")
    monkeypatch.chdir(ROOT)

    def call(*arguments, **settings):
        settings = {"dir_save_path": tmp_path / "out", "engine": "keras", **settings}
        return command_line.call(predict.main, monkeypatch, capsys, arguments, settings)

    return call


def saved(tmp_path):
    return sorted(p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.glob("out/**/*.*"))


def quadrants(height=60, width=100):
    """An upright picture whose corners tell how it is turned and which channel is which."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = 230, 30, 30
    image[: height // 2, width // 2 :] = 30, 200, 30
    image[height // 2 :, : width // 2] = 30, 30, 220
    image[height // 2 :, width // 2 :] = 240, 240, 240
    return image


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(quadrants()).save(path, quality=98)
    return path


# Pictures of every kind, and what is no picture


def _rotated(picture, path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=98)


def _sixteen_bits(picture, path):
    values = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(values).save(path)


PICTURES = {
    "plain.jpg": lambda picture, path: picture.save(path, quality=98),
    "grey.jpg": lambda picture, path: picture.convert("L").save(path, quality=98),
    "rgba.png": lambda picture, path: picture.convert("RGBA").save(path),
    "palette.png": lambda picture, path: picture.quantize(16).save(path),
    "cmyk.jpg": lambda picture, path: picture.convert("CMYK").save(path, quality=98),
    "sixteen.png": _sixteen_bits,
    "rotated.jpg": _rotated,
    "全家 福 photo.jpg": lambda picture, path: picture.save(path, quality=98),
}
GREY = ("grey.jpg", "sixteen.png")


@pytest.mark.parametrize("name", PICTURES)
def test_every_kind_of_picture_comes_out_upright_and_in_its_colours(command, detector, tmp_path, name):
    picture = Image.fromarray(quadrants())
    PICTURES[name](picture, tmp_path / name)
    status, lines, errors = command(tmp_path / name, mode="detect")
    assert status == 0 and not errors
    assert f"{tmp_path / name}: no faces found" in lines
    drawn = read_image(tmp_path / "out" / f"{Path(name).stem}_detect.jpg").astype(int)
    expected = np.asarray(picture.convert("L").convert("RGB")) if name in GREY else quadrants()
    assert drawn.shape == expected.shape
    assert np.abs(drawn - expected).mean() < 4


@pytest.mark.parametrize("size", [(1, 1), (10, 20000), (20000, 10)])
def test_extreme_sizes_come_out_too(command, detector, tmp_path, size):
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(tmp_path / "odd.png")
    status, _, errors = command(tmp_path / "odd.png", mode="detect")
    assert status == 0 and not errors
    assert read_image(tmp_path / "out/odd_detect.jpg").shape == (*size, 3)


def _write_bad(kind, path):
    good = quadrants()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no picture")
    elif kind == "folder":
        path.mkdir()
    elif kind == "truncated":
        Image.fromarray(np.random.default_rng(0).permutation(good.ravel()).reshape(good.shape)).save(path)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])


BAD = {
    "missing": "no such file",
    "empty": "empty",
    "truncated": "damaged or incomplete",
    "text": "not an image",
    "folder": "is a folder",
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("mode", ["detect", "fps"])
def test_bad_file_is_one_line_that_names_it(command, detector, tmp_path, mode, kind):
    path = tmp_path / "bad file.jpg"
    _write_bad(kind, path)
    status, _, errors = command(path, mode=mode)
    assert status == 1
    (line,) = errors
    assert line.startswith("predict.py: ") and str(path) in line and BAD[kind] in line
    assert not saved(tmp_path)


def test_bad_file_of_a_pair_is_named(command, crops_only, photo, tmp_path):
    status, _, errors = command(photo, tmp_path / "none.jpg", mode="verify")
    assert status == 1 and len(errors) == 1 and "none.jpg: no such file" in errors[0]
    assert not saved(tmp_path)


# Weights


def write_keras2_file(path, **layers):
    """A Keras 2 weight file with one vector a layer."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = list(layers)
        for name, array in layers.items():
            file.create_group(name).attrs["weight_names"] = [f"{name}/kernel:0"]
            file[name][f"{name}/kernel:0"] = array
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such weight file"),
        (b"", "not a weight file"),
        (b"hello world", "not a weight file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "damaged or truncated HDF5 file"),
        ("another network", {"verify": "has nothing for conv1", "detect": "the file holds mobilenet weights"}),
    ],
)
@pytest.mark.parametrize("mode", ["verify", "detect"])
def test_bad_weights_are_one_line_that_names_them(command, photo, tmp_path, mode, content, message):
    path = tmp_path / "net.h5"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        write_keras2_file(path, Bottleneck=np.zeros(3), conv_pw_1=np.zeros(3))
    key = "model_path" if mode == "verify" else "detector_model_path"
    photos = [photo] * (2 if mode == "verify" else 1)
    status, _, errors = command(*photos, mode=mode, **{key: path})
    assert status == 1
    (line,) = errors
    assert str(path) in line and (message[mode] if isinstance(message, dict) else message) in line
    assert not saved(tmp_path)


# Settings


@pytest.mark.parametrize(
    ("settings", "status", "message"),
    [
        ({"detector_confidense": 0.3}, 2, "unknown setting 'detector_confidense'; did you mean 'detector_confidence'"),
        ({"confidence": 0.3}, 2, "unknown setting 'confidence'; did you mean 'detector_confidence'"),
        ({"test_interval": "many"}, 2, "'many' is not a whole number"),
        ({"mode": "recognise"}, 1, "'recognise' is not one of verify, detect, dir_predict"),
        ({"mode": "detect", "detector": "none"}, 1, "detector None: retinaface or mtcnn is needed"),
        ({"mode": "detect", "detector": "yolo"}, 1, "'yolo'"),
        ({"mode": "verify", "detector": "yolo"}, 1, "'yolo' is not one of retinaface, mtcnn, none"),
        ({"threshold": 3}, 1, "threshold 3: a number from 0 to 2 expected"),
        ({"test_interval": 0}, 1, "test_interval 0: at least 1 expected"),
        ({"mode": "summary", "backbone": "resnet"}, 1, "'resnet' is not one of mobilenet"),
    ],
)
def test_wrong_settings_are_one_line(command, photo, settings, status, message):
    got, _, errors = command(photo, photo, **settings)
    assert got == status
    (line,) = errors
    assert line.startswith("predict.py: ") and message in line


def test_verify_wants_photos_in_pairs(command, crops_only, photo):
    status, _, errors = command(photo, photo, photo, mode="verify")
    assert status == 1 and errors == ["predict.py: mode verify takes 2 photos, 3 given"]


def test_help_lists_every_key(command):
    status, lines, _ = command("--help")
    text = " ".join(" ".join(lines).split())
    assert status == 0
    for key in predict._defaults:
        assert f"--{key}" in text
    assert "largest distance of one person's photos [0 to 2]" in text


def test_settings_and_device_are_printed_once(command, detector, photo):
    _, lines, _ = command(photo, mode="detect", detector_confidence=0.7)
    assert sum("predict.py on " in line for line in lines) == 1
    assert any("* detector_confidence" in line and "0.7" in line for line in lines)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {}),
        (
            {"detector_confidence": 0.7, "detector_nms_iou": 0.3, "detector_letterbox_image": "no"},
            {"confidence": 0.7, "nms_iou": 0.3, "letterbox_image": False},
        ),
        (
            {"detector_input_shape": "640,640,3", "detector_backbone": "resnet50"},
            {"input_shape": (640, 640, 3), "backbone": "resnet50"},
        ),
        ({"detector": "mtcnn", "detector_model_path": "w"}, {"model_path": "w"}),
        ({"detector_precision": "int8"}, {"precision": "int8"}),
        ({"precision": "int8"}, {}),
        ({"precision": "int8", "detector": "mtcnn"}, {}),
    ],
)
def test_detector_gets_what_was_set_and_keeps_its_defaults(command, detector, monkeypatch, photo, settings, expected):
    made = []
    monkeypatch.setattr(Detector, "__init__", lambda self, **given: made.append(given))
    assert command(photo, mode="detect", **settings)[0] == 0
    assert made == [{"engine": "keras", **expected}]


# detect


def test_detect_draws_and_prints_each_face(command, detector, monkeypatch, photo, tmp_path):
    monkeypatch.setattr(detector, "count", 2)
    status, lines, _ = command(photo, mode="detect")
    assert status == 0
    assert f"{photo}: 2 faces found" in lines
    assert lines.count("  x1 20  y1 10  x2 60  y2 50  score 0.875") == 2
    assert saved(tmp_path) == ["photo_detect.jpg"]
    drawn = read_image(tmp_path / "out/photo_detect.jpg").astype(int)
    changed = np.abs(drawn - quadrants()).max(axis=2) > 60
    assert changed[12:48, 20].all() and changed[49:51, 22:58].any(axis=0).all()
    assert not changed[:, 80:].any()


def test_detect_takes_many_photos(command, detector, photo, tmp_path):
    other = tmp_path / "other.png"
    Image.fromarray(quadrants(40, 40)).save(other)
    status, lines, _ = command(photo, other, mode="detect")
    assert status == 0
    assert saved(tmp_path) == ["other_detect.jpg", "photo_detect.jpg"]


# verify


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.weights.h5"
    save_weights(facenet(backbone="arcface_mobilefacenet"), path)
    return path


@pytest.fixture(scope="module")
def small_facenet(random_weights):
    return Facenet(model_path=random_weights, detector=None, engine="keras")


@pytest.fixture
def crops_only(small_facenet, monkeypatch):
    """predict.py compares whole photos with a network of random weights."""
    monkeypatch.setattr("facenet.build_facenet", lambda settings: small_facenet)
    return small_facenet


def test_verify_builds_the_recogniser_of_the_settings(command, random_weights, photo, tmp_path):
    status, lines, errors = command(photo, photo, model_path=random_weights, detector="none", threshold=0.5)
    assert status == 0 and not errors
    assert f"{photo} | {photo}: same person, distance 0.000, threshold 0.500" in lines
    assert saved(tmp_path) == ["photo_photo_verify.jpg"]


def test_verify_shows_both_photos_and_the_verdict_by_threshold(command, crops_only, monkeypatch, photo, tmp_path):
    other = tmp_path / "other.png"
    Image.fromarray(quadrants()[::-1]).save(other)
    distance = crops_only.detect_image(photo, other)
    for threshold, verdict in ((distance + 1e-3, "same person"), (distance / 2, "different people")):
        monkeypatch.setattr(crops_only, "threshold", threshold)
        status, lines, _ = command(photo, other, mode="verify")
        assert status == 0
        assert any(f"{verdict}, distance {distance:.3f}" in line for line in lines)
        picture = read_image(tmp_path / "out/photo_other_verify.jpg").astype(int)
        width = picture.shape[1]
        assert width > 2.5 * picture.shape[0] * 60 / 100
        assert np.abs(picture[10, 10] - quadrants()[0, 0]).max() < 12
        assert np.abs(picture[10, width - 10] - quadrants()[-1, -1]).max() < 12


def test_verify_takes_several_pairs(command, crops_only, photo, tmp_path):
    status, lines, _ = command(photo, photo, photo, photo, mode="verify")
    assert status == 0 and sum("same person" in line for line in lines) == 2
    assert saved(tmp_path) == ["photo_photo_verify.jpg", "photo_photo_verify_2.jpg"]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_verify_says_when_a_photo_has_no_face_or_several(
    command, detector, monkeypatch, random_weights, small_facenet, photo, count
):
    def build(settings):
        monkeypatch.setattr(small_facenet, "detector", "retinaface")
        monkeypatch.setattr(small_facenet, "_detector", detector())
        return small_facenet

    monkeypatch.setattr("facenet.build_facenet", build)
    monkeypatch.setattr(detector, "count", count)
    status, lines, errors = command(photo, photo, mode="verify")
    if count == 0:
        assert status == 1 and errors == [f"predict.py: {photo}: no face found"]
        return
    assert status == 0 and any("same person" in line for line in lines)
    several = f"warning: {photo}: {count} faces found, the largest is taken"
    assert set(errors) == ({several} if count > 1 else set())


# The prompt


@pytest.fixture
def prompt(monkeypatch):
    """Somebody at a terminal who gives these answers; the questions are kept."""

    def sit_down(*answers):
        answers, questions = iter(answers), []

        def ask(question):
            questions.append(question)
            answer = next(answers)
            if isinstance(answer, BaseException):
                raise answer
            return str(answer)

        monkeypatch.delenv("CI", raising=False)
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", ask)
        return questions

    return sit_down


def test_asks_again_after_a_bad_path(command, detector, prompt, photo, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    questions = prompt("nowhere.jpg", tmp_path / "text.jpg", f"'{photo}'", f' "{photo}" ', "")
    status, lines, _ = command(mode="detect")
    assert status == 0 and len(questions) == 5
    assert lines.count(f"{photo}: no faces found") == 2
    assert "nowhere.jpg: no such file" in lines
    assert any("text.jpg: not an image" in line for line in lines)


def test_asks_for_the_bad_one_of_two_only(command, crops_only, prompt, photo):
    questions = prompt(photo, "nowhere.jpg", photo, "")
    status, lines, _ = command(mode="verify")
    assert status == 0 and sum("same person" in line for line in lines) == 1
    assert [q.partition(":")[0].split(" (")[0] for q in questions] == ["Photo 1", "Photo 2", "Photo 2", "Photo 1"]


@pytest.mark.parametrize("answers", [["", ""], [EOFError(), EOFError()]])
def test_no_answer_takes_the_sample_once(command, detector, prompt, answers, tmp_path):
    prompt(*answers)
    status, lines, _ = command(mode="detect")
    assert status == 0
    assert [line for line in lines if "faces found" in line] == ["img/group.jpg: no faces found"]


def test_the_end_of_the_answers_after_one_photo_is_not_the_sample(command, crops_only, prompt, photo):
    prompt(photo, EOFError())
    status, _, errors = command(mode="verify")
    assert status == 1 and errors == ["predict.py: 2 photos needed, 1 given"]


def test_ctrl_c_at_the_prompt_ends_with_130(command, detector, prompt):
    prompt(KeyboardInterrupt())
    assert command(mode="detect")[0] == 130


def test_nobody_there_takes_the_sample_and_asks_nothing(command, detector, prompt, monkeypatch):
    prompt()  # any question would end the test
    monkeypatch.setenv("CI", "true")
    status, lines, _ = command(mode="detect")
    assert status == 0 and "no photos given: img/group.jpg" in lines
    monkeypatch.delenv("CI")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert command(mode="detect")[0] == 0


# Windows


@pytest.mark.parametrize(("display", "show", "shown"), [(":0", "yes", 1), (":0", "no", 0), (None, "yes", 0)])
@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a display")
def test_a_window_opens_where_there_is_a_display(command, detector, monkeypatch, photo, display, show, shown):
    opened = []
    monkeypatch.setattr(Image.Image, "show", lambda self, title=None: opened.append(title))
    monkeypatch.delenv("CI")
    monkeypatch.delenv("DISPLAY", raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    assert command(photo, mode="detect", show=show)[0] == 0
    assert len(opened) == shown


# dir_predict


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos 照片"
    (root / "sub").mkdir(parents=True)
    Image.fromarray(quadrants()).save(root / "a.jpg")
    Image.fromarray(quadrants()).save(root / "a.png")
    Image.fromarray(quadrants()).save(root / "sub" / "二.jpg")
    (root / "notes.txt").write_text("no photo")
    return root


def test_folder_gives_pictures_and_a_table(command, detector, monkeypatch, folder, tmp_path):
    monkeypatch.setattr(detector, "count", 2)
    (folder / "broken.jpg").write_bytes(b"")
    status, lines, errors = command(mode="dir_predict", dir_origin_path=folder)
    assert status == 0
    assert saved(tmp_path) == ["a.jpg_detect.jpg", "a.png_detect.jpg", "faces.csv", "sub/二.jpg_detect.jpg"]
    with open(tmp_path / "out/faces.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["a.jpg"] * 2 + ["a.png"] * 2 + ["sub/二.jpg"] * 2
    values = [float(v) for key, v in rows[0].items() if key != "file"]
    assert values == [*BOX, 0.875, *np.ravel(POINTS)]
    assert list(rows[0])[:7] == ["file", "x1", "y1", "x2", "y2", "score", "left_eye_x"]
    assert [line for line in errors if "left out" in line] == [f"left out: {folder / 'broken.jpg'}: the file is empty"]
    assert any("6 faces in 3 photos" in line for line in lines)


def test_folder_may_stand_alone_on_the_command_line(command, detector, folder):
    status, lines, _ = command(folder, mode="dir_predict")
    assert status == 0 and any("0 faces in 3 photos" in line for line in lines)


@pytest.mark.parametrize("mode", ["dir_predict", "encode"])
def test_one_folder_at_a_time(command, detector, monkeypatch, folder, mode):
    monkeypatch.setattr("facenet.build_facenet", lambda settings: pytest.fail("built"))
    status, _, errors = command(folder, folder / "sub", mode=mode)
    assert status == 1 and errors == [f"predict.py: mode {mode} takes one folder, 2 given"]


def test_pictures_of_one_name_do_not_overwrite_each_other(command, detector, folder, tmp_path):
    (folder / "sub" / "a.jpg").write_bytes((folder / "a.jpg").read_bytes())
    status, _, _ = command(folder / "a.jpg", folder / "sub" / "a.jpg", mode="detect")
    assert status == 0 and saved(tmp_path) == ["a_detect.jpg", "a_detect_2.jpg"]


@pytest.mark.parametrize(
    ("kind", "message"), [("missing", "no such folder"), ("empty", "no photos"), ("broken", "none of its 1 photos")]
)
def test_folder_without_photos_fails(command, detector, tmp_path, kind, message):
    root = tmp_path / "photos"
    if kind != "missing":
        root.mkdir()
    if kind == "broken":
        (root / "a.jpg").write_bytes(b"")
    status, _, errors = command(root, mode="dir_predict")
    assert status == 1 and message in errors[-1] and str(root) in errors[-1]


# fps and summary


def test_fps_times_both_networks(command, detector, crops_only, monkeypatch, photo):
    times = []
    monkeypatch.setattr(stopwatch, "seconds_per_call", lambda call, n: times.append(n) or 0.0125)
    status, lines, _ = command(photo, mode="fps", test_interval=7)
    assert status == 0 and times == [7, 7]
    assert f"retinaface on {photo}: 12.50 ms, 80.0 FPS" in lines
    assert "arcface_mobilefacenet on one crop: 12.50 ms, 80.0 FPS" in lines


def test_summary_counts_layers_parameters_and_flops(command):
    status, lines, _ = command(mode="summary", detector_input_shape="320,320,3")
    assert status == 0
    (recogniser,) = (line for line in lines if line.startswith("arcface_mobilefacenet: "))
    (detector,) = (line for line in lines if line.startswith("retinaface_mobilenet: "))
    assert "1,022,720 parameters" in recogniser and "GFLOPs at 112x112" in recogniser
    assert "433,904 parameters" in detector and "GFLOPs at 320x320" in detector
    assert any("conv_23_expand" in line for line in lines)


# The published weights, as a user runs it


def weight_arguments():
    pytest.importorskip("torch")
    return {
        "model_path": need("weights/arcface_mobilefacenet.pth"),
        "detector_model_path": need("weights/retinaface_mobilenet025_tf2.h5"),
    }


def test_verify_and_failure_in_a_process_of_their_own(tmp_path):
    settings = {**weight_arguments(), "dir_save_path": tmp_path / "out", "engine": "keras"}
    samples = ["1_001.jpg", "1_002.jpg", "1_001.jpg", "2_001.jpg", "1_001.jpg", "nobody.jpg"]
    done = subprocess.run(
        [
            *(sys.executable, "predict.py", *(f"img/{name}" for name in samples)),
            *(f"--{key}={value}" for key, value in settings.items()),
        ],
        cwd=ROOT,
        env={**os.environ, "CI": "1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
    )
    verdicts = [line for line in done.stdout.splitlines() if "distance" in line]
    assert "img/1_001.jpg | img/1_002.jpg: same person" in verdicts[0]
    assert "img/1_001.jpg | img/2_001.jpg: different people" in verdicts[1]
    assert done.returncode == 1  # the third pair
    assert done.stderr.splitlines() == ["predict.py: img/nobody.jpg: no face found"]
    assert saved(tmp_path) == ["1_001_1_002_verify.jpg", "1_001_2_001_verify.jpg"]


@pytest.fixture(scope="module")
def published_detector():
    weights = need("weights/retinaface_mobilenet025_tf2.h5")
    return Retinaface(model_path=weights, engine="keras", input_shape=[640, 640, 3])


@pytest.mark.parametrize("name", PICTURES)
def test_finds_the_face_in_every_kind_of_picture(command, published_detector, monkeypatch, tmp_path, name):
    monkeypatch.setattr("facenet.build_detector", lambda settings: published_detector)
    picture = Image.open(ROOT / "img/2_001.jpg")
    expected = published_detector.detect(picture).boxes[0]
    PICTURES[name](picture, tmp_path / name)
    status, lines, _ = command(tmp_path / name, mode="detect")
    assert status == 0 and f"{tmp_path / name}: 1 face found" in lines
    (row,) = (line.split() for line in lines if line.startswith("  x1"))
    np.testing.assert_allclose([float(v) for v in row[1:8:2]], expected, atol=6)


def test_boxes_every_face_of_the_group(command, published_detector, monkeypatch, tmp_path):
    monkeypatch.setattr("facenet.build_detector", lambda settings: published_detector)
    status, lines, _ = command("img/group.jpg", mode="detect")
    assert status == 0 and "img/group.jpg: 4 faces found" in lines
    drawn = read_image(tmp_path / "out/group_detect.jpg").astype(int)
    changed = np.abs(drawn - read_image(ROOT / "img/group.jpg")).max(axis=2) > 60
    for x1, y1, x2, y2 in published_detector.detect("img/group.jpg").boxes.astype(int):
        assert changed[y1:y2, x1 - 2 : x1 + 4].any(axis=1).mean() > 0.8
        assert changed[y1:y2, x2 - 4 : x2 + 2].any(axis=1).mean() > 0.8


# export


@pytest.fixture
def exported(monkeypatch):
    """Stands in for `utils.export.export.export`: lists what it is called with."""
    from utils.export import export as module

    calls = []

    def export(subject, *target):
        calls.append((subject.model.name, subject.model.input_shape, *map(str, target)))
        return ["written"]

    monkeypatch.setattr(module, "export", export)
    return calls


def test_export_of_the_recogniser(command, crops_only, exported):
    settings = {"network": "recognizer", "format": "tflite", "precision": "int8"}
    status, lines, errors = command(mode="export", export_dir="out", **settings)
    assert status == 0 and not errors and lines[-1] == "written"
    shape = (None, 112, 112, 3)
    assert exported == [("arcface_mobilefacenet", shape, "out", "tflite", "int8")]


@pytest.mark.parametrize(("settings", "shape"), [({}, (None, None)), ({"detector_input_shape": "64,96,3"}, (64, 96))])
def test_export_of_the_detector(command, exported, tmp_path, settings, shape):
    weights = tmp_path / "detector.weights.h5"
    save_weights(RetinaFace(cfg_mnet), weights)
    settings = {"network": "detector", "detector_model_path": weights, **settings}
    assert command(mode="export", format="saved_model", **settings)[0] == 0
    name, *target = "retinaface_mobilenet", "export", "saved_model", "float32"
    assert exported == [(name, (None, *shape, 3), *target)]


def test_export_of_all_with_mtcnn(command, crops_only, exported):
    settings = {"detector": "mtcnn", "detector_model_path": need("weights"), "format": "tflite"}
    assert command(mode="export", **settings)[0] == 0
    assert [name for name, *_ in exported] == ["arcface_mobilefacenet", "pnet", "rnet", "onet"]


def test_export_without_detector(command, crops_only, exported):
    assert command(mode="export", detector="none", format="tflite")[0] == 0
    assert [name for name, *_ in exported] == ["arcface_mobilefacenet"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "teacher"}, "network 'teacher' is not one of recognizer, detector, all"),
        ({"format": "coreml"}, "format 'coreml' is not one of tflite, onnx, saved_model"),
        ({"format": "saved_model", "precision": "int8"}, "precision int8 needs format tflite"),
    ],
)
def test_export_refuses_before_it_builds(command, settings, message):
    status, _, errors = command(mode="export", **settings)
    assert status != 0 and len(errors) == 1 and message in errors[0]
