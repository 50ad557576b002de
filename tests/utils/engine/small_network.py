import keras
import numpy as np
from keras import layers

from nets.layers import BatchNormalization
from utils.engine.conversion import fingerprint
from utils.engine.litert import Interpreters
from utils.engine.network import Built, Network


def network(filters=4, side=None):
    inputs = keras.Input((side, side, 3), name="image")
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.ReLU(name="relu")(BatchNormalization(name="bn")(x))
    x = layers.Dropout(0.5, name="dropout")(x)  # Its random seed is no part of the fingerprint.
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="head")(x), name="network")
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in model.weights])
    return model


def images(side=8, count=1):
    return np.random.default_rng(1).normal(size=(count, side, side, 3)).astype(np.float32)


def check(run, model, batch):
    np.testing.assert_allclose(run(batch)[0], model(batch, training=False), rtol=0, atol=1e-4)


def source(model):
    """A Network of a Keras model that is there already."""
    return Network(model.name, fingerprint(model), lambda: Built(model, {}))


def litert(model, precision="float32", sizes=2):
    """The network on LiteRT, one thread."""
    return Interpreters(source(model).compiled(precision).content, 1, sizes)
