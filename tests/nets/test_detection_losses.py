import numpy as np
import pytest
import tensorflow as tf

from nets.detection_losses import NEGATIVES_WITHOUT_FACES, imitation_loss, multibox_loss


def random_batch(shape, positive_rate, seed):
    """Targets and outputs of a network; without positives in the first image."""
    rng = np.random.default_rng(seed)
    label = (rng.random(shape) < positive_rate).astype(np.int32)
    if 0 < positive_rate < 1:
        label[0] = 0
    targets = {
        "boxes": rng.normal(size=(*shape, 4)),
        "landmarks": rng.normal(size=(*shape, 10)),
        "label": label,
        "has_landmarks": label * (rng.random(shape) < 0.5),
    }
    targets = {k: v if k == "label" else v.astype(np.float32) for k, v in targets.items()}
    face = rng.random((*shape, 1))
    outputs = [rng.normal(size=(*shape, 4)), np.concatenate([1 - face, face], -1)]
    outputs.append(rng.normal(size=(*shape, 10)))
    return targets, [output.astype(np.float32) for output in outputs]


def smooth_l1(truth, prediction):
    total = 0.0
    for error in np.abs(truth - prediction).ravel():
        total += 0.5 * error**2 if error < 1 else error - 0.5
    return total


def loss_by_loops(targets, bbox, cls, ldm, neg_pos=7, box_weight=2.0):
    box = landmarks = face = 0.0
    positives = labelled = 0
    background = []
    for image, anchor in np.ndindex(*targets["label"].shape):
        at = (image, anchor)
        if not targets["label"][at]:
            background.append(-np.log(cls[at][0]))
            continue
        positives += 1
        face -= np.log(cls[at][1])
        box += smooth_l1(targets["boxes"][at], bbox[at])
        if targets["has_landmarks"][at]:
            labelled += 1
            landmarks += smooth_l1(targets["landmarks"][at], ldm[at])
    mined = sorted(background)[::-1][: neg_pos * positives or NEGATIVES_WITHOUT_FACES]
    return {
        "box": box_weight * box / max(positives, 1),
        "class": (face + sum(mined)) / max(positives, 1),
        "landmarks": landmarks / max(labelled, 1),
    }


def test_hand_worked():
    targets = {
        "boxes": np.zeros((1, 4, 4), np.float32),
        "landmarks": np.zeros((1, 4, 10), np.float32),
        "label": np.int32([[1, 0, 0, 1]]),
        "has_landmarks": np.float32([[1, 0, 0, 0]]),
    }
    bbox, ldm = np.zeros((1, 4, 4), np.float32), np.zeros((1, 4, 10), np.float32)
    bbox[0, 0] = [0.5, -2, 0, 0]  # 0.125 + 1.5
    bbox[0, 1] = 100  # background
    ldm[0, 0, :2] = [1, 3]  # 0.5 + 2.5
    ldm[0, 3] = 100  # not labelled
    face = np.float32([0.5, 0.25, 0.75, 0.125])
    cls = np.stack([1 - face, face], -1)[None]
    losses = multibox_loss(targets, bbox, cls, ldm, neg_pos=0.5)
    assert losses["box"].numpy() == pytest.approx(2 * 1.625 / 2)
    assert losses["landmarks"].numpy() == pytest.approx(3.0)
    # -log of 1/2 and 1/8, and of 1/4 for the harder background: log 64, over two positives
    assert losses["class"].numpy() == pytest.approx(np.log(64) / 2, rel=1e-6)


