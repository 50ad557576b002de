import numpy as np
import pytest
from PIL import Image

from utils.faces.detections import Detections, NoFaceError
from utils.images.image_files import read_image
from utils.pictures.comparison import Comparison, compare, verify

DARK, BRIGHT = 40, 200


class Recognizer:
    """Stands in for Facenet: bright photos show one person, dark ones another."""

    threshold = 1.0

    def __init__(self, detector="retinaface", faces=1):
        self.detector, self.faces = detector, faces

    def find_face(self, images):
        box, points = [[10, 10, 30, 30]], [[[20, 20]] * 5]
        found = Detections(box, [0.9], points) if self.faces else Detections.empty()
        return [found for _ in images]

    def face_crops(self, images, faces=None):
        assert (faces is None) == (self.detector is None)
        return list(images)

    def embed_crops(self, crops):
        return np.float32([[0.6, 0.8] if crop.mean() > 120 else [0, 1] for crop in crops])


@pytest.fixture
def photos(tmp_path):
    paths = [tmp_path / "bright.png", tmp_path / "dark.png"]
    for path, grey in zip(paths, (BRIGHT, DARK), strict=True):
        Image.new("RGB", (60, 40), (grey,) * 3).save(path)
    return paths


def test_distance_and_verdict(photos):
    bright, dark = photos
    found = compare(Recognizer(), bright, dark)
    assert found.distance == pytest.approx((0.6**2 + 0.2**2) ** 0.5)
    assert found.same and found.verdict == "same person"
    assert found.figures == "distance 0.632, threshold 1.000"
    other = Comparison(found.distance, 0.6, found.photos)
    assert not other.same and other.verdict == "different people"
    assert Comparison(0.6, 0.6, found.photos).same  # the threshold itself still is


def test_the_picture_shows_both_with_their_faces(photos):
    picture = compare(Recognizer(), *photos).picture().astype(int)
    height, width = picture.shape[:2]
    assert width > 2 * 480 * 60 / 40 - 1 and height > 480
    assert abs(picture[470, 10] - BRIGHT).max() < 5 and abs(picture[470, -10] - DARK).max() < 5
    assert (abs(picture[120:360, 100:380] - BRIGHT) > 60).any()  # the box, 12 times as large


def test_whole_photos_without_detector(photos):
    found = compare(Recognizer(detector=None), *photos)
    np.testing.assert_array_equal(found.photos[0], read_image(photos[0]))


def test_a_photo_without_face_is_named(photos):
    with pytest.raises(NoFaceError, match=r"bright\.png: no face found"):
        compare(Recognizer(faces=0), *photos)


def test_verify_says_and_saves_each_pair(photos):
    bright, dark = photos
    saved = []
    lines = verify(Recognizer(), [(bright, dark), (bright, dark)], lambda *a: saved.append(a[1]))
    line = f"{bright} | {dark}: same person, distance 0.632, threshold 1.000"
    assert list(lines) == [line, line]
    assert saved == ["bright_dark_verify.jpg", "bright_dark_verify_2.jpg"]
