import keras
import numpy as np
import pytest
from keras import layers

from tests.utils.engine.small_network import check, images, litert, network, source
from utils.engine import conversion, quantization
from utils.engine.compiled import write_compiled
from utils.engine.network import Built, Network

CONVERTED = "network: is converted to LiteRT, once\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACES_CACHE", str(tmp_path))
    return tmp_path / "engine"


@pytest.fixture
def conversions(monkeypatch):
    """Counts the conversions."""
    done, convert = [], conversion.convert

    def counted(model):
        done.append(model.name)
        return convert(model)

    monkeypatch.setattr(conversion, "convert", counted)
    return done


def test_second_start_takes_the_cached_conversion(conversions, cache):
    model = network()
    check(litert(model), model, images())
    check(litert(network()), model, images())
    assert conversions == ["network"]
    assert [path.suffix for path in cache.iterdir()] == [".tflite"]


@pytest.mark.parametrize("damage", [b"", b"short", "cut", "flip"])
def test_damaged_cache_file_is_converted_again(conversions, cache, capsys, damage):
    model = network()
    litert(model)
    (path,) = cache.iterdir()
    stored = bytearray(path.read_bytes())
    if damage == "flip":
        stored[len(stored) // 2] ^= 1
    path.write_bytes({"flip": stored, "cut": stored[:-100]}.get(damage, damage))
    check(litert(model), model, images())
    litert(model)
    assert len(conversions) == 2 and capsys.readouterr().err == 2 * CONVERTED


def test_without_a_writable_folder_it_lives_in_memory(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("FACES_CACHE", str(tmp_path / "file"))
    model = network()
    check(litert(model), model, images())
    assert capsys.readouterr().err == CONVERTED
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_lower_precisions_come_from_one_conversion(conversions, cache):
    model = network()
    for precision in ("int8", "float16", "float32", "int8"):
        check(litert(model, precision), model, images())  # too small to be rounded
    assert conversions == ["network"]
    assert [path.suffix for path in cache.iterdir()] == 3 * [".tflite"]


def test_wrong_quantisation_is_noticed(monkeypatch, cache):
    monkeypatch.setattr(quantization, "quantize", lambda content, precision: wrong)
    model = network()
    model.get_layer("head").kernel.assign(-model.get_layer("head").kernel)
    wrong = conversion.convert(model)
    with pytest.raises(RuntimeError, match="output 0 of the conversion differs"):
        litert(network(), "int8")
    assert len(list(cache.iterdir())) == 1  # the float32 one


def test_wrong_conversion_is_noticed(monkeypatch, cache):
    wrong = network()
    wrong.get_layer("head").kernel.assign(wrong.get_layer("head").kernel * 1.1)
    content = conversion.convert(wrong)
    monkeypatch.setattr(conversion, "convert", lambda model: content)
    with pytest.raises(RuntimeError, match="output 0 of the conversion differs"):
        litert(network())
    assert not cache.exists()


def test_nan_is_noticed(monkeypatch):
    broken = network()
    broken.get_layer("head").bias.assign([np.nan, 0])
    content = conversion.convert(broken)
    monkeypatch.setattr(conversion, "convert", lambda model: content)
    with pytest.raises(RuntimeError, match="differs"):
        litert(network())


def test_network_that_overflows_converts():
    model = network()
    model.get_layer("head").bias.assign([np.nan, 1])
    run = litert(model)
    np.testing.assert_allclose(run(images())[0], model(images(), training=False), atol=1e-4)


def test_sequential_model_converts():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3), layers.Flatten()])
    check(litert(model), model, images())


def unbuildable():
    pytest.fail("built, although a compiled form is at hand")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_form_beside_the_weights_needs_no_keras(tmp_path, cache, precision):
    whole = source(network())
    write_compiled(tmp_path / "small.tflite", whole.compiled())
    for path in cache.iterdir():
        path.unlink()
    found = Network("small", whole.name, unbuildable, {"float32": tmp_path / "small.tflite"})
    found.prepare(precision)
    assert found.compiled(precision).facts["shape"] == [None, None, None, 3]
    assert len(list(cache.iterdir())) == (precision == "int8")


def test_form_of_other_weights_is_passed_over(tmp_path, conversions):
    write_compiled(tmp_path / "small.tflite", source(network(5)).compiled())
    model = network()
    own = source(model)
    own._beside = {"float32": tmp_path / "small.tflite"}
    own.compiled()
    assert conversions == ["network", "network"]


def test_facts_of_the_builder_are_kept(cache):
    model = network()
    for _ in range(2):
        facts = Network("net", "n", lambda: Built(model, {"threshold": 1.5})).compiled().facts
        assert facts["threshold"] == 1.5
