import csv

import numpy as np
import pytest
from PIL import Image

from utils.faces.detections import Detections
from utils.pictures.boxed_photos import box_folder, box_photos


class Detector:
    """Stands in for Retinaface: a face in each photo that is wider than high."""

    def __init__(self):
        self.batches = []

    def detect(self, image):
        if image.shape[1] <= image.shape[0]:
            return Detections.empty()
        return Detections([[1, 2, 11, 12]], [0.75], [[[5, 6]] * 5])

    def detect_batch(self, images):
        self.batches.append(len(images))
        return [self.detect(image) for image in images]


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    for name, size in {"a.png": (60, 40), "b/c.png": (40, 60)}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(root / name)
    return root


def test_photos_are_said_and_saved(folder):
    saved = []
    paths = [folder / "a.png", folder / "b" / "c.png", folder / "a.png"]
    lines = list(box_photos(Detector(), paths, lambda *given: saved.append(given)))
    assert lines[:3] == [
        f"{paths[0]}: 1 face found",
        "  x1 1  y1 2  x2 11  y2 12  score 0.750",
        f"{paths[1]}: no faces found",
    ]
    assert [name for _, name in saved] == ["a_detect.jpg", "c_detect.jpg", "a_detect_2.jpg"]
    assert saved[0][0].any() and not saved[1][0].any()


def test_a_folder_is_read_in_chunks_into_pictures_and_a_table(folder, tmp_path):
    for number in range(9):
        Image.new("RGB", (60, 40)).save(folder / f"d{number}.png")
    (folder / "broken.png").write_bytes(b"")
    target, detector, complaints = tmp_path / "out", Detector(), []
    lines = list(box_folder(detector, folder, target, complaints.append))
    assert lines == [f"10 faces in 11 photos: {target / 'faces.csv'}"]
    assert complaints == [f"left out: {folder / 'broken.png'}: the file is empty"]
    assert len(detector.batches) == 2 and sum(detector.batches) == 11
    with open(target / "faces.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[1] == ["a.png", "1.000", "2.000", "11.000", "12.000", "0.750", *["5.000", "6.000"] * 5]
    assert np.asarray(Image.open(target / "b" / "c.png_detect.jpg")).shape == (60, 40, 3)


def test_a_folder_without_photos_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no photo")
    with pytest.raises(ValueError, match="no photos in this folder"):
        list(box_folder(Detector(), tmp_path, tmp_path / "out"))
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="none of its 1 photos can be read"):
        list(box_folder(Detector(), tmp_path, tmp_path / "out"))
