import json
import pickle
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

import eval_LFW
from tests.shared import need
from utils.faces.detections import Detections
from utils.pictures import plots
from utils.settings.command_line import run

PEOPLE, FOLDS, PER_KIND = 6, 3, 2


class FakeFacenet:
    """Embeds a crop as its mean colour, about grey."""

    def align(self, image, landmarks):
        return image[:8, :8]

    def face_crops(self, images):
        return [image[:8, :8] for image in images]

    def embed_crops(self, crops):
        rows = np.stack(crops).mean(axis=(1, 2)).astype(np.float32) - 128
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class FakeDetector:
    """Finds a face in every image but the darkest, two where the first pixel is white."""

    def detect_batch(self, images):
        return [self.faces(1 + (image[0, 0].min() > 250)) for image in images]

    def faces(self, count):
        return Detections(np.tile([0, 0, 8, 8], (count, 1)), np.ones(count), np.ones((count, 5, 2)))


@pytest.fixture
def built(monkeypatch, request):
    """Replaces the networks and, but for tests that ask for `pictures`, the drawing.

    Lists what was built.
    """
    names = []
    if "pictures" not in request.fixturenames:
        for name in ("save_roc", "save_distances"):
            monkeypatch.setattr(plots, name, lambda *_: None)

    def builder(name, network):
        return lambda settings, **_: names.append(name) or network

    monkeypatch.setattr(eval_LFW, "build_recogniser", builder("recogniser", FakeFacenet()))
    monkeypatch.setattr(eval_LFW, "build_detector", builder("detector", FakeDetector()))
    return names


@pytest.fixture
def pictures():
    """Asks for real pictures, which take half a second."""


@pytest.fixture
def arguments(tmp_path):
    """A folder like LFW in which each person has a colour of their own."""
    rng = np.random.default_rng(3)
    colours = rng.integers(30, 226, (PEOPLE, 3))
    for person, colour in enumerate(colours):
        folder = tmp_path / "lfw" / f"P{person}"
        folder.mkdir(parents=True)
        for number in (1, 2):
            image = np.clip(colour + rng.normal(0, 3, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(folder / f"P{person}_{number:04d}.png")
    lines = [f"{FOLDS}\t{PER_KIND}"]
    for fold in range(FOLDS):
        lines += [f"P{2 * fold + i}\t1\t2" for i in range(PER_KIND)]
        lines += [f"P{2 * fold}\t{n}\tP{2 * fold + 1}\t{n}" for n in (1, 2)]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    for name in ("model.pth", "detector.h5"):
        (tmp_path / name).write_bytes(name.encode())
    return {
        "lfw_dir_path": tmp_path / "lfw",
        "lfw_pairs_path": tmp_path / "pairs.txt",
        "model_path": tmp_path / "model.pth",
        "detector_model_path": tmp_path / "detector.h5",
        "cache_dir": tmp_path / "cache",
        "output_dir": tmp_path / "out",
    }


def command(arguments):
    return [f"--{key}={value}" for key, value in arguments.items()]


def evaluate(monkeypatch, arguments):
    monkeypatch.setattr(sys, "argv", ["eval_LFW.py", *command(arguments)])
    run(eval_LFW.main)


def failure(monkeypatch, capsys, arguments):
    """The line a mistake ends with."""
    with pytest.raises(SystemExit) as stop:
        evaluate(monkeypatch, arguments)
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 1 and line.startswith("eval_LFW.py: ")
    return line


def test_the_report(monkeypatch, capsys, pictures, built, arguments, tmp_path):
    evaluate(monkeypatch, arguments)
    lines = capsys.readouterr().out.splitlines()
    assert "Accuracy: 1.00000+-0.00000" in lines
    assert "Validation rate: 1.00000+-0.00000 @ FAR=0.00100" in lines
    assert "Pairs skipped: 0" in lines
    (protocol,) = (line for line in lines if line.startswith("Protocol: "))
    for word in ("12 pairs in 3 folds", "retinaface", "alignment", "euclidean", str(tmp_path)):
        assert word in protocol
    report = json.loads((tmp_path / "out" / "lfw.json").read_text())
    assert report["accuracy_mean"] == 1 and report["pairs"] == 12 and report["auc"] == 1
    assert len(report["accuracies"]) == FOLDS and report["stages"]["read"]["items"] == 12
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"lfw.json", *({"lfw_roc.png", "lfw_distances.png"} if find_spec("matplotlib") else ())}


def test_without_matplotlib_there_are_figures_but_no_pictures(monkeypatch, capsys, built, arguments, tmp_path):
    monkeypatch.setattr("utils.evaluation.lfw_report.find_spec", lambda name: None)
    evaluate(monkeypatch, arguments)
    assert "pip install matplotlib" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["lfw.json"]
    assert built == ["recogniser", "detector"]


def test_a_second_run_with_other_metrics_builds_no_network(monkeypatch, capsys, built, arguments):
    evaluate(monkeypatch, arguments)
    built.clear()
    other = {"distance_metric": "cosine", "subtract_mean": "yes", "fars": "0.1,0.01"}
    evaluate(monkeypatch, {**arguments, **other})
    assert built == []
    text = capsys.readouterr().out
    assert "mean subtracted; cosine distance" in text and "@ FAR=0.10000\nValidation" in text


def test_the_cache_can_be_turned_off(monkeypatch, built, arguments, tmp_path):
    for _ in range(2):
        evaluate(monkeypatch, {**arguments, "use_cache": "no"})
    assert built == ["recogniser", "detector"] * 2 and not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("change", "rebuilt"),
    [
        ({"normalization": "unit"}, ["recogniser"]),
        ({"input_shape": "96,96,3"}, ["recogniser"]),
        ({"backbone": "mobilenet"}, ["recogniser"]),
        ({"engine": "keras"}, ["recogniser", "detector"]),
        ({"precision": "int8"}, ["recogniser"]),
        ({"detector_backbone": "resnet50"}, ["recogniser", "detector"]),
        ({"detector_precision": "int8"}, ["recogniser", "detector"]),
        ({"detector": "none"}, ["recogniser"]),
        ({"flip": "yes"}, ["recogniser"]),
        ({"batch_size": "5"}, []),
        ({"variant": "LFW"}, []),
    ],
)
def test_settings_that_matter_are_not_mixed(monkeypatch, built, arguments, change, rebuilt):
    evaluate(monkeypatch, arguments)
    built.clear()
    evaluate(monkeypatch, {**arguments, **change})
    assert built == rebuilt


