import collections

import keras
import numpy as np
import pytest
from keras import layers

from nets.layers import PReLU
from tests.utils.engine.small_network import check, images, network
from utils.engine import conversion
from utils.engine.conversion import fingerprint
from utils.engine.litert import Interpreters


@pytest.mark.parametrize("nested", [False, True])
def test_prelu_is_one_op(nested):
    inputs = keras.Input((8, 8, 3), name="image")
    model = keras.Model(inputs, PReLU(name="prelu")(layers.Conv2D(4, 3, name="conv")(inputs)))
    model.get_layer("prelu").alpha.assign(np.float32([[[0.1, 0.2, 0.3, -0.4]]]))
    if nested:
        inputs = keras.Input((8, 8, 3), name="image")
        model = keras.Model(inputs, model(inputs))
    run = Interpreters(conversion.convert(model), 1, 1)
    check(run, model, images())
    ((interpreter, _),) = run._kept.values()
    kinds = collections.Counter(op["op_name"] for op in interpreter._get_ops_details())
    assert kinds == {"CONV_2D": 1, "PRELU": 1, "DELEGATE": 1}


def test_fingerprint_follows_weights_layers_and_input():
    model = network()
    name = fingerprint(model)
    assert fingerprint(network()) == name
    assert len({name, fingerprint(network(5)), fingerprint(network(side=8))}) == 3
    weights = model.get_weights()
    weights[0].flat[0] += 1e-6
    model.set_weights(weights)
    assert fingerprint(model) != name


def test_normalisation_is_folded_and_xnnpack_takes_all():
    run = Interpreters(conversion.convert(network()), 1, 1)
    run(images())
    ((interpreter, _),) = run._kept.values()
    kinds = collections.Counter(op["op_name"] for op in interpreter._get_ops_details())
    assert kinds == {"CONV_2D": 2, "DELEGATE": 1}
