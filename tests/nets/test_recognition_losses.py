import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from nets import recognition_losses as training

DTYPES = ("float16", "bfloat16", "float32")


def unit_rows(rng, rows, size):
    embeddings = rng.standard_normal((rows, size)).astype(np.float32)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def softmax_loss_of(logits):
    return lambda cosine, labels: training.softmax_cross_entropy(logits(cosine, labels), labels)


ANCHOR = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
POSITIVE = np.array([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]])
NEGATIVE = np.array([[0.0, 1.0], [0.8, 0.6], [0.0, -1.0]])


def test_triplet_loss_takes_euclidean_distances_and_averages_the_costly():
    # d_ap = sqrt(0.8), 0, 0; d_an = sqrt(2), sqrt(0.4), 2; alpha 0.7: costs 0.18022, 0.06754, 0.
    costs = [math.sqrt(0.8) - math.sqrt(2) + 0.7, 0.7 - math.sqrt(0.4)]
    loss = training.triplet_loss(ANCHOR, POSITIVE, NEGATIVE, alpha=0.7)
    assert float(loss) == pytest.approx(sum(costs) / 2, abs=2e-6)


def test_triplet_loss_without_a_violated_margin_is_zero():
    assert float(training.triplet_loss(ANCHOR, ANCHOR, -ANCHOR)) == 0.0


def test_split_triplets_follows_the_layout_of_keras_facenet():
    batch = np.concatenate([ANCHOR, POSITIVE, NEGATIVE])
    for part, expected in zip(training.split_triplets(tf.constant(batch)), (ANCHOR, POSITIVE, NEGATIVE), strict=True):
        np.testing.assert_array_equal(part, expected)
    with pytest.raises(ValueError, match="7 rows"):
        training.split_triplets(tf.zeros((7, 2)))


def semihard_twin(embeddings, labels, alpha):
    costs = []
    for a, p in itertools.permutations(range(len(labels)), 2):
        if labels[a] != labels[p]:
            continue
        near = np.sum((embeddings[a] - embeddings[p]) ** 2)
        others = [np.sum((embeddings[a] - embeddings[n]) ** 2) for n in range(len(labels)) if labels[n] != labels[a]]
        if others:
            farther = [d for d in others if d > near]
            costs.append(near - (min(farther) if farther else max(others)) + alpha)
    costs = [cost for cost in costs if cost > 0]
    return sum(costs) / max(len(costs), 1), len(costs)


def batch_hard_twin(embeddings, labels, alpha):
    costs = []
    for a in range(len(labels)):
        distances = [math.dist(embeddings[a], other) for other in embeddings]
        positives = [d for i, d in enumerate(distances) if labels[i] == labels[a] and i != a]
        negatives = [d for i, d in enumerate(distances) if labels[i] != labels[a]]
        if positives and negatives:
            gap = max(positives) - min(negatives)
            costs.append(max(gap + alpha, 0.0))
    return sum(costs) / max(len(costs), 1), sum(cost > 0 for cost in costs)


MINERS = [
    (training.triplet_semihard, semihard_twin, 0.2),
    (training.triplet_semihard, semihard_twin, 1.0),
    (training.triplet_batch_hard, batch_hard_twin, 0.2),
    (training.triplet_batch_hard, batch_hard_twin, 1.0),
]
LABELS = {
    "P x K": [0, 0, 0, 1, 1, 1, 2, 2, 2],
    "shuffled": [7, 3, 7, 5, 3, 5, 3, 7, 5],
    "people of one image": [0, 0, 0, 1, 2, 3, 3, 4, 5],
    "no negative": [4] * 9,
    "no positive": list(range(9)),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize(("miner", "twin", "alpha"), MINERS)
def test_miners_agree_with_loops_over_all_triplets(miner, twin, alpha, labels):
    for seed, size in itertools.product(range(3), (2, 16)):
        embeddings = unit_rows(np.random.default_rng(seed), len(labels), size)
        loss, active = miner(embeddings, np.array(labels), alpha)
        expected_loss, expected_active = twin(embeddings.astype(np.float64), labels, alpha)
        assert float(loss) == pytest.approx(expected_loss, abs=3e-6)
        assert int(active) == expected_active


@pytest.mark.parametrize(("miner", "twin", "alpha"), MINERS)
def test_miners_break_ties_as_the_loops_do(miner, twin, alpha):
    # Corners of a square, twice each: distances repeat exactly and images of a person coincide.
    embeddings = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]] * 2, np.float32)
    for labels in ([0, 0, 1, 1, 0, 0, 1, 1], [0, 1, 2, 3, 0, 1, 2, 3], [0, 1, 0, 1, 1, 0, 1, 0]):
        loss, active = miner(embeddings, np.array(labels), alpha)
        expected_loss, expected_active = twin(embeddings, labels, alpha)
        assert float(loss) == pytest.approx(expected_loss, abs=3e-6)
        assert int(active) == expected_active


