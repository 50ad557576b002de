import numpy as np
import pytest
import tensorflow as tf

from utils.config import cfg_mnet
from utils.detection.anchors import Anchors
from utils.detection.box_coding import decode_boxes, decode_landmarks, encode_boxes, encode_landmarks
from utils.detection.matching import match
from utils.faces.boxes import iou

QUARTERS = np.float32([[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]])


def run(boxes, anchors, landmarks=None, labelled=None, **settings):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    landmarks = np.zeros((len(boxes), 5, 2), np.float32) if landmarks is None else landmarks
    labelled = np.ones(len(boxes), bool) if labelled is None else np.asarray(labelled, bool)
    targets = match(boxes, landmarks, labelled, anchors, **settings)
    return {key: value.numpy() for key, value in targets.items()}


def random_faces(count, rng, smallest=0.01, largest=0.5):
    center = rng.random((count, 2))
    half = np.exp(rng.uniform(np.log(smallest), np.log(largest), (count, 2))) / 2
    boxes = np.clip(np.concatenate([center - half, center + half], axis=1), 0, 1)
    landmarks = center[:, None] + half[:, None] * rng.uniform(-1, 1, (count, 5, 2))
    return boxes.astype(np.float32), landmarks.astype(np.float32), rng.random(count) < 0.5


def match_by_loops(boxes, anchors, threshold=0.35):
    """The face of each anchor, -1 for none: the rules of `match` one at a time."""
    overlaps = iou(boxes, anchors)
    face_of = np.full(len(anchors), -1)
    for a in range(len(anchors)):
        for n in range(len(boxes)):
            best_so_far = overlaps[face_of[a], a] if face_of[a] >= 0 else threshold
            if overlaps[n, a] > best_so_far:
                face_of[a] = n
    claimed = {}
    for n in range(len(boxes)):
        a = int(overlaps[n].argmax())
        if overlaps[n, a] > 0 and overlaps[n, a] > claimed.get(a, 0):
            claimed[a] = overlaps[n, a]
            face_of[a] = n
    return face_of


def test_hand_worked_codes():
    landmarks = np.tile(np.float32([0.3, 0.2]), (1, 5, 1))
    targets = run([[0, 0, 0.5, 0.25]], QUARTERS, landmarks)
    np.testing.assert_array_equal(targets["label"], [1, 0, 0, 0])
    # centre (0.25, 0.125) against (0.25, 0.25), side 0.5: -0.125 / 0.5 / 0.1; log(0.5) / 0.2
    np.testing.assert_allclose(targets["boxes"][0], [0, -2.5, 0, np.log(0.5) / 0.2], atol=1e-5)
    np.testing.assert_allclose(targets["landmarks"][0], [1, -1] * 5, atol=1e-5)
    np.testing.assert_array_equal(targets["has_landmarks"], [1, 0, 0, 0])
    assert not targets["boxes"][1:].any() and not targets["landmarks"][1:].any()


@pytest.mark.parametrize(
    ("boxes", "labels"),
    [
        ([], [0, 0, 0, 0]),
        ([[0.2, 0.2, 0.2, 0.4]], [0, 0, 0, 0]),  # without area
        ([[0, 0, 0, 0], [0.5, 0, 1, 0.5]], [0, 1, 0, 0]),  # padding before a face
        ([[0.1, 0.1, 0.2, 0.2]], [1, 0, 0, 0]),  # IoU 0.04: its best anchor only
        ([[1.5, 1.5, 1.7, 1.7]], [0, 0, 0, 0]),  # overlaps nothing
        ([[0, 0, 1, 0.5]], [1, 1, 0, 0]),  # IoU 0.5 with two
        ([[0.25, 0.25, 0.75, 0.75]], [1, 0, 0, 0]),  # IoU 1/7 with all four: the first
    ],
)
def test_labels(boxes, labels):
    targets = run(boxes, QUARTERS)
    np.testing.assert_array_equal(targets["label"], labels)
    assert all(np.isfinite(values).all() for values in targets.values())


