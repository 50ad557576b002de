import collections
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

from nets.layers import BatchNormalization, PReLU
from utils.engine import litert
from utils.engine.litert import Interpreters, compile_litert, fingerprint


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACES_CACHE", str(tmp_path))
    return tmp_path / "engine"


@pytest.fixture
def conversions(monkeypatch):
    """Counts the conversions."""
    done, convert = [], litert.convert
    monkeypatch.setattr(litert, "convert", lambda model: done.append(model.name) or convert(model))
    return done


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


def test_second_start_takes_the_cached_conversion(conversions, cache):
    model = network()
    check(compile_litert(model, 1, 2), model, images())
    check(compile_litert(network(), 1, 2), model, images())
    assert conversions == ["network"]
    assert [path.suffix for path in cache.iterdir()] == [".tflite"]


@pytest.mark.parametrize("damage", [b"", b"short", "cut", "flip"])
def test_damaged_cache_file_is_converted_again(conversions, cache, caplog, damage):
    model = network()
    compile_litert(model, 1, 2)
    (path,) = cache.iterdir()
    stored = bytearray(path.read_bytes())
    if damage == "flip":
        stored[len(stored) // 2] ^= 1
    path.write_bytes({"flip": stored, "cut": stored[:-100]}.get(damage, damage))
    check(compile_litert(model, 1, 2), model, images())
    compile_litert(model, 1, 2)
    assert len(conversions) == 2 and not caplog.records


def test_without_a_writable_folder_it_lives_in_memory(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("FACES_CACHE", str(tmp_path / "file"))
    model = network()
    check(compile_litert(model, 1, 2), model, images())
    assert not caplog.records
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_oldest_conversions_make_room(monkeypatch, cache):
    monkeypatch.setattr("utils.files.cache.CACHE_BYTES", 300)
    for age, name in enumerate("dcba"):
        litert.write_cache(cache / f"{name}.tflite", b"x" * 68)
        os.utime(cache / f"{name}.tflite", (1000 - age, 1000 - age))
    litert.write_cache(cache / "new.tflite", b"x" * 68)
    assert sorted(path.name for path in cache.iterdir()) == ["c.tflite", "d.tflite", "new.tflite"]
    assert litert.read_cache(cache / "new.tflite") == b"x" * 68


def test_lower_precisions_come_from_one_conversion(conversions, cache):
    model = network()
    for precision in ("int8", "float16", "float32", "int8"):
        check(compile_litert(model, 1, 2, precision), model, images())  # too small to be rounded
    assert conversions == ["network"]
    name = fingerprint(model)
    assert {path.name for path in cache.iterdir()} == {
        f"{name}.tflite",
        f"{name}-int8.tflite",
        f"{name}-float16.tflite",
    }


def test_wrong_quantisation_is_noticed(monkeypatch, cache):
    monkeypatch.setattr(litert.quantization, "quantize", lambda content, precision: wrong)
    model = network()
    model.get_layer("head").kernel.assign(-model.get_layer("head").kernel)
    wrong = litert.convert(model)
    with pytest.raises(RuntimeError, match="output 0 of the conversion differs"):
        compile_litert(network(), 1, 2, "int8")
    assert len(list(cache.iterdir())) == 1  # the float32 one


@pytest.mark.parametrize("nested", [False, True])
def test_prelu_is_one_op(nested):
    inputs = keras.Input((8, 8, 3), name="image")
    model = keras.Model(inputs, PReLU(name="prelu")(layers.Conv2D(4, 3, name="conv")(inputs)))
    model.get_layer("prelu").alpha.assign(np.float32([[[0.1, 0.2, 0.3, -0.4]]]))
    if nested:
        inputs = keras.Input((8, 8, 3), name="image")
        model = keras.Model(inputs, model(inputs))
    run = Interpreters(litert.convert(model), 1, 1)
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


def test_importing_the_engine_is_light():
    heavy = "{'tensorflow', 'keras', 'ai_edge_litert'}"
    code = f"import sys, utils.engine.engine; sys.exit(bool({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_wrong_conversion_is_noticed(monkeypatch, cache):
    wrong = network()
    wrong.get_layer("head").kernel.assign(wrong.get_layer("head").kernel * 1.1)
    content = litert.convert(wrong)
    monkeypatch.setattr(litert, "convert", lambda model: content)
    with pytest.raises(RuntimeError, match="output 0 of the conversion differs"):
        compile_litert(network(), 1, 2)
    assert not cache.exists()


def test_nan_is_noticed(monkeypatch):
    broken = network()
    broken.get_layer("head").bias.assign([np.nan, 0])
    content = litert.convert(broken)
    monkeypatch.setattr(litert, "convert", lambda model: content)
    with pytest.raises(RuntimeError, match="differs"):
        compile_litert(network(), 1, 2)


def test_network_that_overflows_converts():
    model = network()
    model.get_layer("head").bias.assign([np.nan, 1])
    run = compile_litert(model, 1, 2)
    np.testing.assert_allclose(run(images())[0], model(images(), training=False), atol=1e-4)


def test_normalisation_is_folded_and_xnnpack_takes_all():
    run = Interpreters(litert.convert(network()), 1, 1)
    run(images())
    ((interpreter, _),) = run._kept.values()
    kinds = collections.Counter(op["op_name"] for op in interpreter._get_ops_details())
    assert kinds == {"CONV_2D": 2, "DELEGATE": 1}


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_interpreters_are_bounded_and_the_oldest_size_goes(limit):
    model = network()
    run = Interpreters(litert.convert(model), 1, limit)
    for side in (8, 12, 8, 16, 12, 20):
        for count in (1, 2):
            check(run, model, images(side, count))
        assert len(run._kept) <= limit
    assert list(run._kept) == [(16, 16), (12, 12), (20, 20)][3 - limit :]


def test_sequential_model_converts():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3), layers.Flatten()])
    check(compile_litert(model, 1, 2), model, images())