def test_semihard_passes_over_the_nearest_negative():
    # On a line: anchor 0, positive 1, negatives at 0.5 (too near) and 1.1 (semi-hard).
    embeddings = np.array([[0.0], [1.0], [0.5], [1.1]], np.float32)
    loss, active = training.triplet_semihard(embeddings, np.array([0, 0, 1, 2]), alpha=0.3)
    # (0, 1): 1 - 1.21 + 0.3 = 0.09; (1, 0): no negative is beyond 1, the farthest is 0.5 away.
    assert float(loss) == pytest.approx((0.09 + 1 - 0.25 + 0.3) / 2, rel=1e-5)
    assert int(active) == 2


@pytest.mark.parametrize("miner", [training.triplet_semihard, training.triplet_batch_hard])
def test_miners_run_in_a_graph_with_unknown_batch_size(miner):
    spec = [tf.TensorSpec((None, 4)), tf.TensorSpec((None,), tf.int64)]
    graph = tf.function(miner, input_signature=spec)
    embeddings, labels = unit_rows(np.random.default_rng(0), 6, 4), np.array([0, 0, 1, 1, 2, 2])
    for got, expected in zip(graph(embeddings, labels), miner(embeddings, labels), strict=True):
        assert float(got) == pytest.approx(float(expected), rel=1e-6)


def test_softmax_cross_entropy_by_hand():
    logits = np.log([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25]])
    labels = np.array([0, 1])
    expected = -(math.log(0.7) + math.log(0.5)) / 2
    assert float(training.softmax_cross_entropy(logits, labels)) == pytest.approx(expected, rel=1e-6)
    # A smoothing of 0.3 asks for 0.8, 0.1, 0.1.
    first = -(0.8 * math.log(0.7) + 0.1 * math.log(0.2) + 0.1 * math.log(0.1))
    second = -(0.8 * math.log(0.5) + 0.2 * math.log(0.25))
    smoothed = training.softmax_cross_entropy(logits, labels, label_smoothing=0.3)
    assert float(smoothed) == pytest.approx((first + second) / 2, rel=1e-6)


def test_softmax_cross_entropy_does_not_overflow():
    loss = training.softmax_cross_entropy(tf.constant([[60000.0, 0.0]], tf.float16), np.array([1]))
    assert float(loss) == pytest.approx(60000.0, rel=1e-3)


@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, 140.0, 151.3])
def test_arcface_adds_the_margin_to_the_angle(degrees):
    angle = math.radians(degrees)
    cosine = np.array([[0.1, math.cos(angle), -0.2]])
    logits = training.arcface_logits(cosine, np.array([1]), margin=0.5, scale=64.0)
    np.testing.assert_allclose(logits[0], [6.4, 64 * math.cos(angle + 0.5), -12.8], atol=1e-4)


@pytest.mark.parametrize("degrees", [151.4, 170.0, 180.0])
def test_arcface_beyond_pi_minus_the_margin_takes_off_a_constant(degrees):
    cosine = math.cos(math.radians(degrees))
    logits = training.arcface_logits([[cosine, 0.5]], [0], margin=0.5, scale=32.0)
    np.testing.assert_allclose(logits[0], [32 * (cosine - 0.5 * math.sin(0.5)), 16.0], atol=1e-4)


def test_arcface_target_always_falls_with_the_angle():
    cosine = tf.cos(tf.linspace(0.0, math.pi, 2001))[:, None]
    logits = training.arcface_logits(cosine, tf.zeros(2001, tf.int32))[:, 0].numpy()
    assert np.all(np.diff(logits) < 1e-4)


BORDER = math.cos(math.pi - 0.5)


@pytest.mark.parametrize("cosine", [-0.999, BORDER - 1e-2, BORDER + 1e-2, -0.5, 0.0, 0.5, 0.99, 0.9999])
def test_arcface_slope_near_the_borders(cosine):
    def target(c):  # in float64, where a small step is exact enough
        if c <= BORDER:
            return c - 0.5 * math.sin(0.5)
        return math.cos(math.acos(c) + 0.5)

    variable = tf.Variable([[cosine]])
    with tf.GradientTape() as tape:
        logits = training.arcface_logits(variable, [0], margin=0.5, scale=1.0)
    exact = float(variable[0, 0])
    expected = (target(exact + 1e-6) - target(exact - 1e-6)) / 2e-6
    assert float(tape.gradient(logits, variable)[0, 0]) == pytest.approx(expected, rel=2e-3)


