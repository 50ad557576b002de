import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import evaluation
from tests.shared import need
from utils.evaluation.widerface_results import read_result
from utils.faces.detections import Detections
from utils.pictures import plots
from utils.settings.command_line import run

EVENTS = {"0--Parade": ["a", "b"], "1--Handshaking": ["c"]}
SIZE = (60, 80)
FACES = np.array([[10, 10, 20, 20], [50, 30, 20, 20]])  # x y w h, in every image


def cells(values):
    array = np.empty((len(values), 1), object)
    for index, value in enumerate(values):
        array[index, 0] = value
    return array


def write_ground_truth(folder, kept=(1, 2)):
    """The benchmark's files, all faces of every image kept in each setting."""
    folder.mkdir()
    names = list(EVENTS.values())
    savemat(
        folder / "wider_face_val.mat",
        {
            "event_list": cells(list(EVENTS)),
            "file_list": cells([cells(group) for group in names]),
            "face_bbx_list": cells([cells([FACES.astype(float)] * len(g)) for g in names]),
        },
    )
    masks = cells([cells([np.array([[n] for n in kept])] * len(group)) for group in names])
    for setting in ("easy", "medium", "hard"):
        savemat(folder / f"wider_{setting}_val.mat", {"gt_list": masks})


class FakeDetector:
    """Finds the labelled faces, wherever an image was scaled to, and notes what it saw."""

    def __init__(self):
        self.sizes = []

    def detect_batch(self, images):
        self.sizes += [image.shape[:2] for image in images]
        return [self.faces(image.shape[0] / SIZE[0]) for image in images]

    def faces(self, scale):
        boxes = (FACES + [[0, 0, 0, 0]]).astype(np.float32)
        boxes[:, 2:] += boxes[:, :2]
        return Detections(boxes * scale, [0.9, 0.8], np.zeros((2, 5, 2)))


@pytest.fixture
def pictures():
    """Asks for a real picture, which takes half a second."""


