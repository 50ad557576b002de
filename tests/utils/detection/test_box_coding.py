import numpy as np
import pytest

from utils.detection.box_coding import decode_boxes, decode_landmarks, encode_boxes, encode_landmarks

RNG = np.random.default_rng(0)


def random_boxes(*shape):
    low = RNG.uniform(0, 0.7, (*shape, 2))
    return np.concatenate([low, low + RNG.uniform(0.02, 0.3, (*shape, 2))], -1).astype(np.float32)


ANCHORS = random_boxes(50)
LANDMARKS = RNG.uniform(0, 1, (50, 10)).astype(np.float32)


def test_boxes_hand_worked():
    anchors = np.array([[0, 0, 2, 4]], np.float32)
    # The centre goes from (1, 2) to (2, 2); the width doubles, the height halves.
    boxes = np.array([[0, 1, 4, 3]], np.float32)
    codes = encode_boxes(boxes, anchors)
    expected = [[1 / (2 * 0.1), 0, np.log(2) / 0.2, -np.log(2) / 0.2]]
    np.testing.assert_allclose(codes, expected, rtol=1e-6)
    np.testing.assert_allclose(decode_boxes(codes, anchors), boxes, rtol=1e-6)


def test_landmarks_hand_worked():
    anchors = np.array([[0, 0, 2, 4]], np.float32)
    landmarks = np.array([[1, 2, 2, 4, 0, 0, 1, 3, 3, 2]], np.float32)
    codes = encode_landmarks(landmarks, anchors)
    np.testing.assert_allclose(codes, [[0, 0, 5, 5, -5, -5, 0, 2.5, 10, 0]], rtol=1e-6)
    np.testing.assert_allclose(decode_landmarks(codes, anchors), landmarks, rtol=1e-6)


def test_an_anchor_itself_is_zero():
    np.testing.assert_allclose(encode_boxes(ANCHORS, ANCHORS), 0, atol=1e-5)
    np.testing.assert_allclose(decode_boxes(0 * ANCHORS, ANCHORS), ANCHORS, atol=1e-6)


@pytest.mark.parametrize("variances", [(0.1, 0.2), [0.3, 0.4]])
@pytest.mark.parametrize("batch", [(), (3,), (0,)])
def test_round_trip(batch, variances):
    boxes = random_boxes(*batch, 50)
    codes = encode_boxes(boxes, ANCHORS, variances)
    assert codes.shape == boxes.shape and codes.dtype == np.float32
    np.testing.assert_allclose(decode_boxes(codes, ANCHORS, variances), boxes, atol=1e-5)
    landmarks = np.broadcast_to(LANDMARKS, (*batch, 50, 10))
    codes = encode_landmarks(landmarks, ANCHORS, variances)
    assert codes.shape == landmarks.shape and codes.dtype == np.float32
    np.testing.assert_allclose(decode_landmarks(codes, ANCHORS, variances), landmarks, atol=1e-5)


def test_no_anchors():
    none = np.zeros((0, 4), np.float32)
    assert encode_boxes(none, none).shape == decode_boxes(none, none).shape == (0, 4)
    assert encode_landmarks(np.zeros((0, 10), np.float32), none).shape == (0, 10)


def test_a_box_without_area_stays_finite():
    codes = encode_boxes(np.zeros((50, 4), np.float32), ANCHORS)
    assert np.isfinite(codes).all()


def test_tensorflow_gives_the_same():
    tf = pytest.importorskip("tensorflow")
    boxes = random_boxes(2, 50)
    codes = encode_boxes(tf.constant(boxes), tf.constant(ANCHORS))
    assert isinstance(codes, tf.Tensor)
    np.testing.assert_allclose(codes, encode_boxes(boxes, ANCHORS), atol=1e-4)
    np.testing.assert_allclose(decode_boxes(codes, tf.constant(ANCHORS)), boxes, atol=1e-5)
    codes = encode_landmarks(tf.constant(LANDMARKS), tf.constant(ANCHORS))
    np.testing.assert_allclose(codes, encode_landmarks(LANDMARKS, ANCHORS), atol=1e-3)
    back = decode_landmarks(codes, tf.constant(ANCHORS))
    np.testing.assert_allclose(back, LANDMARKS, atol=1e-5)


def test_anchors_may_stay_numpy_beside_tensors():
    tf = pytest.importorskip("tensorflow")
    boxes = random_boxes(50)
    codes = encode_boxes(tf.constant(boxes), ANCHORS)
    np.testing.assert_allclose(decode_boxes(codes, ANCHORS), boxes, atol=1e-5)
    flat = decode_landmarks(encode_landmarks(tf.constant(LANDMARKS), ANCHORS), ANCHORS)
    np.testing.assert_allclose(flat, LANDMARKS, atol=1e-5)
