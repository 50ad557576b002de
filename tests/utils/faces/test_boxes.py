import numpy as np
import pytest

from utils.faces.boxes import area, center_size, clip, corners, intersection, iou

RNG = np.random.default_rng(0)


def random_boxes(count):
    low = RNG.uniform(0, 80, (count, 2))
    return np.concatenate([low, low + RNG.uniform(0, 40, (count, 2))], axis=1).astype(np.float32)


def brute_iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
        ([0, 0, 4, 4], [1, 1, 3, 3], 1 / 4),
        ([0, 0, 2, 2], [2, 0, 4, 2], 0),
        ([0, 0, 2, 2], [5, 5, 6, 6], 0),
        ([1, 1, 1, 1], [1, 1, 1, 1], 0),
        ([0, 0, 2, 2], [1, 0, 1, 2], 0),
        ([3, 3, 1, 1], [0, 0, 4, 4], 0),
    ],
)
def test_iou_hand_worked(a, b, expected):
    result = iou(np.array([a], np.float32), np.array([b], np.float32))
    assert result.shape == (1, 1) and result[0, 0] == pytest.approx(expected)
    integers = iou(np.array([a]), np.array([b]))
    assert integers[0, 0] == pytest.approx(expected)


def test_iou_as_brute_force():
    a, b = random_boxes(30), random_boxes(20)
    expected = [[brute_iou(p, q) for q in b] for p in a.tolist()]
    result = iou(a, b)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-5)
    np.testing.assert_allclose(result.T, iou(b, a), atol=1e-6)


@pytest.mark.parametrize(("count_a", "count_b"), [(0, 0), (0, 3), (3, 0)])
def test_empty(count_a, count_b):
    a, b = np.zeros((count_a, 4), np.float32), np.zeros((count_b, 4), np.float32)
    assert iou(a, b).shape == intersection(a, b).shape == (count_a, count_b)
    assert area(a).shape == (count_a,)
    assert clip(a, (5, 5)).shape == corners(center_size(a)).shape == (count_a, 4)


def test_area():
    assert area([[0, 0, 2, 3], [2, 2, 1, 5], [1, 1, 1, 1], [-1, -1, 1, 1]]).tolist() == [6, 0, 0, 4]


def test_clip():
    boxes = np.array([[-5, -5, 50, 50], [1, 2, 3, 4], [30, 1, 40, 2]], np.float32)
    clipped = clip(boxes, (10, 20))
    assert clipped.tolist() == [[0, 0, 20, 10], [1, 2, 3, 4], [20, 1, 20, 2]]
    assert clipped.dtype == np.float32
    assert boxes[0, 0] == -5


def test_conversions():
    assert center_size(np.array([0.0, 2, 4, 10])).tolist() == [2, 6, 4, 8]
    boxes = random_boxes(10).reshape(2, 5, 4)
    np.testing.assert_allclose(corners(center_size(boxes)), boxes, atol=1e-4)
