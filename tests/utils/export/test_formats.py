import sys

import keras
import numpy as np
import pytest
from keras import layers

from nets.layers import BatchNormalization, PReLU, UpsampleLike
from utils.export import formats
from utils.export.formats import SUFFIXES, check_format, open_exported, write_exported


def network():
    """Open in size, with each layer of nets/layers.py, and two results."""
    inputs = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(4, 3, 2, padding="same", use_bias=False, name="conv")(inputs)
    x = PReLU(name="prelu")(BatchNormalization(name="bn")(x))
    coarse = layers.Conv2D(4, 3, 2, padding="same", name="coarse")(x)
    x = layers.Add(name="add")([UpsampleLike(name="upsampled")([coarse, x]), x])
    zeta = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(inputs, {"zeta": zeta, "alpha": x}, name="network")
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.2, 1, weight.shape) for weight in model.weights])
    return model


def need_packages(kind):
    if kind == "onnx":
        for package in ("tf2onnx", "onnxruntime"):
            pytest.importorskip(package, reason=f"needs: pip install {package}")


@pytest.mark.parametrize("kind", SUFFIXES)
def test_answers_as_keras_for_any_batch_and_size(kind, tmp_path):
    need_packages(kind)
    model, path = network(), tmp_path / "new" / f"network{SUFFIXES[kind]}"
    write_exported(model, path, kind)
    run = open_exported(path, kind)
    for shape in ((1, 8, 12, 3), (3, 9, 7, 3), (2, 8, 12, 3)):
        images = np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32)
        got, want = run(images), model(images, training=False)
        assert set(got) == {"alpha", "zeta"}
        for name, values in want.items():
            np.testing.assert_allclose(got[name], values, rtol=1e-5, atol=1e-3)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_onnx_is_valid_and_names_its_axes(tmp_path):
    need_packages("onnx")
    import onnx

    path = tmp_path / "network.onnx"
    write_exported(network(), path, "onnx")
    loaded = onnx.load(path)
    onnx.checker.check_model(loaded, full_check=True)
    (image,) = loaded.graph.input
    sides = image.type.tensor_type.shape.dim
    assert [side.dim_param or side.dim_value for side in sides] == ["batch", "height", "width", 3]
    modes = [
        attribute.s
        for node in loaded.graph.node
        for attribute in node.attribute
        if attribute.name == "coordinate_transformation_mode"
    ]
    assert modes == [b"half_pixel"]


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_tflite_in_lower_precision_is_near(precision, tmp_path):
    inputs = keras.Input((4, 4, 64), name="image")
    outputs = {"result": layers.Conv2D(32, 1, name="conv")(inputs)}
    model, images = (keras.Model(inputs, outputs), np.random.default_rng(0).uniform(size=(2, 4, 4, 64)))
    images = images.astype(np.float32)
    sizes = {}
    for kind in ("float32", precision):
        path = tmp_path / f"{kind}.tflite"
        write_exported(model, path, "tflite", kind)
        sizes[kind] = path.stat().st_size
    assert sizes[precision] < sizes["float32"]
    got = open_exported(path, "tflite")(images)["result"]
    want = model(images)["result"].numpy()
    assert 0 < np.abs(got - want).max() < 0.02 * np.abs(want).max()


@pytest.mark.parametrize("kind", ["tflite", "saved_model"])
def test_a_refused_file_leaves_the_earlier_one(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "convert", lambda model: b"flatbuffer")
    path = tmp_path / f"network{SUFFIXES[kind]}"
    write_exported(network(), path, kind)
    before = sorted(tmp_path.rglob("*"))

    def refuse(temporary):
        assert temporary.exists() and temporary.parent == tmp_path
        raise RuntimeError("off")

    with pytest.raises(RuntimeError, match="off"):
        write_exported(network(), path, kind, check=refuse)
    assert sorted(tmp_path.rglob("*")) == before
    write_exported(network(), path, kind)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    with pytest.raises(ValueError, match="mine: there is something else than a SavedModel"):
        write_exported(network(), tmp_path / "mine", "saved_model")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "kept"


@pytest.mark.parametrize(
    "kind, precision, message",
    [
        ("onnx", "int8", "precision int8 needs format tflite, not onnx"),
        ("saved_model", "float16", "precision float16 needs format tflite, not saved_model"),
    ],
)
def test_impossible_formats_are_errors(kind, precision, message):
    with pytest.raises(ValueError, match=message):
        check_format(kind, precision)


def test_missing_converter_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tf2onnx onnxruntime"):
        check_format("onnx", "float32")