@pytest.fixture
def detector(monkeypatch, request):
    """Replaces the network and, but for tests that ask for `pictures`, the drawing."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(plots, "save_precision_recall", lambda *_: None)
    fake = FakeDetector()
    monkeypatch.setattr(evaluation, "build_detector", lambda settings: fake)
    return fake


@pytest.fixture
def arguments(tmp_path):
    for event, names in EVENTS.items():
        (tmp_path / "images" / event).mkdir(parents=True)
        for name in names:
            Image.new("RGB", SIZE[::-1]).save(tmp_path / "images" / event / f"{name}.jpg")
    write_ground_truth(tmp_path / "gt")
    (tmp_path / "model.h5").write_bytes(b"weights")
    return {
        "image_dir": tmp_path / "images",
        "gt_dir": tmp_path / "gt",
        "result_dir": tmp_path / "results",
        "output_dir": tmp_path / "out",
        "model_path": tmp_path / "model.h5",
        "original_size": "yes",
    }


def evaluate(monkeypatch, arguments):
    command = [f"--{key}={value}" for key, value in arguments.items()]
    monkeypatch.setattr(sys, "argv", ["evaluation.py", *command])
    run(evaluation.main)


def failure(monkeypatch, capsys, arguments):
    """The line a mistake ends with."""
    with pytest.raises(SystemExit) as stop:
        evaluate(monkeypatch, arguments)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 1 and line.startswith("evaluation.py: ")
    return line


def test_the_report(monkeypatch, capsys, pictures, detector, arguments, tmp_path):
    evaluate(monkeypatch, arguments)
    text = capsys.readouterr().out
    for setting in ("easy", "medium", "hard"):
        assert f"AP {setting}: 1.00000 (6 faces)" in text
    rows = read_result(tmp_path / "results" / "1--Handshaking" / "c.txt")
    np.testing.assert_allclose(rows, [[10, 10, 30, 30, 0.9], [50, 30, 70, 50, 0.8]], rtol=1e-6)
    report = json.loads((tmp_path / "out" / "widerface.json").read_text())
    assert report["average_precision"] == {"easy": 1, "medium": 1, "hard": 1}
    assert report["images"] == 3
    assert (tmp_path / "out" / "widerface_precision_recall.png").is_file()


def test_it_goes_on_where_it_stopped(monkeypatch, capsys, detector, arguments, tmp_path):
    evaluate(monkeypatch, arguments)
    (tmp_path / "results" / "0--Parade" / "b.txt").unlink()
    evaluate(monkeypatch, arguments)
    assert len(detector.sizes) == 4
    assert "2 of 3 images have a result already" in capsys.readouterr().out
    evaluate(monkeypatch, arguments)
    assert len(detector.sizes) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"confidence": 0.5}, "confidence 0.02, not 0.5"),
        ({"flip": "yes"}, "flip False, not True"),
        ({"scales": "1,2"}, "scales [1.0], not [1.0, 2.0]"),
    ],
)
def test_results_of_other_settings_are_not_mixed(monkeypatch, capsys, detector, arguments, change, words):
    evaluate(monkeypatch, arguments)
    line = failure(monkeypatch, capsys, {**arguments, **change})
    assert words in line and "results" in line
    evaluate(monkeypatch, {**arguments, **change, "score_only": "yes"})


def test_results_of_other_weights_are_not_mixed(monkeypatch, capsys, detector, arguments, tmp_path):
    evaluate(monkeypatch, arguments)
    (tmp_path / "model.h5").write_bytes(b"other")
    assert "made with weights" in failure(monkeypatch, capsys, arguments)


@pytest.mark.parametrize("note", [None, b"{", b"3"])
def test_results_of_unknown_settings_are_not_mixed(monkeypatch, capsys, detector, arguments, tmp_path, note):
    evaluate(monkeypatch, arguments)
    path = tmp_path / "results" / "settings.json"
    path.unlink() if note is None else path.write_bytes(note)
    assert "--score_only" in failure(monkeypatch, capsys, arguments)


def test_score_only_needs_neither_images_nor_weights(monkeypatch, capsys, detector, arguments, tmp_path):
    evaluate(monkeypatch, arguments)
    shutil.rmtree(tmp_path / "images")
    (tmp_path / "model.h5").unlink()
    evaluate(monkeypatch, {**arguments, "score_only": "yes"})
    assert capsys.readouterr().out.count("AP hard: 1.00000 (6 faces)") == 2


def test_a_partial_folder(monkeypatch, capsys, detector, arguments, tmp_path):
    (tmp_path / "images" / "0--Parade" / "b.jpg").unlink()
    line = failure(monkeypatch, capsys, arguments)
    assert "b.jpg" in line and "--allow_missing" in line
    evaluate(monkeypatch, {**arguments, "allow_missing": "yes"})
    text = capsys.readouterr().out
    assert "Only 2 of 3 images scored" in text and "AP hard: 1.00000 (4 faces)" in text


def test_test_size_scales_and_flip(monkeypatch, detector, arguments):
    settings = {"original_size": "no", "input_shape": "120,120,3", "scales": "1,0.5", "flip": "yes"}
    evaluate(monkeypatch, {**arguments, **settings})
    assert detector.sizes == [(90, 120), (90, 120), (45, 60), (45, 60)] * 3


def test_faces_beyond_750_are_kept(monkeypatch, detector, arguments, tmp_path):
    corners = np.stack(np.meshgrid(np.arange(40), np.arange(25)), axis=-1).reshape(-1, 2) * 2.0
    many = Detections(
        np.concatenate([corners, corners + 1], axis=1), np.linspace(0.9, 0.1, 1000), np.zeros((1000, 5, 2))
    )
    monkeypatch.setattr(detector, "faces", lambda scale: many)
    evaluate(monkeypatch, arguments)
    assert len(read_result(tmp_path / "results" / "0--Parade" / "a.txt")) == 1000


def test_an_image_that_cannot_be_read(monkeypatch, capsys, detector, arguments, tmp_path):
    (tmp_path / "images" / "1--Handshaking" / "c.jpg").write_bytes(b"no image")
    assert "c.jpg" in failure(monkeypatch, capsys, arguments)


def test_no_face_in_any_setting(monkeypatch, capsys, pictures, detector, arguments, tmp_path):
    shutil.rmtree(tmp_path / "gt")
    write_ground_truth(tmp_path / "gt", kept=())
    evaluate(monkeypatch, arguments)
    assert "AP hard: - (0 faces)" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "widerface.json").read_text())
    assert report["average_precision"]["hard"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_dir": "nowhere"}, ["nowhere", "no folder"]),
        ({"gt_dir": "nowhere"}, ["nowhere", "missing"]),
        ({"model_path": "nowhere.h5"}, ["nowhere.h5"]),
        ({"score_only": "yes"}, ["results", "not a folder"]),
        ({"confidence": "2"}, ["confidence"]),
        ({"iou_thresh": "0"}, ["iou_thresh"]),
        ({"scales": "0"}, ["scales"]),
        ({"batch_size": "0"}, ["batch_size"]),
    ],
)
def test_mistakes_end_with_one_line(monkeypatch, capsys, detector, arguments, change, words):
    line = failure(monkeypatch, capsys, {**arguments, **change})
    assert all(word in line for word in words)
    assert detector.sizes == []


def test_the_wrong_folder_of_images(monkeypatch, capsys, detector, arguments, tmp_path):
    line = failure(monkeypatch, capsys, {**arguments, "image_dir": tmp_path / "gt"})
    assert "0--Parade/a.jpg" in line


def test_malformed_files_are_named(monkeypatch, capsys, detector, arguments, tmp_path):
    evaluate(monkeypatch, arguments)
    path = tmp_path / "results" / "0--Parade" / "a.txt"
    path.write_text("a\n1\n1 2 3 x 0.5\n")
    assert "a.txt:3" in failure(monkeypatch, capsys, arguments)
    (tmp_path / "gt" / "wider_hard_val.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    assert "wider_hard_val.mat" in failure(monkeypatch, capsys, arguments)


def test_help_explains_every_setting(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluation.py", "--help"])
    with pytest.raises(SystemExit):
        evaluation.main()
    text = capsys.readouterr().out
    assert all(f"--{key} " in text for key in evaluation._defaults)


def test_the_one_real_image(monkeypatch, capsys, tmp_path):
    folder = tmp_path / "images" / "0--Parade"
    folder.mkdir(parents=True)
    shutil.copy(need("data/wider/0_Parade_marchingband_1_149.jpg"), folder)
    evaluate(
        monkeypatch,
        {
            "image_dir": tmp_path / "images",
            "gt_dir": need("data/wider/wider_face_val.mat").parent,
            "result_dir": tmp_path / "results",
            "output_dir": tmp_path / "out",
            "model_path": need("weights/retinaface_mobilenet025_tf2.h5"),
            "allow_missing": "yes",
            "engine": "keras",
        },
    )
    text = capsys.readouterr().out
    assert "Only 1 of 3226 images scored" in text and "AP easy: - (0 faces)" in text
    report = json.loads((tmp_path / "out" / "widerface.json").read_text())
    assert report["faces"] == {"easy": 0, "medium": 24, "hard": 24}
    assert report["average_precision"]["hard"] == pytest.approx(1, abs=1e-3)