def test_cosface_by_hand():
    logits = training.cosface_logits([[0.5, 0.1], [0.2, -1.0]], [0, 1], margin=0.35, scale=10.0)
    np.testing.assert_allclose(logits, [[1.5, 1.0], [2.0, -13.5]], rtol=1e-6)


def test_a_margin_of_zero_is_a_scaled_softmax():
    cosine = np.random.default_rng(0).uniform(-1, 1, (4, 5)).astype(np.float32)
    for logits in (training.arcface_logits, training.cosface_logits):
        np.testing.assert_allclose(logits(cosine, [0, 1, 2, 3], 0.0, 30.0), 30 * cosine, atol=1e-5)


def test_center_loss_is_half_the_mean_squared_distance():
    centers = np.array([[0.0, 0.0], [1.0, 1.0], [9.0, 9.0]])
    embeddings = np.array([[3.0, 4.0], [1.0, 2.0]])
    loss = training.center_loss(embeddings, np.array([0, 1]), centers)
    assert float(loss) == pytest.approx((25 + 1) / 2 / 2)


def test_center_update_agrees_with_a_loop_over_classes():
    rng = np.random.default_rng(1)
    centers, embeddings = rng.standard_normal((6, 3)), rng.standard_normal((9, 3))
    labels = np.array([0, 0, 0, 2, 2, 5, 2, 0, 5])
    expected = centers.copy()
    for j in range(6):
        own = embeddings[labels == j]
        expected[j] -= 0.4 * np.sum(centers[j] - own, axis=0) / (1 + len(own))
    moved = training.center_update(centers, embeddings, labels, rate=0.4)
    np.testing.assert_allclose(moved, expected, atol=1e-6)
    np.testing.assert_array_equal(moved.numpy()[[1, 3, 4]], centers[[1, 3, 4]].astype(np.float32))


def test_center_update_of_one_image_goes_half_the_rate():
    moved = training.center_update([[0.0, 0.0]], [[4.0, -2.0]], [0], rate=0.5)
    np.testing.assert_allclose(moved, [[1.0, -0.5]])


def test_centers_converge_to_the_class_means():
    rng = np.random.default_rng(2)
    embeddings, labels = rng.standard_normal((8, 2)), np.array([0, 1] * 4)
    centers = np.zeros((2, 2))
    for _ in range(60):
        centers = training.center_update(centers, embeddings, labels, rate=0.5)
    np.testing.assert_allclose(centers[0], embeddings[::2].mean(axis=0), atol=1e-5)


def test_prelogits_norm():
    loss = training.prelogits_norm([[3.0, -4.0], [1.0, 1.0]])
    assert float(loss) == pytest.approx((7 + 2) / 2, abs=3e-4)


def test_embedding_distance_is_two_minus_two_cosines():
    student = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    teacher = np.array([[5.0, 0.0], [3.0, 0.0], [-1.0, -1.0]])
    expected = ((2 - 2 * 1) + (2 - 2 * 0) + (2 + 2)) / 3
    assert float(training.embedding_distance(student, teacher)) == pytest.approx(expected, rel=1e-6)


def test_relational_distance_compares_shapes_not_sizes():
    square = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    wider = np.concatenate([5 * square, np.zeros((4, 3))], axis=1)
    assert float(training.relational_distance(square, wider)) == pytest.approx(0.0, abs=1e-10)
    # Distances 1, 1, 2 over a mean of 4/3 against 1, 1, 1 over 1; each pair counts twice.
    line, triangle = [[0.0], [1], [2]], [[0.0, 0], [1, 0], [0.5, math.sqrt(0.75)]]
    expected = (2 * 0.5 * 0.25**2 + 0.5 * 0.5**2) / 3
    assert float(training.relational_distance(line, triangle)) == pytest.approx(expected, rel=1e-4)


IDENTICAL = [[0.6, 0.8]] * 4
DISTINCT = [[0.6, 0.8], [1.0, 0.0], [0.0, 1.0], [-0.6, 0.8]]
ONE = [[0.6, 0.8]]
EMPTY = np.zeros((0, 2))
BORDERS = [[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]]

