import dataclasses
import json

import numpy as np
import pytest

from utils.engine.stopwatch import Stopwatch
from utils.evaluation.embedder import Embeddings
from utils.evaluation.lfw_metrics import evaluate
from utils.evaluation.lfw_pairs import PairSet
from utils.evaluation.lfw_report import figures, names_without_face, print_report, protocol, save_report

SETTINGS = {
    "packed_path": None,
    "detector": "mtcnn",
    "letterbox_image": True,
    "flip": False,
    "subtract_mean": False,
    "distance_metric": "euclidean",
}
LABELS = np.array([True, False] * 4)


@pytest.fixture
def pairs():
    return PairSet(
        name="set",
        images=[b""] * 16,
        names=[f"photo {i}" for i in range(16)],
        indices=np.arange(16).reshape(-1, 2),
        labels=LABELS,
        folds=np.arange(8) // 4,
        skipped=[("a | b", "no image of a")],
    )


@pytest.fixture
def found():
    faces = np.array([0] * 7 + [1] * 6 + [2] * 3)
    return Embeddings(views={"image": np.zeros((16, 2))}, faces=faces, errors={})


@pytest.fixture
def result():
    return evaluate(np.where(LABELS, 0.5, 1.5), LABELS, folds=np.arange(8) // 4, fars=(0.001,))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({}, "five-point alignment, mtcnn; embedding of image; euclidean distance"),
        ({"packed_path": "lfw.bin", "detector": None}, "crops as packed; embedding of image;"),
        ({"detector": None}, "whole images, not aligned, letterboxed; embedding"),
        ({"detector": None, "letterbox_image": False}, "not aligned, stretched; embedding"),
        (
            {"flip": True, "subtract_mean": True, "distance_metric": "cosine"},
            "embedding of image + mirror image, mean subtracted; cosine distance",
        ),
    ],
)
def test_protocol_says_how_the_figures_were_made(pairs, change, text):
    line = protocol({**SETTINGS, **change}, pairs)
    assert line.startswith("set, 8 pairs in 2 folds; ") and text in line


def test_what_was_left_out_or_guessed_is_printed(capsys, pairs, found, result):
    print_report(SETTINGS, pairs, found, result)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [f"Protocol: {protocol(SETTINGS, pairs)}", "Pairs skipped: 1", "  a | b: no image of a"]
    assert lines[3] == "Images with several faces: 3, the largest near the centre is taken"
    assert lines[4] == "Images without a face: 7, their middle is taken"
    assert lines[5:11] == [f"  photo {i}" for i in range(5)] + ["  and 2 more, see the JSON file"]
    assert "Accuracy: 1.00000+-0.00000" in lines and "Equal error rate: 0.00000" in lines


def test_faces_are_not_counted_without_a_detector(capsys, pairs, found, result):
    print_report(SETTINGS, pairs, dataclasses.replace(found, faces=np.full(16, -1)), result)
    assert "face" not in capsys.readouterr().out
    assert len(names_without_face(pairs, found)) == 7


def test_the_saved_report(tmp_path, pairs, found, result):
    pytest.importorskip("matplotlib")
    settings = {**SETTINGS, "output_dir": str(tmp_path / "out")}
    paths = save_report(settings, pairs, found, result, Stopwatch())
    assert [path.name for path in paths] == ["lfw.json", "lfw_roc.png", "lfw_distances.png"]
    assert all(path.is_file() for path in paths)
    report = json.loads(paths[0].read_text())
    assert report["settings"] == settings and report["protocol"] == protocol(SETTINGS, pairs)
    assert report["skipped_pairs"] == [{"pair": "a | b", "reason": "no image of a"}]
    assert report["images_without_face"][6] == "photo 6" and report["images"] == 16
    assert report["images_with_several_faces"] == 3 and report["accuracy_mean"] == 1


def test_figures_are_json_without_the_curve(result):
    values = figures(result)
    assert "roc" not in values and json.loads(json.dumps(values, allow_nan=False)) == values


def test_a_rate_that_no_fold_gives_is_null(tmp_path, pairs, found):
    result = evaluate([0.1, 0.2], [1, 0], nrof_folds=2, fars=(0.5,))
    settings = {**SETTINGS, "output_dir": str(tmp_path)}
    report = json.loads(save_report(settings, pairs, found, result, Stopwatch())[0].read_text())
    assert report["far_mean"] == [None] and report["tar_mean"] == [1.0]
