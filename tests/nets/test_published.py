"""Every network against its published spec and the recorded reference outputs."""

import json
import zlib

import keras
import numpy as np
import pytest

from nets.facenet import facenet
from nets.retinaface import RetinaFace
from tests.shared import need
from tests.spec import build_from_spec, read_spec, write_keras2_file
from utils.config import cfg_mnet, cfg_re50
from utils.weights.loading import load_weights
from utils.weights.weight_files import WeightFile

NETWORKS = {
    "facenet_mobilenet": (lambda: facenet(backbone="mobilenet"), 160),
    "facenet_inception_resnetv1": (lambda: facenet(backbone="inception_resnetv1"), 160),
    "arcface_mobilenet": (lambda: facenet(backbone="arcface_mobilenet"), 112),
    "arcface_mobilefacenet": (lambda: facenet(backbone="arcface_mobilefacenet"), 112),
    "arcface_iresnet50": (lambda: facenet(backbone="arcface_iresnet50"), 112),
    "retinaface_mobilenet025": (lambda: RetinaFace(cfg_mnet), None),
    "retinaface_resnet50": (lambda: RetinaFace(cfg_re50), None),
}


def relative_error(actual, expected):
    return np.abs(actual - expected).max() / np.abs(expected).max()


def as_list(outputs):
    return [np.asarray(o) for o in (outputs if isinstance(outputs, (list, tuple)) else [outputs])]


@pytest.mark.parametrize("name", NETWORKS)
def test_matches_spec_weight_by_weight_and_output_by_output(name, tmp_path):
    build, size = NETWORKS[name]
    spec_path = need(f"specs/{name}.txt")
    file = tmp_path / "published.h5"
    write_keras2_file(spec_path, file, first=name.startswith("retinaface"))
    model = build()
    report = load_weights(model, file)
    published = sum(len(layer.weights) for layer in read_spec(spec_path))
    assert len(report.loaded) == published == len(model.weights) - dropout_states(model)
    assert not report.skipped and not report.unused

    shape = (size, size, 3) if size else (64, 96, 3)
    images = np.random.default_rng(7).random((2, *shape)).astype(np.float32) * 2 - 1
    twin = build_from_spec(spec_path, shape)
    # random weights drive ResNet-50's class logits into the thousands: softmax magnifies rounding
    tolerance = 1e-3 if name == "retinaface_resnet50" else 1e-4
    for ours, theirs in zip(as_list(model(images)), as_list(twin(images)), strict=True):
        assert relative_error(ours, theirs) < tolerance


def dropout_states(model):
    return sum("seed_generator" in w.path for w in model.weights)


@pytest.mark.parametrize("name", ["facenet_mobilenet", "arcface_mobilefacenet"])
def test_embeds_as_reference(name, tmp_path):
    reference = np.load(need(f"refs/{name}.npz"))
    build, size = NETWORKS[name]
    write_keras2_file(need(f"specs/{name}.txt"), tmp_path / "w.h5")
    model = build()
    load_weights(model, tmp_path / "w.h5")
    images = np.random.default_rng(7).random((2, size, size, 3)).astype(np.float32)
    if name.startswith("arcface"):
        images = images * 2 - 1
    assert relative_error(np.asarray(model(images)), reference["y0"]) < 1e-4


def test_detects_as_reference(tmp_path):
    reference = np.load(need("refs/retinaface_mobilenet025.npz"))
    write_keras2_file(need("specs/retinaface_mobilenet025.txt"), tmp_path / "w.h5")
    model = RetinaFace(cfg_mnet)
    load_weights(model, tmp_path / "w.h5")
    images = np.random.default_rng(7).random((1, 160, 192, 3)).astype(np.float32) * 255 - 110
    for i, output in enumerate(model(images)):
        assert relative_error(np.asarray(output), reference[f"y{i}"]) < 1e-4


def torch_weight(key, shape):
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    kind = key.rsplit(".", 1)[-1]
    if kind == "running_var":
        value = 0.5 + rng.random(shape)
    elif kind in ("running_mean", "bias"):
        value = 0.1 * rng.standard_normal(shape)
    elif len(shape) == 1:
        prelu = "prelu" in key
        value = 0.25 + 0.05 * rng.standard_normal(shape) if prelu else 1 + 0.1 * rng.standard_normal(shape)
    else:
        fan = shape[2] * shape[3] if shape[1] == 1 else int(np.prod(shape[1:]))
        value = np.sqrt(2 / fan) * rng.standard_normal(shape)
    return value.astype(np.float32)


def test_torch_mobilefacenet_embeds_as_reference():
    from utils.weights.torch_names import to_keras

    keys = json.loads(need("refs/torch_arcface_mobilefacenet_state.json").read_text())
    state = {key: torch_weight(key, tuple(shape)) if shape else np.int64(0) for key, shape in keys}
    layers, ignored = to_keras(state)
    model = facenet(backbone="arcface_mobilefacenet", symmetric=True)
    report = load_weights(model, WeightFile("state.pth", "torch", layers, ignored))
    assert len(report.loaded) == len(model.weights)
    assert all("num_batches_tracked" in name for name in report.unused)
    images = np.random.default_rng(7).random((2, 112, 112, 3)).astype(np.float32) * 2 - 1
    expected = np.load(need("refs/torch_arcface_mobilefacenet.npz"))["y0"]
    assert relative_error(np.asarray(model(images)), expected) < 1e-4


SMALL = {
    "mobilenet": lambda: facenet((64, 64, 3), backbone="mobilenet"),
    "arcface_mobilefacenet": lambda: facenet((64, 64, 3), backbone="arcface_mobilefacenet"),
    "retinaface": lambda: RetinaFace(cfg_mnet),
    "inception_resnetv1": lambda: facenet((96, 96, 3), backbone="inception_resnetv1"),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_runs_and_reloads_under_every_policy(name, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        model = SMALL[name]()
        size = model.input_shape[1] or 64
        images = np.random.default_rng(0).random((2, size, size, 3)).astype(np.float32)
        before = as_list(model(images))
        model.save(tmp_path / "net.keras")
        again = keras.saving.load_model(tmp_path / "net.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    for a, b in zip(before, as_list(again(images)), strict=True):
        assert a.dtype == np.float32 and np.isfinite(a).all()
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert len({layer.name for layer in model.layers}) == len(model.layers)


def test_layer_names_do_not_depend_on_the_process():
    first, second = (facenet(backbone="arcface_mobilefacenet"), facenet(backbone="arcface_mobilefacenet"))
    assert [a.name for a in first.layers] == [b.name for b in second.layers]
