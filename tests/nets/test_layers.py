import keras
import numpy as np
import pytest
import tensorflow as tf

from nets.layers import BatchNormalization, PReLU, Scale, UpsampleLike, strided_padding

# (B, H, W) whose unbiased variance is n / (n - 1) of the biased one, n = 2 * 5 * 7
SHAPE, COUNT = (2, 5, 7, 6), 70


def maps(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(2, 3, shape).astype(np.float32)


def twins(shape=SHAPE, **settings):
    """Our layer and Keras's with the same random weights."""
    pair = BatchNormalization(**settings), keras.layers.BatchNormalization(**settings)
    for layer in pair:
        layer.build(shape)
    rng = np.random.default_rng(1)
    weights = [rng.uniform(0.5, 1.5, w.shape).astype(np.float32) for w in pair[0].weights]
    for layer in pair:
        layer.set_weights(weights)
    return pair


def test_weights_have_the_names_and_the_order_of_keras():
    ours, theirs = twins()
    assert [w.name for w in ours.weights] == [w.name for w in theirs.weights]


@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}, {"epsilon": 1e-5}])
@pytest.mark.parametrize("training", [False, True])
def test_fused_normalisation_equals_keras(settings, training):
    ours, theirs = twins(**settings)
    expected = theirs(maps(), training=training)
    np.testing.assert_allclose(ours(maps(), training=training), expected, rtol=1e-4, atol=1e-5)


def test_hand_worked_inference():
    layer = BatchNormalization(epsilon=0.75)
    layer.build((1, 1, 1, 1))
    layer.set_weights([np.float32([3]), np.float32([1]), np.float32([2]), np.float32([3.25])])
    # 3 * (6 - 2) / sqrt(3.25 + 0.75) + 1
    assert float(layer(np.float32([[[[6]]]]))[0, 0, 0, 0]) == pytest.approx(7, rel=1e-5)


def test_training_moves_the_statistics_with_the_unbiased_variance():
    ours, theirs = twins(momentum=0.9)
    mean, variance = ours.moving_mean.numpy(), ours.moving_variance.numpy()
    for layer in (ours, theirs):
        layer(maps(), training=True)
    biased = maps().var(axis=(0, 1, 2))
    unbiased = biased * COUNT / (COUNT - 1)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)
    np.testing.assert_allclose(ours.moving_mean, 0.9 * mean + 0.1 * maps().mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(ours.moving_variance, 0.9 * variance + 0.1 * unbiased, rtol=1e-5)
    # Keras 3 takes the biased one: the one known difference
    np.testing.assert_allclose(theirs.moving_variance, 0.9 * variance + 0.1 * biased, rtol=1e-5)


def test_frozen_layer_uses_and_keeps_its_statistics():
    layer, _ = twins()
    layer.trainable = False
    before = layer.get_weights()
    outputs = layer(maps(), training=True)
    np.testing.assert_array_equal(outputs, layer(maps(), training=False))
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("training", [False, True])
def test_gradients_agree_with_keras(training):
    results = []
    for layer in twins(epsilon=1e-5):
        inputs = tf.constant(maps())
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(tf.sin(layer(inputs, training=training)))
        results.append(tape.gradient(loss, [inputs, *layer.trainable_weights]))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("policy", "digits"), [("mixed_float16", 1e-2), ("mixed_bfloat16", 6e-2)])
@pytest.mark.parametrize("training", [False, True])
def test_mixed_precision_keeps_statistics_in_float32(policy, digits, training):
    layer, theirs = twins(dtype=policy, momentum=0.9)
    outputs = layer(maps(), training=training)
    assert outputs.dtype == layer.compute_dtype
    assert {w.dtype for w in layer.weights} == {"float32"}
    expected = np.asarray(theirs(maps(), training=training), np.float32)
    np.testing.assert_allclose(np.asarray(outputs, np.float32), expected, rtol=digits, atol=digits)
    np.testing.assert_allclose(layer.moving_mean, theirs.moving_mean, rtol=2e-3)


@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 6)])
def test_other_ranks_take_the_path_of_keras(shape):
    ours, theirs = twins(shape)
    for training in (True, False):
        expected = theirs(maps(shape), training=training)
        np.testing.assert_allclose(ours(maps(shape), training=training), expected, rtol=1e-5)
    np.testing.assert_allclose(ours.moving_variance, theirs.moving_variance, rtol=1e-6)


def test_synchronized_layer_takes_the_path_of_keras():
    ours, theirs = twins(synchronized=True)
    for layer in (ours, theirs):
        layer(maps(), training=True)
    np.testing.assert_allclose(ours.moving_variance, theirs.moving_variance, rtol=1e-6)