@pytest.mark.parametrize("file", ["model.pth", "detector.h5"])
def test_other_weights_are_not_mixed(monkeypatch, built, arguments, tmp_path, file):
    evaluate(monkeypatch, arguments)
    built.clear()
    (tmp_path / file).write_bytes(b"trained on")
    evaluate(monkeypatch, arguments)
    assert built[0] == "recogniser"


def test_without_networks_tensorflow_is_not_loaded(monkeypatch, built, arguments):
    evaluate(monkeypatch, arguments)
    code = (
        "import sys, eval_LFW; from utils.settings.command_line import run; run(eval_LFW.main); "
        "assert 'tensorflow' not in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, *command(arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Accuracy: 1.00000+-0.00000" in done.stdout


def test_missing_images_are_counted_and_too_many_are_an_error(monkeypatch, capsys, built, arguments, tmp_path):
    (tmp_path / "lfw" / "P0" / "P0_0002.png").unlink()
    (tmp_path / "lfw" / "P4" / "P4_0001.png").write_bytes(b"no image")
    line = failure(monkeypatch, capsys, arguments)
    assert "2 of 12 pairs" in line and "max_missing" in line and built == []
    line = failure(monkeypatch, capsys, {**arguments, "max_missing": 0.2})
    assert "4 of 12 pairs" in line and "P0_0001 | P0_0002" in line
    evaluate(monkeypatch, {**arguments, "max_missing": 0.5})
    text = capsys.readouterr().out
    assert "Pairs skipped: 4" in text and "P0_0001 | P0_0002: no .jpg" in text
    assert "P4_0001 | P4_0002: " in text
    report = json.loads((tmp_path / "out" / "lfw.json").read_text())
    assert report["pairs"] == 8 and len(report["skipped_pairs"]) == 4


def test_one_fold_is_refused_before_the_work(monkeypatch, capsys, built, arguments, tmp_path):
    lines = (tmp_path / "pairs.txt").read_text().splitlines()
    (tmp_path / "pairs.txt").write_text("\n".join([str(PER_KIND), *lines[1:5]]))
    assert "one fold" in failure(monkeypatch, capsys, arguments)
    assert built == []


def test_faces_that_were_guessed_are_named(monkeypatch, capsys, arguments, built, tmp_path):
    monkeypatch.setattr(FakeDetector, "detect_batch", lambda self, images: [self.faces(0)] * len(images))
    evaluate(monkeypatch, arguments)
    text = capsys.readouterr().out
    assert "Images without a face: 12, their middle is taken" in text
    assert "  P0_0001\n" in text and "and 7 more" in text
    report = json.loads((tmp_path / "out" / "lfw.json").read_text())
    assert len(report["images_without_face"]) == 12


def test_several_faces_are_counted(monkeypatch, capsys, arguments, built):
    monkeypatch.setattr(FakeDetector, "detect_batch", lambda self, images: [self.faces(2)] * len(images))
    evaluate(monkeypatch, arguments)
    assert "Images with several faces: 12," in capsys.readouterr().out


def test_a_packed_set(monkeypatch, capsys, built, arguments, tmp_path):
    files = sorted((tmp_path / "lfw").glob("*/*.png"))
    order = [i for person in range(PEOPLE) for i in (2 * person, 2 * person + 1)]
    order += [i for person in range(PEOPLE) for i in (2 * person, (2 * person + 2) % len(files))]
    labels = [True] * PEOPLE + [False] * PEOPLE
    mixed = [pair for k in range(PEOPLE) for pair in (k, PEOPLE + k)]
    images = [files[order[2 * pair + side]].read_bytes() for pair in mixed for side in (0, 1)]
    path = tmp_path / "own.bin"
    path.write_bytes(pickle.dumps((images, [labels[pair] for pair in mixed])))
    evaluate(monkeypatch, {**arguments, "packed_path": path, "lfw_dir_path": "nowhere"})
    text = capsys.readouterr().out
    assert "Accuracy: 1.00000+-0.00000" in text and "12 pairs in 10 folds; crops as packed" in text
    assert built == ["recogniser"]
    # 24 encoded images, but 12 different ones.
    report = json.loads((tmp_path / "out" / "lfw.json").read_text())
    assert report["images"] == 24 and report["stages"]["embed"]["items"] == 12


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lfw_dir_path": "nowhere"}, ["nowhere", "not a folder"]),
        ({"lfw_pairs_path": "nowhere.txt"}, ["nowhere.txt"]),
        ({"model_path": "nowhere.pth"}, ["nowhere.pth", "weights"]),
        ({"detector_model_path": "nowhere.h5"}, ["nowhere.h5", "weights"]),
        ({"detector": "mtcnn", "detector_model_path": "tests"}, ["tests", "det*.npy"]),
        ({"packed_path": "nowhere.bin"}, ["nowhere.bin"]),
        ({"detector": "haar"}, ["detector 'haar'", "mtcnn"]),
        ({"precision": "int4"}, ["precision 'int4'", "float16"]),
        ({"distance_metric": "manhattan"}, ["distance_metric 'manhattan'", "cosine"]),
        ({"fars": "0.1,2"}, ["fars"]),
        ({"max_missing": "-1"}, ["max_missing"]),
        ({"batch_size": "0"}, ["batch_size"]),
    ],
)
def test_mistakes_end_with_one_line(monkeypatch, capsys, built, arguments, change, words):
    line = failure(monkeypatch, capsys, {**arguments, **change})
    assert all(word in line for word in words)
    assert built == []


