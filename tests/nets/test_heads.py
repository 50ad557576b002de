import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from nets.heads import ArcMargin, move_centers, sample_classes
from nets.recognition_losses import arcface_logits, center_update, softmax_cross_entropy

ROOT = Path(__file__).resolve().parents[2]


def built_head(num_classes, size=4, **settings):
    head = ArcMargin(num_classes, **settings)
    head.build((None, size))
    return head


@pytest.fixture(params=["float32", "mixed_float16", "mixed_bfloat16"])
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


# ---- the whole head


def test_arc_margin_by_hand():
    head = built_head(3, size=2)
    head.W.assign([[2.0, 0.0, 3.0], [0.0, -5.0, 4.0]])
    cosine = head(tf.constant([[10.0, 0.0], [0.6, 0.8]]))
    np.testing.assert_allclose(cosine, [[1.0, 0.0, 0.6], [0.6, -0.8, 1.0]], atol=2e-7)


def test_arc_margin_stays_inside_minus_one_to_one():
    head = built_head(1)
    head.W.assign(np.full((4, 1), 0.3))
    cosine = head(tf.constant([[0.3] * 4, [-0.3] * 4])).numpy()
    assert np.all(np.abs(cosine) < 1.0)
    np.testing.assert_allclose(cosine, [[1.0], [-1.0]], atol=2e-7)


def test_heads_are_float32_under_any_policy(policy):
    embeddings = tf.cast(tf.ones((2, 4)), keras.config.dtype_policy().compute_dtype)
    head = ArcMargin(3)
    assert head(embeddings).dtype == tf.float32
    assert all(weight.dtype == "float32" for weight in head.weights)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("row", [[0.0] * 4, [0.5] * 4, [-0.5] * 4], ids=["zero", "same", "opposite"])
def test_gradient_through_head_and_margin_is_finite(row, dtype):
    head = built_head(3)
    head.W.assign([[0.5, 1.0, 0.0], [0.5, 0.0, 1.0], [0.5, 0.0, 0.0], [0.5, 0.0, 0.0]])
    embeddings = tf.constant([row], dtype)
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        loss = softmax_cross_entropy(arcface_logits(head(embeddings), [0]), [0])
    for gradient in tape.gradient(loss, [embeddings, head.W.value]):
        assert np.all(np.isfinite(tf.cast(gradient, tf.float32)))


def test_heads_survive_saving(tmp_path):
    inputs = keras.Input((4,))
    scores = ArcMargin(5, sample_rate=0.4, name="Scores")(inputs)
    model = keras.Model(inputs, [scores, keras.layers.Dense(5)(inputs)])
    model.save(tmp_path / "heads.keras")
    again = keras.saving.load_model(tmp_path / "heads.keras")
    assert again.get_layer("Scores").sample_rate == 0.4
    assert [tuple(output.shape) for output in again.outputs] == [(None, 5), (None, 5)]
    embeddings = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    for before, after in zip(model(embeddings), again(embeddings), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1])
def test_sample_rate_outside_its_range_is_an_error(rate):
    with pytest.raises(ValueError, match="sample_rate"):
        ArcMargin(3, sample_rate=rate)


# ---- sampled classes


@pytest.mark.parametrize("num_sampled", [4, 7, 20])
def test_sample_classes_keeps_every_positive_and_remaps_it(num_sampled):
    labels = np.array([3, 17, 3, 0])
    for step in range(20):
        classes, places = sample_classes(labels, 20, num_sampled, [5, step])
        assert classes.shape == (num_sampled,)
        assert np.all(np.diff(classes) > 0)  # ascending and without repeats
        np.testing.assert_array_equal(classes.numpy()[places], labels)


def test_sample_classes_grows_to_the_classes_of_the_batch():
    classes, places = sample_classes(np.array([8, 2, 5, 2]), 9, 2, [0, 0])
    np.testing.assert_array_equal(classes, [2, 5, 8])
    np.testing.assert_array_equal(places, [2, 0, 1, 0])


def test_sample_classes_follows_the_seed_alone():
    graph = tf.function(
        lambda labels, seed: sample_classes(labels, 1000, 50, seed),
        input_signature=[tf.TensorSpec((None,), tf.int64), tf.TensorSpec((2,), tf.int32)],
    )
    labels = np.array([1, 999])
    eager = sample_classes(labels, 1000, 50, [1, 2])[0]
    np.testing.assert_array_equal(graph(labels, [1, 2])[0], eager)
    np.testing.assert_array_equal(sample_classes(labels, 1000, 50, [1, 2])[0], eager)
    assert not np.array_equal(graph(labels, [1, 3])[0], eager)


