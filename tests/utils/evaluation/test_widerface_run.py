import json

import numpy as np
import pytest
from PIL import Image

from utils.engine.stopwatch import Stopwatch
from utils.evaluation.widerface_metrics import PrecisionRecall
from utils.evaluation.widerface_results import GroundTruth, read_result, result_path
from utils.evaluation.widerface_run import (
    claim_results,
    count_results,
    detect_all,
    find_images,
    print_report,
    save_report,
    sorted_by_size,
)
from utils.faces.detections import Detections

TRUTH = GroundTruth(images=[("0--Parade", "b"), ("0--Parade", "a")], boxes=[], keep={})


class Corner:
    """Finds a face of half the width and height in the upper left corner of each image."""

    def __init__(self):
        self.sizes = []

    def detect_batch(self, images):
        self.sizes += [image.shape[:2] for image in images]
        return [
            Detections([[0, 0, image.shape[1] / 2, image.shape[0] / 2]], [0.9], np.ones((1, 5, 2))) for image in images
        ]


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "images" / "0--Parade").mkdir(parents=True)
    for name, size in (("a", (40, 20)), ("b", (20, 10))):
        Image.new("RGB", size).save(tmp_path / "images" / "0--Parade" / f"{name}.jpg")
    (tmp_path / "model.h5").write_bytes(b"weights")
    return {
        "image_dir": tmp_path / "images",
        "result_dir": tmp_path / "results",
        "output_dir": tmp_path / "out",
        "model_path": tmp_path / "model.h5",
        "allow_missing": False,
        "backbone": None,
        "confidence": 0.02,
        "nms_iou": 0.4,
        "input_shape": [80, 80, 3],
        "original_size": False,
        "scales": [1.0],
        "flip": False,
        "batch_size": 2,
    }


def test_each_image_gets_a_result_in_its_own_pixels(settings):
    detector, clock = Corner(), Stopwatch()
    detect_all(settings, TRUTH, lambda: detector, clock)
    assert detector.sizes == [(40, 80), (40, 80)]  # scaled up to fit 80 x 80
    folder = settings["result_dir"]
    rows = read_result(result_path(folder, "0--Parade", "a"))
    np.testing.assert_allclose(rows, [[0, 0, 20, 10, 0.9]], rtol=1e-5)
    assert count_results(folder, TRUTH) == 2
    assert {name: stage["items"] for name, stage in clock.stages().items()} == {"build": 1, "detect": 2, "write": 2}
    (folder / "0--Parade" / "a.txt").unlink()
    assert count_results(folder, TRUTH) == 1


def test_a_run_without_work_builds_no_detector(settings):
    detect_all(settings, TRUTH, Corner, Stopwatch())
    detect_all(settings, TRUTH, lambda: pytest.fail("built"), Stopwatch())


@pytest.mark.parametrize("scales", [[], [0.0], [1.0, -1.0]])
def test_scales_that_cannot_be(settings, scales):
    with pytest.raises(ValueError, match="scales .*: one or more numbers above 0 expected"):
        detect_all({**settings, "scales": scales}, TRUTH, Corner, Stopwatch())


def test_images_are_found_sorted_or_named(settings):
    folder = settings["image_dir"]
    assert [path.name for path in find_images(folder, TRUTH)] == ["a.jpg", "b.jpg"]
    (folder / "0--Parade" / "a.jpg").unlink()
    with pytest.raises(ValueError, match=r"a\.jpg: missing, with 0 others of 2"):
        find_images(folder, TRUTH)
    assert [path.name for path in find_images(folder, TRUTH, allow_missing=True)] == ["b.jpg"]
    (folder / "0--Parade" / "b.jpg").unlink()
    with pytest.raises(ValueError, match="holds no image of the ground truth, such as 0--Parade"):
        find_images(folder, TRUTH, allow_missing=True)


def test_images_are_sorted_by_size(settings, tmp_path):
    a, b = (settings["image_dir"] / "0--Parade" / f"{name}.jpg" for name in "ab")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    assert sorted_by_size([a, broken, b]) == [broken, b, a]


def test_a_folder_of_results_is_of_one_detector(settings):
    claim_results(settings)
    claim_results({**settings, "batch_size": 9, "image_dir": "moved"})
    with pytest.raises(ValueError, match=r"made with confidence 0\.02, not 0\.5; choose another"):
        claim_results({**settings, "confidence": 0.5})
    settings["model_path"].write_bytes(b"other weights")
    with pytest.raises(ValueError, match="made with weights"):
        claim_results(settings)


def curve(faces):
    precision, value = np.ones(1000), 0.875 if faces else float("nan")
    return PrecisionRecall(precision, np.linspace(0, 1, 1000), value, faces)


def test_the_printed_figures(capsys):
    print_report({"easy": curve(3), "hard": curve(0)}, scored=2, images=3)
    assert capsys.readouterr().out.splitlines() == [
        "Only 2 of 3 images scored: not the benchmark's figures",
        "AP easy: 0.87500 (3 faces)",
        "AP hard: - (0 faces)",
    ]
    print_report({"easy": curve(3)}, scored=3, images=3)
    assert capsys.readouterr().out == "AP easy: 0.87500 (3 faces)\n"


def test_the_saved_report(tmp_path):
    settings = {"output_dir": str(tmp_path / "out")}
    curves = {"easy": curve(3), "hard": curve(0)}
    paths = save_report(settings, curves, 2, Stopwatch())
    assert all(path.is_file() for path in paths)
    report = json.loads(paths[0].read_text())
    assert report["average_precision"] == {"easy": 0.875, "hard": None}
    assert report["faces"] == {"easy": 3, "hard": 0} and report["images"] == 2
    assert report["settings"] == settings
