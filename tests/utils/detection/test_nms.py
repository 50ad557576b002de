import numpy as np
import pytest

from utils.detection.nms import nms
from utils.faces.boxes import area, intersection


def brute_force(boxes, scores, threshold, mode):
    """One box after the other, as the algorithm is usually told."""
    shared, sizes = intersection(boxes, boxes), area(boxes)
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        for j in kept:
            whole = sizes[i] + sizes[j] - shared[j, i]
            if mode == "min":
                whole = min(sizes[i], sizes[j])
            if whole > 0 and shared[j, i] / whole > threshold:
                break
        else:
            kept.append(i)
    return kept


def crowd(count, seed=0, spread=300):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, spread, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 40, (count, 2))], axis=1)
    return boxes.astype(np.float32), rng.random(count).astype(np.float32)


@pytest.mark.parametrize("mode", ["union", "min"])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 900])
def test_as_brute_force(count, threshold, mode):
    boxes, scores = crowd(count, seed=count)
    assert nms(boxes, scores, threshold, mode).tolist() == brute_force(boxes, scores, threshold, mode)


def test_ties_go_to_the_lower_index():
    boxes, scores = crowd(600, seed=1)
    scores = np.round(scores, 1)
    assert nms(boxes, scores, 0.2).tolist() == brute_force(boxes, scores, 0.2, "union")
    same = np.tile(boxes[:1], (5, 1))
    assert nms(same, np.ones(5), 0.5).tolist() == [0]


def test_a_removed_box_removes_nothing():
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)
    assert nms(boxes, [0.9, 0.8, 0.7], 0.4).tolist() == [0, 2]


def test_long_chain():
    """Each box overlaps the next: the settling of `_greedy` at its slowest."""
    left = np.arange(700, dtype=np.float32) * 4
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=1)
    assert nms(boxes, -left, 0.4).tolist() == list(range(0, 700, 2))


def test_threshold_is_exclusive():
    boxes = np.array([[0, 0, 2, 1], [1, 0, 2, 1]], np.float32)
    assert nms(boxes, [0.5, 0.6], 0.5).tolist() == [1, 0]
    assert nms(boxes, [0.5, 0.6], 0.49).tolist() == [1]


def test_min_removes_a_nested_box():
    boxes = np.array([[0, 0, 100, 100], [10, 10, 20, 20]], np.float32)
    assert nms(boxes, [0.9, 0.8], 0.7).tolist() == [0, 1]
    assert nms(boxes, [0.9, 0.8], 0.7, mode="min").tolist() == [0]


def test_boxes_without_area_stay():
    assert nms(np.zeros((3, 4)), np.array([0.1, 0.3, 0.2]), 0.5, "min").tolist() == [1, 2, 0]


def test_empty():
    kept = nms(np.zeros((0, 4)), np.zeros(0), 0.5)
    assert kept.shape == (0,) and kept.dtype == np.int64


@pytest.mark.parametrize(
    ("boxes", "scores", "mode", "message"),
    [
        (np.zeros((2, 4)), np.zeros(2), "iou", "mode 'iou'"),
        (np.zeros((2, 4)), np.zeros(3), "union", "expected"),
        (np.zeros((2, 5)), np.zeros(2), "union", "expected"),
        (np.zeros((2, 4)), np.zeros((2, 1)), "union", "expected"),
    ],
)
def test_errors(boxes, scores, mode, message):
    with pytest.raises(ValueError, match=message):
        nms(boxes, scores, 0.5, mode)