@pytest.mark.parametrize(
    ("boxes", "winner"),
    [
        ([[0, 0, 0.1, 0.1], [0, 0, 0.2, 0.2]], 1),  # both claim anchor 0: the larger IoU
        ([[0, 0, 0.2, 0.2], [0, 0, 0.1, 0.1]], 0),  # and not the later one
        ([[0.1, 0.1, 0.3, 0.3], [0, 0, 0.2, 0.2]], 0),  # equal: the earlier one
    ],
)
def test_faces_with_the_same_best_anchor(boxes, winner):
    targets = run(boxes, QUARTERS)
    np.testing.assert_array_equal(targets["label"], [1, 0, 0, 0])
    decoded = decode_boxes(targets["boxes"], QUARTERS)[0]
    np.testing.assert_allclose(decoded, boxes[winner], atol=1e-6)


def test_a_claim_outweighs_a_larger_overlap_of_a_face_with_a_better_anchor():
    anchors = np.float32([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.55]])
    boxes = [[0, 0, 0.5, 0.55], [0, 0, 0.2, 0.2]]  # the first overlaps both anchors by over 0.9
    decoded = decode_boxes(run(boxes, anchors)["boxes"], anchors)
    np.testing.assert_allclose(decoded, [boxes[1], boxes[0]], atol=1e-6)


def test_the_threshold_itself_does_not_match():
    anchors = np.float32([[0, 0, 1, 1], [0, 0, 0.5, 0.5]])
    box = [[0, 0, 0.5, 0.5]]  # IoU 0.25 and 1
    np.testing.assert_array_equal(run(box, anchors, iou_threshold=0.25)["label"], [0, 1])
    np.testing.assert_array_equal(run(box, anchors, iou_threshold=0.24)["label"], [1, 1])


@pytest.mark.parametrize(("count", "seed"), [(1, 0), (5, 1), (40, 2), (40, 3)])
def test_agrees_with_loops(count, seed):
    anchors = Anchors(cfg_mnet, (64, 96)).get_anchors()
    boxes, landmarks, labelled = random_faces(count, np.random.default_rng(seed))
    targets = run(boxes, anchors, landmarks, labelled)
    face_of = match_by_loops(boxes, anchors)
    positive = face_of >= 0
    face_of = face_of[positive]
    np.testing.assert_array_equal(targets["label"], positive)
    np.testing.assert_array_equal(targets["has_landmarks"][positive], labelled[face_of])
    expected = encode_boxes(boxes[face_of], anchors[positive])
    np.testing.assert_allclose(targets["boxes"][positive], expected, rtol=1e-4, atol=1e-4)
    expected = encode_landmarks(landmarks[face_of].reshape(-1, 10), anchors[positive])
    expected *= labelled[face_of, None]
    np.testing.assert_allclose(targets["landmarks"][positive], expected, rtol=1e-4, atol=1e-4)


def test_decoding_returns_the_faces():
    anchors = Anchors(cfg_mnet, (64, 64)).get_anchors()
    box, landmarks, _ = random_faces(1, np.random.default_rng(5))
    targets = run(box, anchors, landmarks, variances=(0.2, 0.3))
    positive = targets["label"] == 1
    boxes = decode_boxes(targets["boxes"], anchors, (0.2, 0.3))[positive]
    np.testing.assert_allclose(boxes, np.tile(box, (len(boxes), 1)), atol=1e-5)
    points = decode_landmarks(targets["landmarks"], anchors, (0.2, 0.3))[positive]
    np.testing.assert_allclose(points, np.tile(landmarks.reshape(1, 10), (len(boxes), 1)), atol=1e-5)


def test_landmarks_that_are_not_labelled_are_not_read():
    targets = run(QUARTERS[:1], QUARTERS, np.full((1, 5, 2), np.nan, np.float32), [False])
    assert targets["label"][0] == 1 and targets["has_landmarks"][0] == 0
    assert not targets["landmarks"].any()


def test_runs_inside_tf_data_with_any_number_of_faces():
    counts = [0, 3, 1]
    faces = [random_faces(count, np.random.default_rng(count)) for count in counts]
    spec = (tf.TensorSpec([None, 4]), tf.TensorSpec([None, 5, 2]), tf.TensorSpec([None], tf.bool))
    dataset = tf.data.Dataset.from_generator(lambda: iter(faces), output_signature=spec)
    batch = next(iter(dataset.map(lambda *face: match(*face, QUARTERS)).batch(3)))
    assert batch["boxes"].shape == (3, 4, 4) and batch["landmarks"].shape == (3, 4, 10)
    assert batch["label"].dtype == tf.int32 and batch["has_landmarks"].dtype == tf.float32
    labels = [run(face[0], QUARTERS)["label"] for face in faces]
    np.testing.assert_array_equal(batch["label"], labels)
