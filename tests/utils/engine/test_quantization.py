import collections

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

from utils.engine.conversion import convert
from utils.engine.litert import Interpreters
from utils.engine.quantization import quantize, round_to_int8


@pytest.fixture(scope="module")
def network():
    """Has a depthwise, a large and a small convolution, a dense layer and a large slope."""
    inputs = keras.Input((12, 12, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="small")(inputs)
    x = layers.PReLU(name="prelu")(x)  # 12 x 12 x 8 slopes
    x = layers.Conv2D(160, 1, name="large")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Dense(20, name="dense")(layers.Flatten(name="flatten")(x))
    model = keras.Model(inputs, x, name="network")
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.3, weight.shape) for weight in model.weights])
    return model


@pytest.fixture(scope="module")
def content(network):
    return convert(network)


def kinds_of_weights(content):
    """Type of each operator's weights, or "" for one without."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    types = {value: name for name, value in vars(schema.TensorType).items()}
    (graph,) = model.subgraphs
    return {
        (names[model.operatorCodes[op.opcodeIndex].builtinCode], types[tensor.type])
        for op in graph.operators
        if len(op.inputs) > 1
        for tensor in [graph.tensors[op.inputs[1]]]
    }


def test_rounding_by_hand():
    rounded, scales = round_to_int8(np.float32([[[1.27, -0.634]], [[0, 0]], [[-254, 127]]]))
    np.testing.assert_array_equal(rounded, [[[127, -63]], [[0, 0]], [[-127, 64]]])
    np.testing.assert_allclose(scales, [0.01, 1, 2])
    assert rounded.dtype == np.int8


def test_int8_takes_convolutions_and_dense_layers_only(content):
    found = kinds_of_weights(quantize(content, "int8"))
    assert {("CONV_2D", "INT8"), ("FULLY_CONNECTED", "INT8")} <= found
    assert {("DEPTHWISE_CONV_2D", "FLOAT32"), ("PRELU", "FLOAT32")} <= found


def test_int8_is_the_network_with_rounded_kernels(network, content):
    """XNNPACK rounds the inputs of each layer as well: 8 bits of the range they have."""
    rounded = keras.models.clone_model(network)
    rounded.set_weights(network.get_weights())
    for name in ("large", "dense"):
        kernel = rounded.get_layer(name).kernel
        by_channel = np.moveaxis(kernel.numpy(), -1, 0)
        values, scales = round_to_int8(by_channel)
        scales = scales.reshape(-1, *[1] * (by_channel.ndim - 1))
        kernel.assign(np.moveaxis(values * scales, 0, -1))
    images = np.random.default_rng(1).normal(size=(4, 12, 12, 3)).astype(np.float32)
    (got,) = Interpreters(quantize(content, "int8"), 1, 1)(images)
    want = rounded(images, training=False).numpy()
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


def test_float16_is_the_network_with_rounded_weights(network, content):
    halved = keras.models.clone_model(network)
    halved.set_weights([w.astype(np.float16) if w.size >= 1024 else w for w in network.get_weights()])
    images = np.random.default_rng(1).normal(size=(4, 12, 12, 3)).astype(np.float32)
    (got,) = Interpreters(quantize(content, "float16"), 1, 1)(images)
    want = halved(images, training=False).numpy()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_weights_beyond_float16_stay_float32():
    inputs = keras.Input((4, 4, 32), name="image")
    model = keras.Model(inputs, layers.Conv2D(64, 1, use_bias=False, name="conv")(inputs))
    model.layers[1].kernel.assign(np.full((1, 1, 32, 64), 1e5))
    (got,) = Interpreters(quantize(convert(model), "float16"), 1, 1)(np.ones((1, 4, 4, 32), np.float32))
    np.testing.assert_allclose(got, 32e5)


@pytest.mark.parametrize("precision, share", [("float32", 1), ("float16", 0.5), ("int8", 0.25)])
def test_size_and_one_delegate(content, precision, share):
    small = quantize(content, precision)
    assert len(small) < share * len(content) + 2**14
    run = Interpreters(small, 1, 1)
    run(np.zeros((1, 12, 12, 3), np.float32))
    ((interpreter, _),) = run._kept.values()
    kinds = collections.Counter(op["op_name"] for op in interpreter._get_ops_details())
    assert kinds["DELEGATE"] <= 2  # XNNPACK takes all; the reshape's shape splits them in two


def test_unknown_precision_is_an_error():
    with pytest.raises(ValueError, match="precision 'int4' is not one of float32, float16, int8"):
        quantize(b"", "int4")
