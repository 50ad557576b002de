import numpy as np
import pytest

from utils.detection.multi_scale import View, detect_twice, merge, mirror, views
from utils.faces.detections import Detections
from utils.images.placement import Letterbox


def detections(*rows):
    """Faces of (x1, y1, x2, y2, score), their landmarks at known places in the box."""
    rows = np.array(rows, np.float32).reshape(-1, 5)
    places = np.array([[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.35, 0.8], [0.65, 0.8]])
    sides = rows[:, None, 2:4] - rows[:, None, :2]
    return Detections(rows[:, :4], rows[:, 4], rows[:, None, :2] + places * sides)


def test_views_of_one_size():
    image = np.arange(20 * 40 * 3, dtype=np.uint8).reshape(20, 40, 3)
    (view,) = views(image)
    assert view.image is image and view.placed == Letterbox() and not view.mirrored


def test_views_of_the_test_size_scaled_and_mirrored():
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, :20] = 255
    made = views(image, limit=(80, 80), scales=(1, 0.5), flip=True)
    assert [view.image.shape[:2] for view in made] == [(40, 80), (40, 80), (20, 40), (20, 40)]
    assert [view.mirrored for view in made] == [False, True, False, True]
    assert made[0].image[0, 0, 0] == 255 and made[1].image[0, 0, 0] == 0
    assert made[0].placed.scale_x == 2 and made[2].placed.scale_x == 1


def test_original_size_ignores_no_scale():
    made = views(np.zeros((20, 40, 3), np.uint8), scales=(2, 0.01))
    assert [view.image.shape[:2] for view in made] == [(40, 80), (1, 1)]


def test_mirror_by_hand():
    faces = mirror(detections([10, 5, 30, 25, 0.9]), 100)
    np.testing.assert_allclose(faces.boxes, [[70, 5, 90, 25]])
    # The left eye, at 30 % of the width, is the mirror image of the right eye, at 70 %.
    np.testing.assert_allclose(faces.landmarks[0], detections([70, 5, 90, 25, 1]).landmarks[0])


def test_mirroring_twice_changes_nothing():
    faces = detections([10, 5, 30, 25, 0.9], [0, 0, 7, 9, 0.2])
    again = mirror(mirror(faces, 64), 64)
    np.testing.assert_allclose(again.to_array(), faces.to_array(), atol=1e-5)


@pytest.mark.parametrize("mirrored", [False, True])
def test_faces_of_a_view_return_to_the_image(mirrored):
    face = detections([10, 5, 30, 25, 0.9])
    placed = Letterbox(2.0, 2.0)
    seen = Detections(placed.apply(face.boxes), face.scores, placed.apply(face.landmarks))
    seen = mirror(seen, 80) if mirrored else seen
    view = View(np.zeros((60, 80, 3), np.uint8), placed, mirrored)
    np.testing.assert_allclose(view.to_original(seen).to_array(), face.to_array(), atol=1e-4)


def test_merge_keeps_the_best_of_what_overlaps():
    first = detections([0, 0, 10, 10, 0.7], [50, 50, 60, 60, 0.9])
    second = detections([1, 0, 11, 10, 0.8], [20, 20, 30, 30, 0.1])
    merged = merge([first, second], 0.4)
    np.testing.assert_allclose(merged.scores, [0.9, 0.8, 0.1])
    np.testing.assert_allclose(merged.boxes[1], [1, 0, 11, 10])
    assert len(merge([first, second], 0.9)) == 4


def test_merge_of_one_list_or_of_nothing():
    faces = detections([0, 0, 10, 10, 0.7], [1, 0, 11, 10, 0.6])
    assert merge([faces], 0.4) is faces
    assert len(merge([], 0.4)) == 0
    assert len(merge([Detections.empty(), Detections.empty()], 0.4)) == 0


class FakeDetector:
    """Finds one face in the middle quarter; its score depends on the width of the image."""

    def __init__(self, scores):
        self._scores = scores
        self.calls = []

    def detect_batch(self, images):
        self.calls.append([image.shape[:2] for image in images])
        return [self._detect(*image.shape[:2]) for image in images]

    def _detect(self, height, width):
        if (score := self._scores.get(width)) is None:
            return Detections.empty()
        points = np.full((1, 5, 2), [width / 2, height / 2])
        box = [width / 4, height / 4, width * 3 / 4, height * 3 / 4]
        return Detections([box], [score], points)


def image(width, height=40):
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({100: 0.95, 200: 0.99}, 0.95),  # clear at once
        ({100: 0.9, 200: 0.99}, 0.9),
        ({100: 0.6, 200: 0.99}, 0.99),
        ({100: 0.6, 200: 0.5}, 0.6),
        ({100: 0.6, 200: 0.6}, 0.6),
        ({100: 0.6}, 0.6),
        ({200: 0.3}, 0.3),
    ],
)
def test_the_better_look_counts(scores, expected):
    detector = FakeDetector(scores)
    (faces,) = detect_twice([image(100)], detector.detect_batch)
    assert faces.scores.tolist() == [pytest.approx(expected)]
    # Whichever it was, the face is in pixels of the photo.
    np.testing.assert_allclose(faces.boxes, [[25, 10, 75, 30]])
    np.testing.assert_allclose(faces.landmarks[0, 0], [50, 20])


def test_only_small_unclear_photos_are_enlarged():
    detector = FakeDetector({100: 0.5, 50: 0.95})
    images = [image(50), image(100), image(641), image(30, 640), image(64)]
    found = detect_twice(images, detector.detect_batch)
    assert [len(faces) for faces in found] == [1, 1, 0, 0, 0]
    assert detector.calls == [[i.shape[:2] for i in images], [(80, 200), (1280, 60), (80, 128)]]


def test_nothing_unclear():
    detector = FakeDetector({100: 0.99})
    assert len(detect_twice([image(100)], detector.detect_batch)) == len(detector.calls) == 1
    assert detect_twice([], detector.detect_batch) == []