def test_an_unknown_setting(monkeypatch, capsys, arguments):
    with pytest.raises(SystemExit):
        evaluate(monkeypatch, {"lfw_dir": "x"})
    assert "did you mean 'lfw_dir_path'?" in capsys.readouterr().err


def test_help_explains_every_setting(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["eval_LFW.py", "--help"])
    with pytest.raises(SystemExit):
        eval_LFW.main()
    text = capsys.readouterr().out
    assert all(f"--{key} " in text for key in eval_LFW._defaults)


def real_arguments(tmp_path, pairs):
    return {
        "lfw_dir_path": need("data/lfw/images"),
        "lfw_pairs_path": pairs,
        "model_path": need("weights/arcface_mobilefacenet.pth"),
        "detector_model_path": need("weights/retinaface_mobilenet025_tf2.h5"),
        "output_dir": tmp_path / "out",
        "cache_dir": tmp_path / "cache",
    }


def test_real_photos_and_weights(monkeypatch, tmp_path):
    pytest.importorskip("torch")
    lines = need("data/lfw/pairs.txt").read_text().splitlines()
    chosen = [*lines[1:4], *lines[301:304], *lines[601:604], *lines[901:904]]
    (tmp_path / "pairs.txt").write_text("\n".join(["2\t3", *chosen]) + "\n")
    arguments = real_arguments(tmp_path, tmp_path / "pairs.txt")
    evaluate(monkeypatch, {**arguments, "engine": "keras"})
    report = json.loads((tmp_path / "out" / "lfw.json").read_text())
    assert report["pairs"] == 12 and report["images_without_face"] == []
    assert report["auc"] == 1 and 1.0 < report["threshold"] < 1.4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "accuracy", "rate"),
    [({}, (0.982, 0.988), 0.87), ({"flip": "yes"}, (0.985, 0.990), 0.90), ({"detector": "none"}, (0.70, 0.75), 0.0)],
)
def test_all_of_lfw(monkeypatch, tmp_path, tmp_path_factory, change, accuracy, rate):
    pytest.importorskip("torch")
    arguments = real_arguments(tmp_path, need("data/lfw/pairs.txt"))
    arguments["cache_dir"] = tmp_path_factory.getbasetemp() / "lfw_cache"
    evaluate(monkeypatch, {**arguments, **change})
    report = json.loads((tmp_path / "out" / "lfw.json").read_text())
    assert report["pairs"] == 6000
    assert accuracy[0] <= report["accuracy_mean"] <= accuracy[1]
    assert report["tar_mean"][0] >= rate
