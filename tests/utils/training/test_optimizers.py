import keras
import numpy as np
import pytest
import tensorflow as tf

from nets.layers import BatchNormalization, PReLU
from utils.training.optimizers import build_optimizer

NAMES = ["adam", "adamw", "sgd", "mom", "rmsprop", "adagrad", "adadelta"]


def run(optimizer, gradients, start=1.0):
    """Values of one weight after each gradient."""
    weight = keras.Variable(start)
    values = []
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [weight])
        values.append(float(weight))
    return values


@pytest.mark.parametrize("name", [*NAMES, "ADAM", "RMSPROP", "MOM"])
def test_every_name_goes_downhill(name):
    assert run(build_optimizer(name, 0.01), [0.5])[0] < 1.0


def test_unknown_name_lists_the_choices():
    with pytest.raises(ValueError, match="'adm'.*adam, adamw, sgd.*adadelta"):
        build_optimizer("adm", 0.1)


def test_nesterov_momentum_by_hand():
    # v = 0.9 v - 0.1 g; w += 0.9 v - 0.1 g.
    np.testing.assert_allclose(run(build_optimizer("sgd", 0.1), [1.0, 1.0]), [0.81, 0.539], rtol=1e-5)
    plain = build_optimizer("sgd", 0.1, momentum=0.0)
    np.testing.assert_allclose(run(plain, [1.0, 1.0]), [0.9, 0.8], rtol=1e-6)


def test_rmsprop_as_facenet_in_tensorflow():
    # s = 0.9 s + 0.1 g^2; v = 0.9 v + 0.1 g / sqrt(s + 1); w -= v.
    first = 0.1 * 2 / np.sqrt(0.4 + 1)
    second = 0.9 * first + 0.1 * 2 / np.sqrt(0.76 + 1)
    expected = [1 - first, 1 - first - second]
    np.testing.assert_allclose(run(build_optimizer("rmsprop", 0.1), [2.0, 2.0]), expected, rtol=1e-6)


def test_adagrad_starts_at_a_tenth():
    expected = 1 - 0.1 * 2 / np.sqrt(0.1 + 4)
    assert run(build_optimizer("adagrad", 0.1), [2.0])[0] == pytest.approx(expected, rel=1e-6)


def test_adadelta_by_hand():
    step = np.sqrt(1e-6) / np.sqrt(0.1 * 4 + 1e-6) * 2
    assert run(build_optimizer("adadelta", 1.0), [2.0])[0] == pytest.approx(1 - step, rel=1e-6)


def test_adam_takes_momentum_and_epsilon():
    # First step of Adam: rate * g / (|g| + epsilon / sqrt(1 - beta_2)).
    expected = 1 - 0.05 * 0.2 / (0.2 + 0.1 / np.sqrt(0.001))
    weight = run(build_optimizer("adam", 0.05, momentum=0.8, epsilon=0.1), [0.2])[0]
    assert weight == pytest.approx(expected, rel=1e-5)
    assert build_optimizer("adam", 0.1, momentum=0.8).beta_1 == 0.8
    with pytest.raises(ValueError, match="no epsilon"):
        build_optimizer("sgd", 0.1, epsilon=0.1)


def test_clipnorm_bounds_the_gradient():
    optimizer = build_optimizer("sgd", 1.0, momentum=0.0, clipnorm=0.25)
    assert run(optimizer, [8.0])[0] == pytest.approx(0.75)


@pytest.fixture(scope="module")
def network():
    """A network with every kind of weight, its layers named like weights that are not decayed."""
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(3, 3, name="beta_conv")(inputs)
    x = BatchNormalization(name="bn")(x)
    x = PReLU(name="alpha")(x)
    x = keras.layers.DepthwiseConv2D(3, use_bias=False, name="gamma_dw")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="bias")(x))


DECAYED = {"beta_conv/kernel", "gamma_dw/kernel", "bias/kernel"}


@pytest.mark.parametrize("name", NAMES)
def test_decay_shrinks_kernels_by_rate_times_decay_and_nothing_else(network, name):
    variables = network.trainable_variables
    for variable in variables:
        variable.assign(tf.ones(variable.shape))
    optimizer = build_optimizer(name, 0.1, weight_decay=0.2)
    zeros = [tf.zeros(variable.shape) for variable in variables]
    optimizer.apply(zeros, variables)
    for variable in variables:
        expected = 0.98 if variable.path in DECAYED else 1.0
        np.testing.assert_allclose(variable, np.full(variable.shape, expected), rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_no_decay_moves_nothing(network, name):
    variables = network.trainable_variables
    before = [variable.numpy() for variable in variables]
    optimizer = build_optimizer(name, 0.1)
    optimizer.apply([tf.zeros(variable.shape) for variable in variables], variables)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def penalty_step(optimizer, weight, decay):
    """A step down the originals' L2 penalty."""
    with tf.GradientTape() as tape:
        penalty = 0.5 * decay * tf.square(weight.value)
    optimizer.apply([tape.gradient(penalty, weight.value)], [weight])


def test_a_penalty_is_the_decay_of_plain_sgd_and_faster_under_momentum():
    weight = keras.Variable(1.0, name="kernel")
    penalty_step(build_optimizer("sgd", 0.1, momentum=0.0), weight, 0.2)
    assert float(weight) == pytest.approx(0.98)
    # Over many steps a momentum of 0.9 decays ten times as fast: the docstring's rule.
    slow, fast = keras.Variable(1.0, name="kernel"), keras.Variable(1.0, name="kernel")
    decoupled = build_optimizer("sgd", 0.1, weight_decay=5e-2)
    coupled = build_optimizer("sgd", 0.1)
    for _ in range(100):
        decoupled.apply([tf.constant(0.0)], [slow])
        penalty_step(coupled, fast, 5e-3)
    assert np.log(fast.numpy()) == pytest.approx(np.log(slow.numpy()), rel=0.1)