@pytest.mark.parametrize("positive_rate", [0.0, 0.02, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("neg_pos", [3, 7])
def test_agrees_with_loops(positive_rate, neg_pos):
    targets, outputs = random_batch((3, 60), positive_rate, seed=int(100 * positive_rate))
    losses = multibox_loss(targets, *outputs, neg_pos=neg_pos, box_weight=1.5)
    expected = loss_by_loops(targets, *outputs, neg_pos=neg_pos, box_weight=1.5)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert losses[name].numpy() == pytest.approx(value, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("positive_rate", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("face_probability", [0.0, 0.5, 1.0])
def test_gradients_are_finite(positive_rate, face_probability):
    targets, outputs = random_batch((2, 300), positive_rate, seed=1)
    outputs[1][..., 0], outputs[1][..., 1] = 1 - face_probability, face_probability
    outputs = [tf.constant(output) for output in outputs]
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        losses = multibox_loss(targets, *outputs)
        total = tf.add_n(list(losses.values()))
    assert np.isfinite(total) and total >= 0
    for gradient in tape.gradient(total, outputs):
        assert np.isfinite(gradient).all()


def test_a_confident_mistake_still_has_a_gradient():
    targets, outputs = random_batch((1, 10), 1.0, seed=2)
    logits = tf.tile(tf.constant([[[20.0, 0.0]]]), [1, 10, 1])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = multibox_loss(targets, outputs[0], tf.nn.softmax(logits), outputs[2])["class"]
    assert (tape.gradient(loss, logits)[..., 1].numpy() < 0).all()


def test_only_mined_anchors_have_a_class_gradient():
    targets, outputs = random_batch((2, 50), 0.1, seed=3)
    cls = tf.constant(outputs[1])
    with tf.GradientTape() as tape:
        tape.watch(cls)
        loss = multibox_loss(targets, outputs[0], cls, outputs[2])["class"]
    used = np.abs(tape.gradient(loss, cls)).sum(-1) > 0
    positive = targets["label"] == 1
    assert used[positive].all()
    mined, easy = used & ~positive, ~used & ~positive
    assert mined.sum() == 7 * positive.sum()
    assert outputs[1][mined][:, 1].min() >= outputs[1][easy][:, 1].max()


def test_float32_under_mixed_precision():
    targets, outputs = random_batch((2, 40), 0.2, seed=4)
    half = [tf.cast(output, tf.float16) for output in outputs]
    losses, expected = multibox_loss(targets, *half), multibox_loss(targets, *outputs)
    for name, loss in losses.items():
        assert loss.dtype == tf.float32 and loss.shape == ()
        assert loss.numpy() == pytest.approx(expected[name].numpy(), rel=1e-2)


def test_runs_in_a_graph_of_any_batch_size():
    targets, outputs = random_batch((3, 40), 0.2, seed=5)
    batch = (targets, *outputs)
    spec = tf.nest.map_structure(lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), batch)
    graph = tf.function(multibox_loss, input_signature=spec)
    expected = multibox_loss(*batch)
    for name, loss in graph(*batch).items():
        assert loss.numpy() == pytest.approx(expected[name].numpy(), rel=1e-5)


def outputs(probabilities, seed=0):
    """What a detector puts out that gives (B, A) these probabilities of a face."""
    face, rng = np.float32(probabilities), np.random.default_rng(seed)
    boxes, landmarks = (rng.normal(size=(*face.shape, n)).astype(np.float32) for n in (4, 10))
    return boxes, np.stack([1 - face, face], -1), landmarks


def test_imitation_by_hand():
    teacher, student = outputs([[0.75, 0.25, 0.0]]), list(outputs([[0.5, 0.25, 0.5]]))
    student[0][0, 0] += 2  # an error of 2, of weight 0.75 in 1
    student[0][0, 2] += 100  # nobody there
    student[2][0, 1, :5] -= 4  # 2 in the mean, of weight 0.25
    losses = imitation_loss(teacher, student)
    assert losses["box"].numpy() == pytest.approx(1.5, rel=1e-5)
    assert losses["landmarks"].numpy() == pytest.approx(0.5, rel=1e-5)
    divergence = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5) + np.log(1 / 0.5)
    assert losses["class"].numpy() == pytest.approx(divergence, rel=1e-4)


def test_imitation_is_finite_where_the_student_is_sure_and_wrong():
    teacher, student = outputs([[1.0, 0.0]]), [tf.Variable(x) for x in outputs([[0.0, 1.0]])]
    with tf.GradientTape() as tape:
        loss = tf.add_n(list(imitation_loss(teacher, student).values()))
    gradients = tape.gradient(loss, student)
    assert np.isfinite(loss) and all(np.isfinite(gradient).all() for gradient in gradients)
    assert gradients[1].numpy()[0, 0, 1] < 0 < -gradients[1].numpy()[0, 1, 0]


def test_imitation_of_nobody():
    teacher = outputs([[0.0, 0.0]])
    losses = imitation_loss(teacher, outputs([[0.0, 0.0]], seed=1))
    assert all(float(loss) == pytest.approx(0, abs=1e-6) for loss in losses.values())
