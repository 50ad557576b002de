import dataclasses

import numpy as np
import pytest

from utils.faces.detections import Detections
from utils.images.placement import Letterbox


def three():
    boxes = [[0, 0, 10, 10], [0, 0, 30, 20], [5, 5, 35, 25]]
    landmarks = np.arange(30).reshape(3, 5, 2)
    return Detections(boxes, [0.9, 0.8, 0.7], landmarks)


def test_types_and_length():
    faces = three()
    assert len(faces) == 3 and bool(faces)
    assert faces.boxes.dtype == faces.scores.dtype == faces.landmarks.dtype == np.float32
    with pytest.raises(dataclasses.FrozenInstanceError):
        faces.boxes = None


def test_empty():
    none = Detections.empty()
    assert len(none) == 0 and not none
    assert none.boxes.shape == (0, 4) and none.landmarks.shape == (0, 5, 2)
    assert none.to_array().shape == (0, 15)
    assert list(none) == []
    for same in (none.largest(), none.clip((5, 5)), none.to_original(Letterbox()), none[[]]):
        assert len(same) == 0
    assert len(none[np.zeros(0, bool)]) == 0
    assert len(Detections.best_first(none.boxes, none.scores, none.landmarks)) == 0


@pytest.mark.parametrize(
    ("boxes", "scores", "landmarks"),
    [
        ((3, 4), (2,), (3, 5, 2)),
        ((3, 5), (3,), (3, 5, 2)),
        ((3, 4), (3,), (3, 10)),
        ((3, 4), (3, 1), (3, 5, 2)),
        ((0,), (0,), (0, 5, 2)),
    ],
)
def test_shapes_are_checked(boxes, scores, landmarks):
    with pytest.raises(ValueError, match="expected"):
        Detections(np.zeros(boxes), np.zeros(scores), np.zeros(landmarks))


def test_best_first_keeps_the_order_of_ties():
    boxes = np.arange(16).reshape(4, 4)
    landmarks = np.arange(40).reshape(4, 5, 2)
    faces = Detections.best_first(boxes, [0.5, 0.9, 0.5, 0.95], landmarks)
    assert faces.boxes[:, 0].tolist() == [12, 4, 0, 8]
    assert faces.landmarks[:, 0, 0].tolist() == [30, 10, 0, 20]
    assert faces.scores.tolist() == sorted(faces.scores.tolist(), reverse=True)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, [0]),
        (-1, [2]),
        (np.int64(1), [1]),
        (slice(1, None), [1, 2]),
        (np.array([True, False, True]), [0, 2]),
        ([True, False, True], [0, 2]),
        (np.array([2, 0]), [2, 0]),
        ([2, 0], [2, 0]),
        ([], []),
    ],
)
def test_indexing(index, expected):
    chosen, faces = three()[index], three()
    assert isinstance(chosen, Detections)
    np.testing.assert_array_equal(chosen.boxes, faces.boxes[expected])
    np.testing.assert_array_equal(chosen.scores, faces.scores[expected])
    np.testing.assert_array_equal(chosen.landmarks, faces.landmarks[expected])


def test_iterating_and_out_of_range():
    assert [face.scores.item() for face in three()] == pytest.approx([0.9, 0.8, 0.7])
    with pytest.raises(IndexError):
        three()[3]


def test_largest_of_equals_is_the_better():
    assert three().largest().scores.tolist() == pytest.approx([0.8])


def test_to_original_and_clip():
    faces = three().to_original(Letterbox(0.5, 2.0, 10, 4))
    assert faces.boxes[1].tolist() == [-20, -2, 40, 8]
    assert faces.landmarks[0, 1].tolist() == [-16, -0.5]
    assert faces.clip((5, 30)).boxes[1].tolist() == [0, 0, 30, 5]
    assert faces.clip((5, 30)).landmarks[0, 1].tolist() == [-16, -0.5]


def test_array_round_trip():
    array = three().to_array()
    assert array.dtype == np.float32 and array.shape == (3, 15)
    np.testing.assert_allclose(array[1], [0, 0, 30, 20, 0.8, *range(10, 20)])
    again = Detections.from_array(array)
    np.testing.assert_array_equal(again.landmarks, three().landmarks)
    np.testing.assert_array_equal(again.to_array(), array)
    assert len(Detections.from_array(np.zeros((0, 15)))) == 0
