import keras
import numpy as np
import tensorflow as tf

from utils.training.trainer import Trainer


class Line(Trainer):
    """Fits y = w x; one weight."""

    loss_names = ("square", "error")

    def losses(self, batch, training):
        error = self.network(batch["image"])[:, 0] - batch["label"]
        return {"square": tf.reduce_mean(error**2), "_error": tf.reduce_mean(tf.abs(error))}


BATCH = {"image": [[1.0], [1.0]], "label": [1.0, 1.0], "index": tf.constant([7, 8], tf.int64)}


def train(steps, ema):
    inputs = keras.Input((1,))
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    trainer = Line(keras.Model(inputs, dense(inputs)), ema)
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    trainer.make_train_function()
    stream = iter(tf.data.Dataset.from_tensors(BATCH).repeat())
    logs = [trainer.train_function(stream) for _ in range(steps)]
    return trainer, logs


def test_steps_and_reported_losses_by_hand():
    trainer, logs = train(2, ema=0.0)
    # w: 0 -> 0.2 -> 0.36; squares 1 and 0.64, errors 1 and 0.8, reported as running means
    np.testing.assert_allclose(trainer.network.get_weights()[0], [[0.36]], rtol=1e-6)
    np.testing.assert_allclose([logs[0]["loss"], logs[1]["loss"]], [1.0, 0.82], rtol=1e-6)
    np.testing.assert_allclose(logs[1]["error"], 0.9, rtol=1e-6)
    assert int(trainer.position) == 9 and int(trainer.updates) == 2
    assert trainer.index.numpy().tolist() == [7, 8]


def test_moving_average_by_hand():
    trainer, _ = train(2, ema=0.1)
    # kept shares: min(0.1, 1 / 11) and min(0.1, 2 / 12)
    first = (1 - 1 / 11) * 0.2
    expected = 0.1 * first + 0.9 * 0.36
    with trainer.averaged():
        np.testing.assert_allclose(trainer.network.get_weights()[0], [[expected]], rtol=1e-6)
    np.testing.assert_allclose(trainer.network.get_weights()[0], [[0.36]], rtol=1e-6)


def test_the_average_is_what_is_evaluated():
    trainer, _ = train(2, ema=0.1)
    with trainer.averaged():
        weight = float(trainer.network.get_weights()[0][0, 0])
    logs = trainer.evaluate(tf.data.Dataset.from_tensors(BATCH), return_dict=True, verbose=0)
    np.testing.assert_allclose(logs["square"], (1 - weight) ** 2, rtol=1e-5)


def test_a_new_optimizer_does_not_make_the_average_young_again():
    trainer, _ = train(30, ema=0.9)
    trainer.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    trainer.make_train_function(force=True)
    trainer.network.set_weights([np.float32([[5.0]])])
    before = trainer.averages[0].numpy().item()
    trainer.train_function(iter(tf.data.Dataset.from_tensors(BATCH)))
    kept = 31 / 41
    np.testing.assert_allclose(trainer.averages[0].numpy().item(), kept * before + (1 - kept) * 5, rtol=1e-5)
