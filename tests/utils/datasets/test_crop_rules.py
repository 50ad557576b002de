import numpy as np
import pytest

from utils.datasets.crop_rules import CropRules
from utils.datasets.report import KEPT, NO_FACE, SEVERAL_FACES, TOO_SMALL
from utils.faces.alignment import ARCFACE_TEMPLATE, align, crop
from utils.faces.detections import Detections


def faces_at(*boxes, scores=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    landmarks = ARCFACE_TEMPLATE / 112 * (boxes[:, None, 2:] - boxes[:, None, :2])
    scores = np.linspace(0.99, 0.95, len(boxes)) if scores is None else scores
    return Detections(boxes, scores, landmarks + boxes[:, None, :2])


@pytest.mark.parametrize(
    ("boxes", "rules", "expected"),
    [
        ([], {}, (NO_FACE, -1)),
        ([[0, 0, 19, 40]], {}, (TOO_SMALL, -1)),
        ([[0, 0, 20, 40]], {}, (KEPT, 0)),
        # The weight at (25, 25) of 100 x 100 is 1/2: 1600 beats 2500 / 2.
        ([[0, 0, 50, 50], [30, 30, 70, 70]], {}, (KEPT, 1)),
        # At (30, 30) it is 3/5: 1600 loses to 3600 * 3/5 = 2160.
        ([[30, 30, 70, 70], [0, 0, 60, 60]], {}, (KEPT, 1)),
        ([[0, 0, 40, 40], [60, 60, 100, 100]], {}, (KEPT, 0)),  # equal: the better scored
        ([[45, 45, 55, 55], [0, 0, 30, 30]], {}, (KEPT, 1)),  # small ones do not count
        ([[0, 0, 50, 50], [30, 30, 70, 70]], {"strict": True}, (SEVERAL_FACES, -1)),
        ([[0, 0, 50, 50], [30, 30, 40, 40]], {"strict": True}, (KEPT, 0)),
    ],
)
def test_choose(boxes, rules, expected):
    assert CropRules(**rules).choose(faces_at(*boxes), (100, 100)) == expected


@pytest.mark.parametrize(
    ("scores", "strict", "expected"),
    [
        ([0.9, 0.95], False, (KEPT, 1)),
        ([0.9, 0.89], False, (KEPT, 0)),  # the central one is weak
        ([0.9, 0.89], True, (KEPT, 0)),
        ([0.9, 0.9], True, (SEVERAL_FACES, -1)),
        ([0.7, 0.6], False, (KEPT, 0)),  # none is clear: the best
    ],
)
def test_choose_a_clear_face(scores, strict, expected):
    faces = faces_at([0, 0, 40, 40], [30, 30, 70, 70], scores=scores)
    assert CropRules(strict=strict).choose(faces, (100, 100)) == expected


def test_cut():
    image, face = (np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), faces_at([10, 20, 40, 60]))
    warped = CropRules(mode="warp", size=24).cut(image, face)
    np.testing.assert_array_equal(warped, align(image, face.landmarks[0], 24))
    cut = CropRules(mode="crop", size=24, margin=0.5).cut(image, face)
    np.testing.assert_array_equal(cut, crop(image, face.boxes[0], 0.5, 24))
