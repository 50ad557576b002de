import numpy as np
import pytest

from utils.detection.second_look import detect_twice
from utils.faces.detections import Detections


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
