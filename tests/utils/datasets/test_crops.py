import json
import multiprocessing
import os
import signal

import numpy as np
import pytest

from utils.datasets.crop_rules import CropRules
from utils.datasets.crops import DatasetAlignment, crop_files, crop_folder, settings_name
from utils.datasets.folders import Portrait, list_folders
from utils.datasets.report import DUPLICATE, KEPT, NO_FACE, SEVERAL_FACES, TOO_SMALL, UNREADABLE, Row
from utils.faces.alignment import ARCFACE_TEMPLATE, align
from utils.faces.detections import Detections
from utils.images.image_files import read_image, save_image

RULES = CropRules(size=16, format="png")
SETTINGS = {"batch_size": 32, "random_order": False}
SIDE = 64


def faces_at(*boxes):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    landmarks = ARCFACE_TEMPLATE / 112 * (boxes[:, None, 2:] - boxes[:, None, :2])
    scores = np.linspace(0.99, 0.95, len(boxes))
    return Detections(boxes, scores, landmarks + boxes[:, None, :2])


def photo(faces, seed, box_side=32):
    """Noise whose first pixel tells the fake detector how many faces of what size there are."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    pixels[0, 0, :2] = faces, box_side
    return pixels


class FakeDetector:
    """Finds faces of equal size, one beside the other, and counts the images."""

    def __init__(self, die_at=None):
        self.seen = 0
        self._die_at = die_at

    def detect_batch(self, images):
        self.seen += len(images)
        if self._die_at is not None and self.seen > self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return [self._detect(image) for image in images]

    @staticmethod
    def _detect(image):
        count, side = image[0, 0, :2].tolist()
        return faces_at(*([16 + 4 * i, 16, 16 + 4 * i + side, 16 + side] for i in range(count)))


@pytest.fixture
def dataset(tmp_path):
    """Three people of 12 photos in all: of one, no, two and small faces, and a damaged one."""
    root = tmp_path / "photos"
    for i in range(9):
        save_image(root / "abc"[i % 3] / f"{i}.png", photo(1, i))
    save_image(root / "a/none.png", photo(0, 10))
    save_image(root / "b/two.png", photo(2, 11))
    save_image(root / "c/深/small.png", photo(1, 12, box_side=8))
    (root / "c/damaged.jpg").write_bytes(b"no picture")
    return root


def run(root, folder, detector=None, rules=RULES, decisive=None, chunk=4, dropped=()):
    """Aligns all photos; returns the rows by file."""
    detector = detector or FakeDetector()
    alignment = DatasetAlignment(folder, rules, decisive or {})
    dropped_files = {row.file for row in dropped}
    portraits = [p for p in list_folders(root).portraits if p.file not in dropped_files]
    todo = alignment.unfinished(portraits)
    assert sum(alignment.run(todo, detector.detect_batch, chunk=chunk)) == len(todo)
    return {row.file: row for row in alignment.finish(portraits, dropped)}


def contents(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_settings_name_tells_settings_apart():
    assert settings_name({"a": 1, "b": 2}) == settings_name({"b": 2, "a": 1})
    assert settings_name({"a": 1, "b": 2}) != settings_name({"a": 1, "b": 3})


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([("a/1.JPG", "a"), ("a/x/1.png", "a")], ["a/1.jpg", "a/x/1.jpg"]),
        ([("1.jpg", "a"), ("x/1.jpg", "b")], ["a/1.jpg", "b/x/1.jpg"]),
        ([("a/1.2.png", "a"), ("a/1.3.png", "a")], ["a/1.2.jpg", "a/1.3.jpg"]),
        ([("a/1.jpg", "a"), ("a/1.png", "a")], ["a/1.jpg", "a/1.png.jpg"]),
        ([("A/1.jpg", "A"), ("a/1.jpg", "a")], ["A/1.jpg", "a/1.jpg.jpg"]),
    ],
)
def test_crop_files(files, expected):
    portraits = [Portrait(file, file, person) for file, person in files]
    assert list(crop_files(portraits, "jpg").values()) == expected


def test_crop_files_refuse_what_remains_alike():
    files = ["a/1.jpg", "a/1.png", "a/1.png.jpg", "a/1.PNG"]
    with pytest.raises(ValueError, match="rename"):
        crop_files([Portrait(file, file, "a") for file in files], "jpg")


def test_run_writes_crops_and_says_why_not(dataset, tmp_path):
    rows = run(dataset, tmp_path / "out")
    results = {file: row.result for file, row in rows.items()}
    assert results.pop("a/none.png") == NO_FACE
    assert results.pop("c/damaged.jpg") == UNREADABLE
    assert results.pop("c/深/small.png") == TOO_SMALL
    assert set(results.values()) == {KEPT} and len(results) == 10
    assert "not an image" in rows["c/damaged.jpg"].detail
    assert rows["b/two.png"].faces == "2" and rows["b/two.png"].x1 == "16.0"
    assert list(rows) == sorted(rows)
    kept = {row.crop for row in rows.values() if row.crop}
    assert set(contents(tmp_path / "out")) == kept | {"report.csv", "alignment.json"}
    original = read_image(dataset / "a/0.png")
    expected = align(original, faces_at([16, 16, 48, 48]).landmarks[0], 16)
    np.testing.assert_array_equal(read_image(tmp_path / "out/a/0.png"), expected)
    assert json.loads((tmp_path / "out/alignment.json").read_text())["size"] == 16


def test_strict_run(dataset, tmp_path):
    rules = CropRules(size=16, strict=True)
    assert run(dataset, tmp_path / "out", rules=rules)["b/two.png"].result == SEVERAL_FACES


def test_second_run_has_nothing_to_do_but_the_unreadable(dataset, tmp_path):
    first, detector = run(dataset, tmp_path / "out"), FakeDetector()
    before = contents(tmp_path / "out")
    assert run(dataset, tmp_path / "out", detector) == first
    assert detector.seen == 0
    assert contents(tmp_path / "out") == before
    save_image(tmp_path / "good.jpg", photo(1, 20))
    os.replace(tmp_path / "good.jpg", dataset / "c/damaged.jpg")
    assert run(dataset, tmp_path / "out", detector)["c/damaged.jpg"].result != UNREADABLE
    assert detector.seen == 1


def test_changed_photos_and_lost_crops_are_done_again(dataset, tmp_path):
    run(dataset, tmp_path / "out")
    (tmp_path / "out/a/0.png").unlink()
    save_image(dataset / "b/1.png", photo(0, 1))
    os.utime(dataset / "b/1.png", ns=(1, 1))
    detector = FakeDetector()
    rows = run(dataset, tmp_path / "out", detector)
    assert detector.seen == 2
    assert rows["b/1.png"].result == NO_FACE
    assert (tmp_path / "out/a/0.png").is_file()
    assert not (tmp_path / "out/b/1.png").exists()  # no crop without its row


@pytest.mark.parametrize(
    "changed",
    [
        {"rules": CropRules(size=17, format="png")},
        {"rules": CropRules(size=16, format="png", strict=True)},
        {"decisive": {"weights": "other"}},
    ],
)
def test_other_settings_do_everything_again(dataset, tmp_path, changed):
    run(dataset, tmp_path / "out")
    detector = FakeDetector()
    run(dataset, tmp_path / "out", detector, **changed)
    assert detector.seen == 12
    run(dataset, tmp_path / "fresh", **changed)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_crops_of_another_format_are_deleted(dataset, tmp_path):
    run(dataset, tmp_path / "out")
    run(dataset, tmp_path / "out", rules=CropRules(size=16, format="jpg"))
    assert not list((tmp_path / "out").rglob("*.png"))


def test_crops_of_photos_that_are_gone_are_deleted_but_nothing_else(dataset, tmp_path):
    run(dataset, tmp_path / "out")
    (tmp_path / "out/b/mine.png").write_bytes(b"own file")
    for path in [*(dataset / "a").iterdir(), *(dataset / "b").iterdir()]:
        path.unlink()
    dropped = [Row("c/2.png", "c", DUPLICATE, "of c/5.png")]
    rows = run(dataset, tmp_path / "out", dropped=dropped)
    assert rows["c/2.png"].result == DUPLICATE
    left = set(contents(tmp_path / "out")) - {"report.csv", "alignment.json"}
    assert left == {"b/mine.png", "c/5.png", "c/8.png"}
    assert not (tmp_path / "out/a").exists()
    assert "c/2.png" in set(run(dataset, tmp_path / "out"))  # no duplicate any more: done
    assert (tmp_path / "out/c/2.png").is_file()


def test_names_that_lead_out_of_the_folder_are_never_deleted(dataset, tmp_path):
    save_image(tmp_path / "precious.png", photo(1, 1))
    alignment = DatasetAlignment(tmp_path / "out", RULES, {})
    alignment.report.append([Row("x", "x", KEPT, crop=name) for name in ("../precious.png",)])
    run(dataset, tmp_path / "out")
    assert (tmp_path / "precious.png").is_file()


def test_stopping_half_way_changes_nothing(dataset, tmp_path):
    alignment = DatasetAlignment(tmp_path / "out", RULES, {})
    todo = alignment.unfinished(list_folders(dataset).portraits)
    steps = alignment.run(todo, FakeDetector().detect_batch, chunk=4)
    assert next(steps) == 4
    steps.close()
    detector = FakeDetector()
    run(dataset, tmp_path / "out", detector)
    assert detector.seen == 8
    run(dataset, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_killing_half_way_changes_nothing(dataset, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=run, args=(dataset, tmp_path / "out", FakeDetector(die_at=8)))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    detector = FakeDetector()
    run(dataset, tmp_path / "out", detector)
    assert 4 <= detector.seen <= 8
    run(dataset, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_two_processes_share_the_work(dataset, tmp_path):
    portraits = list_folders(dataset).portraits
    detectors = FakeDetector(), FakeDetector()
    runs = []
    for detector, step in zip(detectors, (1, -1), strict=True):
        alignment = DatasetAlignment(tmp_path / "out", RULES, {})
        todo = alignment.unfinished(portraits)
        runs.append((alignment, alignment.run(todo[::step], detector.detect_batch, chunk=1)))
    for _ in zip(*(steps for _, steps in runs), strict=False):
        pass
    for alignment, steps in runs:
        sum(steps)
        alignment.finish(portraits)
    # 12 can be read; photos read ahead by both are done twice, hence not exactly 12.
    assert sum(detector.seen for detector in detectors) <= 12 + 6
    assert min(detector.seen for detector in detectors) >= 3
    run(dataset, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_face_that_cannot_be_cut_is_no_face(dataset, tmp_path):
    class Degenerate(FakeDetector):
        def detect_batch(self, images):
            found = super().detect_batch(images)
            return [Detections(f.boxes, f.scores, np.zeros_like(f.landmarks)) for f in found]

    row = run(dataset, tmp_path / "out", Degenerate())["a/0.png"]
    assert row.result == NO_FACE and "coincide" in row.detail


def test_align_does_what_is_left(dataset, tmp_path, capsys):
    detector, portraits = FakeDetector(), list_folders(dataset).portraits[:-1]
    built = []

    def detect_batch():
        built.append(1)
        return detector.detect_batch

    for _ in range(2):
        alignment = DatasetAlignment(tmp_path / "out", RULES, {})
        rows = alignment.align(portraits[1:], [Row("x", "x", DUPLICATE)], detect_batch, SETTINGS)
    assert [row.file for row in rows] == sorted([p.file for p in portraits[1:]] + ["x"])
    # The unreadable photo is tried again, but the detector never sees it.
    assert detector.seen == 10 and len(built) == 2
    printed = capsys.readouterr().out
    assert "0 of 11 photos are done already" in printed
    assert "10 of 11 photos are done already" in printed
    assert "\n1 photos in " in printed


def test_align_without_work_builds_no_detector(tmp_path):
    alignment = DatasetAlignment(tmp_path / "out", RULES, {})
    assert alignment.align([], [], lambda: pytest.fail("built"), SETTINGS) == []


def test_align_in_random_order_gives_the_same(dataset, tmp_path):
    portraits = list_folders(dataset).portraits
    for name, random_order in (("one", False), ("two", True)):
        alignment = DatasetAlignment(tmp_path / name, RULES, {})
        detect_batch = FakeDetector().detect_batch
        alignment.align(portraits, [], lambda d=detect_batch: d, {"batch_size": 2, "random_order": random_order})
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_folder_of_the_crops(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert crop_folder("photos") == tmp_path / "photos_aligned"
    assert crop_folder("photos", "photos_2").name == "photos_2"
    for inside in ("photos", "photos/crops"):
        with pytest.raises(ValueError, match="lies in datasets_path"):
            crop_folder("photos", inside)
