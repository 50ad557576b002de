import logging
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from nets.layers import BatchNormalization, PReLU, UpsampleLike
from nets.mtcnn import pnet
from utils.engine import conversion
from utils.engine import engine as engine_module
from utils.engine.engine import Engine, compile_engine

TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACES_CACHE", str(tmp_path))
    return tmp_path / "engine"


def randomise(model, seed=0):
    """Gives every weight, also the statistics of the normalisations, a telling value."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        positive = "variance" in weight.path or "gamma" in weight.path
        weight.assign(rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0, 0.3, weight.shape))
    return model


def recogniser():
    inputs = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="conv")(inputs)
    x = PReLU(name="prelu")(BatchNormalization(name="conv_bn")(x))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="dw")(x)
    x = layers.ReLU(max_value=6.0, name="relu6")(BatchNormalization(name="dw_bn")(x))
    x = layers.Dropout(0.5, name="dropout")(layers.Flatten(name="flatten")(x))
    x = layers.UnitNormalization(name="embedding")(layers.Dense(5, name="dense")(x))
    return randomise(keras.Model(inputs, x, name="recogniser"))


def detector():
    inputs = keras.Input((None, None, 3), name="image")
    fine = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="fine")(inputs)
    coarse = layers.Conv2D(8, 3, strides=2, padding="same", name="coarse")(fine)
    fine = layers.Add(name="merged")([UpsampleLike(name="upsampled")([coarse, fine]), fine])
    outputs = [  # The names fall in the alphabet, so that sorting them would show.
        layers.Concatenate(axis=1, name=name)(
            [
                layers.Reshape((-1, width), name=f"{name}_{level}")(
                    layers.Conv2D(2 * width, 1, name=f"{name}_{level}_conv")(x)
                )
                for level, x in (("fine", fine), ("coarse", coarse))
            ]
        )
        for name, width in (("zeta", 4), ("middle", 2), ("alpha", 10))
    ]
    return randomise(keras.Model(inputs, outputs, name="detector"))


def random_batch(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def check_same(got, model, batch):
    want = keras.tree.flatten(model(batch, training=False))
    got = got if isinstance(got, tuple) else (got,)
    assert [output.shape for output in got] == [tuple(output.shape) for output in want]
    for ours, theirs in zip(got, want, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["litert", "keras"])
def test_recogniser_answers_as_keras_for_any_batch(name):
    model = recogniser()
    run = compile_engine(model, name)
    assert run.name == name
    for count in (1, 3, 7, 2):
        batch = random_batch(count, 16, 16, 3, seed=count)
        check_same(run(batch), model, batch)
    assert run(random_batch(0, 16, 16, 3)).shape == (0, 5)


@pytest.mark.parametrize("name", ["litert", "keras"])
def test_detector_answers_as_keras_for_any_size_in_output_order(name):
    model = detector()
    run = compile_engine(model, name)
    for shape in ((1, 32, 64), (2, 64, 32), (1, 32, 64), (1, 17, 31), (3, 32, 64), (1, 96, 96)):
        batch = random_batch(*shape, 3)
        check_same(run(batch), model, batch)
    assert [output.shape for output in run(np.zeros((0, 32, 32, 3)))] == [(0, 640, 4), (0, 640, 2), (0, 640, 10)]


def test_float64_and_strided_batches_are_taken():
    model = recogniser()
    run = compile_engine(model, "litert")
    batch = random_batch(2, 16, 32, 3)[:, :, ::2].astype(np.float64)
    check_same(run(batch), model, batch.astype(np.float32))


def test_large_batches_run_in_parts():
    counts = []

    def run(batch):
        counts.append(len(batch))
        return (batch.sum(axis=(1, 2, 3)),)

    batch = random_batch(7, 2, 5, 3)
    sums = Engine("keras", run, {"shape": (None, 2, 5, 3)}, pixels=30)(batch)
    np.testing.assert_array_equal(sums, batch.sum(axis=(1, 2, 3)))
    assert counts == [3, 3, 1]
    Engine("keras", run, {"shape": (None, 2, 5, 3)}, pixels=1)(batch)
    assert counts[3:] == [1] * 7


@pytest.mark.parametrize("count, padded", [(1, 1), (2, 2), (3, 4), (5, 8)])
def test_gpu_batches_are_padded_to_powers_of_two(monkeypatch, count, padded):
    sizes = []
    model = recogniser()
    run = engine_module._keras_runner(model, pad=True)
    constant = tf.constant
    monkeypatch.setattr(tf, "constant", lambda x: sizes.append(len(x)) or constant(x))
    batch = random_batch(count, 16, 16, 3)
    check_same(run(batch), model, batch)
    assert sizes == [padded]


def test_auto_takes_the_function_on_a_gpu(monkeypatch):
    model = recogniser()
    assert compile_engine(model).name == "litert"
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert compile_engine(model).name == "keras"


@pytest.mark.parametrize("precision, share", [("float16", 0.01), ("int8", 0.1)])
def test_lower_precision_runs_on_litert_also_on_a_gpu(monkeypatch, precision, share):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    model = wide()
    run = compile_engine(model, precision=precision)
    assert run.name == "litert"
    batch = random_batch(3, 4, 4, 64)
    want = model(batch).numpy()
    assert 0 < np.abs(run(batch) - want).max() < share * np.abs(want).max()


def wide():
    """Has kernels that are large enough for a lower precision."""
    inputs = keras.Input((4, 4, 64), name="image")
    x = layers.Conv2D(32, 1, activation="relu", name="conv")(inputs)
    return randomise(keras.Model(inputs, layers.Conv2D(32, 1, name="head")(x), name="wide"))


@pytest.mark.parametrize("shape", [(16, 16, 3), (1, 16, 15, 3), (1, 16, 16, 1), (2, 16, 16)])
def test_wrong_batch_shape_is_an_error(shape):
    run = Engine("keras", None, {"shape": (None, 16, 16, 3)}, pixels=1)
    with pytest.raises(ValueError, match=r"shape \(N, 16, 16, 3\), not \(.*\)"):
        run(np.zeros(shape))


def test_empty_image_is_an_error():
    with pytest.raises(ValueError, match=r"shape \(N, any, any, 3\), not \(1, 0, 5, 3\)"):
        Engine("keras", None, {"shape": (None, None, None, 3)}, pixels=1)(np.zeros((1, 0, 5, 3)))


def test_bad_arguments_are_errors():
    with pytest.raises(ValueError, match="'tflite' is not one of auto, keras, litert"):
        compile_engine(recogniser(), "tflite")
    with pytest.raises(ValueError, match="'int4' is not one of float32, float16, int8"):
        compile_engine(recogniser(), precision="int4")
    with pytest.raises(ValueError, match="precision int8 needs engine litert or auto, not keras"):
        compile_engine(recogniser(), "keras", precision="int8")
    inputs = [keras.Input((2, 2, 3)), keras.Input((2, 2, 3))]
    with pytest.raises(ValueError, match="'pair' has 2"):
        compile_engine(keras.Model(inputs, layers.Add()(inputs), name="pair"))


def unconvertible(model):
    raise RuntimeError(f"no kernel\nfor {model.name}")


def test_auto_falls_back_with_one_line(monkeypatch, caplog):
    monkeypatch.setattr(conversion, "convert", unconvertible)
    model = recogniser()
    with caplog.at_level(logging.WARNING):
        run = compile_engine(model)
    assert run.name == "keras"
    assert len(caplog.messages) == 1
    assert "'recogniser': no kernel" in caplog.messages[0] and "\n" not in caplog.messages[0]
    batch = random_batch(2, 16, 16, 3)
    check_same(run(batch), model, batch)
    with pytest.raises(ValueError, match="LiteRT cannot run 'recogniser': no kernel"):
        compile_engine(model, "litert")
    with pytest.raises(ValueError, match="LiteRT cannot run 'recogniser': no kernel"):
        compile_engine(model, precision="int8")


def test_missing_package_is_named(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    assert compile_engine(recogniser()).name == "keras"
    assert "pip install ai-edge-litert" in caplog.messages[0]


def test_threads_share_an_engine():
    model = detector()
    run = compile_engine(model, "litert")
    batches = [random_batch(1, side, 64, 3, seed=side) for side in (32, 64, 48, 80)]
    answers = {}

    def work(place):
        answers[place] = [run(batches[place]) for _ in range(10)]

    workers = [threading.Thread(target=work, args=(place,)) for place in range(len(batches))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for place, batch in enumerate(batches):
        first, *others = answers[place]
        check_same(first, model, batch)
        for answer in others:
            for ours, theirs in zip(answer, first, strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_image_too_small_for_the_network_leaves_the_engine_usable():
    model = pnet()
    run = compile_engine(model, "litert")
    with pytest.raises(ValueError, match="image of height 4, width 5"):
        run(np.zeros((1, 4, 5, 3)))
    batch = random_batch(1, 20, 24, 3)
    check_same(run(batch), model, batch)