CORNERS = {
    "triplet, identical": (lambda x, _: training.triplet_loss(x, x, x), IDENTICAL, None),
    "triplet, one": (lambda x, _: training.triplet_loss(x, x, -x), ONE, None),
    "triplet, empty": (lambda x, _: training.triplet_loss(x, x, x), EMPTY, None),
    "softmax, one": (training.softmax_cross_entropy, ONE, [0]),
    "softmax, empty": (training.softmax_cross_entropy, EMPTY, []),
    "arcface, cosines of 1": (softmax_loss_of(training.arcface_logits), BORDERS, [0, 0, 1, 1]),
    "arcface, one": (softmax_loss_of(training.arcface_logits), [[1.0, 0.0]], [0]),
    "arcface, empty": (softmax_loss_of(training.arcface_logits), EMPTY, []),
    "cosface, cosines of 1": (softmax_loss_of(training.cosface_logits), BORDERS, [0, 0, 1, 1]),
    "center, at the centre": (lambda x, y: training.center_loss(x, y, [[0.6, 0.8]]), IDENTICAL, [0] * 4),
    "center, empty": (lambda x, y: training.center_loss(x, y, [[0.6, 0.8]]), EMPTY, []),
    "norm, zeros": (lambda x, _: training.prelogits_norm(x), np.zeros((2, 3)), None),
    "norm, empty": (lambda x, _: training.prelogits_norm(x), EMPTY, None),
    "distillation, same": (lambda x, _: training.embedding_distance(x, x), IDENTICAL, None),
    "distillation, zeros": (lambda x, _: training.embedding_distance(x, DISTINCT), np.zeros((4, 2)), None),
    "distillation, empty": (lambda x, _: training.embedding_distance(x, x), EMPTY, None),
    "relations, identical": (lambda x, _: training.relational_distance(x, DISTINCT), IDENTICAL, None),
    "relations, one": (lambda x, _: training.relational_distance(x, ONE), ONE, None),
}
for miner_name, mine in {
    "semi-hard": lambda x, y: training.triplet_semihard(x, y)[0],
    "batch hard": lambda x, y: training.triplet_batch_hard(x, y)[0],
}.items():
    CORNERS[f"{miner_name}, identical"] = (mine, IDENTICAL, [0, 0, 1, 1])
    CORNERS[f"{miner_name}, no positive"] = (mine, DISTINCT, [0, 1, 2, 3])
    CORNERS[f"{miner_name}, no negative"] = (mine, DISTINCT, [0, 0, 0, 0])
    CORNERS[f"{miner_name}, one"] = (mine, ONE, [0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss_of", "values", "labels"), CORNERS.values(), ids=CORNERS)
def test_loss_and_gradient_are_finite_float32_at_the_corners(loss_of, values, labels, dtype):
    inputs = tf.constant(np.asarray(values), dtype)
    labels = None if labels is None else tf.constant(labels, tf.int32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = loss_of(inputs, labels)
    assert loss.dtype == tf.float32 and loss.shape == ()
    assert np.isfinite(float(loss))
    gradient = tape.gradient(loss, inputs, unconnected_gradients="zero")
    assert gradient.dtype == dtype
    assert np.all(np.isfinite(tf.cast(gradient, tf.float32)))
    if len(values) == 0:
        assert float(loss) == 0.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_low_precision_inputs_cost_what_their_rounded_values_do(dtype):
    rng = np.random.default_rng(3)
    embeddings = tf.cast(unit_rows(rng, 8, 16), dtype)
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    for loss in (training.triplet_semihard, training.triplet_batch_hard):
        exact = loss(tf.cast(embeddings, tf.float32), labels)[0]
        assert float(loss(embeddings, labels)[0]) == float(exact)


def test_triplet_gradient_pulls_the_positive_and_pushes_the_negative():
    anchor = tf.constant([[1.0, 0.0]])
    positive, negative = tf.Variable([[0.6, 0.8]]), tf.Variable([[0.8, 0.6]])
    with tf.GradientTape() as tape:
        loss = training.triplet_loss(anchor, positive, negative)
    towards_positive, towards_negative = tape.gradient(loss, [positive, negative])
    np.testing.assert_allclose(towards_positive, [[-0.4 / math.sqrt(0.8), 0.8 / math.sqrt(0.8)]])
    np.testing.assert_allclose(towards_negative, [[0.2 / math.sqrt(0.4), -0.6 / math.sqrt(0.4)]], rtol=1e-5)