def test_a_map_of_one_pixel_stays_finite():
    layer, _ = twins((1, 1, 1, 6))
    layer(maps((1, 1, 1, 6)), training=True)
    assert all(np.isfinite(w).all() for w in layer.get_weights())


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 5)])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_prelu_equals_keras(shape, policy):
    axes = [1, 2] if len(shape) == 4 else None
    pair = (PReLU(shared_axes=axes, dtype=policy), keras.layers.PReLU(shared_axes=axes, dtype=policy))
    alpha = np.linspace(-0.5, 0.5, shape[-1]).astype(np.float32)
    results = []
    for layer in pair:
        layer.build(shape)
        layer.set_weights([alpha.reshape(layer.alpha.shape)])
        inputs = tf.constant(maps(shape) - 2)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
        gradients = tape.gradient(outputs, [inputs, layer.alpha])
        results.append([np.asarray(t, np.float32) for t in (outputs, *gradients)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2 if "16" in policy else 1e-6)


def test_prelu_starts_at_a_quarter_with_one_slope_a_channel():
    layer = PReLU()
    layer.build((None, 4, 4, 3))
    np.testing.assert_array_equal(layer.alpha, np.full((1, 1, 3), 0.25, np.float32))
    np.testing.assert_array_equal(layer(np.float32([-8, 0, 8]).reshape(1, 1, 1, 3))[0, 0, 0], [-2, 0, 8])


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        ([[1, 2], [3, 4]], [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]),
        ([[1, 2], [3, 4]], [[1, 2, 2], [3, 4, 4], [3, 4, 4]]),
        ([[1, 2, 3]], [[1, 1, 2, 3, 3]]),
        ([[7]], [[7, 7, 7], [7, 7, 7]]),
    ],
)
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_upsample_to_even_and_odd_sizes(source, rows, policy):
    source, rows = np.float32(source)[None, ..., None], np.float32(rows)
    target = np.zeros((1, *rows.shape, 9), np.float32)
    layer = UpsampleLike(dtype=policy)
    outputs = layer([source, target])
    assert outputs.dtype == layer.compute_dtype
    np.testing.assert_array_equal(np.asarray(outputs, np.float32)[0, ..., 0], rows)


def test_upsample_knows_its_shape_before_it_runs():
    source, target = keras.Input((None, None, 8)), keras.Input((None, 5, 4))
    assert UpsampleLike()([source, target]).shape == (None, None, 5, 8)


def test_scale_multiplies():
    np.testing.assert_array_equal(Scale(0.5)(np.float32([2, -4])), [1, -2])


def test_every_layer_survives_its_config_and_a_keras_file(tmp_path):
    inputs = keras.Input((6, 6, 4), name="image")
    x = BatchNormalization(momentum=0.9, epsilon=1e-5, scale=False, name="norm")(inputs)
    x = PReLU(name="prelu")(x)
    x = Scale(0.17, name="scale")(x)
    small = keras.layers.MaxPooling2D(2, name="pool")(x)
    x = keras.layers.Add(name="add")([UpsampleLike(name="up")([small, x]), x])
    dense = PReLU(shared_axes=None, name="dense")(keras.layers.Flatten(name="flat")(x))
    model = keras.Model(inputs, dense)
    model.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    images = maps((2, 6, 6, 4))
    np.testing.assert_array_equal(model(images), again(images))
    for name in ("norm", "prelu", "scale", "up", "dense"):
        ours, loaded = model.get_layer(name), again.get_layer(name)
        assert type(loaded) is type(ours) and loaded.get_config() == ours.get_config()
    assert again.get_layer("scale").factor == 0.17
    assert again.get_layer("norm").epsilon == 1e-5 and not again.get_layer("norm").scale


def test_strided_padding_pads_nothing_at_stride_1():
    inputs = keras.Input((8, 8, 1))
    x, padding = strided_padding(inputs, 3, 1, True, "conv")
    assert x is inputs and padding == "same"


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("kernel", [3, 7])
@pytest.mark.parametrize("symmetric", [False, True])
def test_strided_padding_halves_the_map(size, kernel, symmetric):
    inputs = keras.Input((size, size, 1))
    x, padding = strided_padding(inputs, kernel, 2, symmetric, "conv")
    x = keras.layers.Conv2D(1, kernel, strides=2, padding=padding, name="conv")(x)
    assert x.shape[1:3] == (-(-size // 2), -(-size // 2))


def test_symmetric_padding_looks_where_pytorch_looks():
    # a kernel that copies its top left pixel: PyTorch's first window starts in the padding
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[0, 0] = 1
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    results = []
    for symmetric in (False, True):
        inputs = keras.Input((4, 4, 1))
        x, padding = strided_padding(inputs, 3, 2, symmetric, "conv")
        conv = keras.layers.Conv2D(1, 3, 2, padding, use_bias=False, name="conv")
        model = keras.Model(inputs, conv(x))
        conv.set_weights([kernel])
        results.append(np.asarray(model(image))[0, ..., 0])
    np.testing.assert_array_equal(results[0], [[0, 2], [8, 10]])
    np.testing.assert_array_equal(results[1], [[0, 0], [0, 5]])