def test_sample_classes_draws_all_negatives_alike():
    draw = tf.function(lambda step: sample_classes([0], 10, 4, tf.stack([7, step]))[0])
    counts = np.bincount(np.concatenate([draw(step) for step in tf.range(300)]), minlength=10)
    assert counts[0] == 300
    # 100 expected of each of the other nine; four standard deviations are 33.
    assert np.all(np.abs(counts[1:] - 100) < 33)


def head_gradients(head, cosine_of, embeddings):
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        cosine, labels = cosine_of(head)
        loss = softmax_cross_entropy(arcface_logits(cosine, labels), labels)
    return loss, *tape.gradient(loss, [embeddings, head.W.value])


def test_sampling_all_classes_is_the_full_head():
    embeddings = tf.random.stateless_normal((3, 4), [0, 1])
    labels = tf.constant([2, 0, 2])
    head = built_head(6, sample_rate=1.0)
    full = head_gradients(head, lambda h: (h(embeddings), labels), embeddings)
    sampled = head_gradients(head, lambda h: h.sampled(embeddings, labels, [0, 0]), embeddings)
    for one, other in zip(full, sampled, strict=True):
        np.testing.assert_array_equal(one, other)


def test_sampled_head_equals_the_full_head_on_its_columns_and_leaves_others_alone():
    embeddings = tf.random.stateless_normal((3, 4), [0, 1])
    labels, seed = tf.constant([2, 11, 2]), [4, 9]
    head = built_head(12, sample_rate=0.5)
    classes, places = sample_classes(labels, 12, 6, seed)
    cosine, columns = head.sampled(embeddings, labels, seed)
    np.testing.assert_array_equal(columns, places)
    np.testing.assert_allclose(cosine, head(embeddings).numpy()[:, classes], atol=1e-6)
    gradient = head_gradients(head, lambda h: h.sampled(embeddings, labels, seed), embeddings)[2]
    touched = np.any(gradient.numpy() != 0, axis=0)
    np.testing.assert_array_equal(np.flatnonzero(touched), classes)


def test_sampled_head_trains_in_a_graph():
    head = built_head(40, sample_rate=0.25)
    optimizer = keras.optimizers.SGD(1.0)
    embeddings = tf.random.stateless_normal((4, 4), [3, 3])
    labels = tf.constant([1, 2, 3, 4], tf.int64)

    @tf.function
    def train_step(step):
        with tf.GradientTape() as tape:
            cosine, places = head.sampled(embeddings, labels, tf.stack([0, step]))
            loss = softmax_cross_entropy(arcface_logits(cosine, places, scale=8.0), places)
        weights = head.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    losses = [float(train_step(tf.constant(step))) for step in range(40)]
    assert losses[-1] < 0.5 * losses[0]


# ---- centres


def test_centers_move_by_center_update():
    centers = tf.Variable(tf.zeros((5, 3)), trainable=False)
    embeddings = tf.random.stateless_normal((4, 3), [1, 1])
    labels = np.array([0, 4, 0, 2])
    expected = np.zeros((5, 3), np.float32)
    for _ in range(3):
        move_centers(centers, embeddings, labels, 0.4)
        expected = center_update(expected, embeddings, labels, 0.4)
    np.testing.assert_allclose(centers, expected, atol=1e-7)


TWO_REPLICAS = """
import tensorflow as tf
device = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)
import numpy as np
from nets.recognition_losses import center_update
from nets.heads import move_centers

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    first = tf.VariableAggregation.ONLY_FIRST_REPLICA
    centers = tf.Variable(tf.zeros((3, 2)), trainable=False, aggregation=first)
embeddings = np.arange(8, dtype=np.float32).reshape(4, 2)
labels = np.array([0, 1, 0, 0], np.int32)
halves = tf.data.Dataset.from_tensor_slices((embeddings, labels)).batch(4)
for batch in strategy.experimental_distribute_dataset(halves):
    strategy.run(lambda *batch: move_centers(centers, *batch, 0.5), batch)
expected = center_update(np.zeros((3, 2)), embeddings, labels)
for copy in strategy.experimental_local_results(centers):
    np.testing.assert_allclose(copy, expected, atol=1e-6)
"""


def test_centers_see_the_batch_of_all_replicas():
    subprocess.run([sys.executable, "-c", TWO_REPLICAS], cwd=ROOT, check=True, timeout=120)
