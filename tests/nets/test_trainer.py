import keras
import numpy as np
import tensorflow as tf

from nets.trainer import Trainer


class Line(Trainer):
    """Fits y = w x; one weight."""

    loss_names = ("square", "error")

    def losses(self, batch, training):
        error = self.network(batch["image"])[:, 0] - batch["label"]
        return {"square": tf.reduce_mean(error**2), "_error": tf.reduce_mean(tf.abs(error))}


def train(steps, ema):
    inputs = keras.Input((1,))
    dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
    trainer = Line(keras.Model(inputs, dense(inputs)), ema)
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    trainer.make_train_function()
    batch = {"image": [[1.0], [1.0]], "label": [1.0, 1.0], "index": tf.constant([7, 8], tf.int64)}
    stream = iter(tf.data.Dataset.from_tensors(batch).repeat())
    logs = [trainer.train_function(stream) for _ in range(steps)]
    return trainer, logs


def test_steps_and_reported_losses_by_hand():
    trainer, logs = train(2, ema=0.0)
    # w: 0 -> 0.2 -> 0.36; squares 1 and 0.64, errors 1 and 0.8, reported as running means
    np.testing.assert_allclose(trainer.network.get_weights()[0], [[0.36]], rtol=1e-6)
    np.testing.assert_allclose([logs[0]["loss"], logs[1]["loss"]], [1.0, 0.82], rtol=1e-6)
    np.testing.assert_allclose(logs[1]["error"], 0.9, rtol=1e-6)
    assert int(trainer.position) == 9 and trainer.index.numpy().tolist() == [7, 8]


def test_moving_average_by_hand():
    trainer, _ = train(2, ema=0.1)
    # kept shares: min(0.1, 1 / 11) and min(0.1, 2 / 12)
    first = (1 - 1 / 11) * 0.2
    expected = 0.1 * first + 0.9 * 0.36
    with trainer.averaged():
        np.testing.assert_allclose(trainer.network.get_weights()[0], [[expected]], rtol=1e-6)
    np.testing.assert_allclose(trainer.network.get_weights()[0], [[0.36]], rtol=1e-6)
