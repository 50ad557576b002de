import os
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from nets.facenet import facenet
from nets.retinaface import RetinaFace
from tests.shared import need
from utils.config import cfg_mnet
from utils.weights import tf1_names
from utils.weights.__main__ import convert, inspect
from utils.weights.loading import load_weights, save_weights
from utils.weights.weight_files import read_weight_file


def small(**settings):
    return facenet((64, 64, 3), backbone="arcface_mobilefacenet", **settings)


@pytest.mark.parametrize("file", ["retinaface_mobilenet025_tf2.h5", "retinaface_mobilenet025_keras.h5"])
def test_published_detectors_load_whole_also_as_third_model(file):
    path = need(f"weights/{file}")
    reports, outputs = [], []
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    for _ in range(3):
        model = RetinaFace(cfg_mnet)
        reports.append(load_weights(model, path))
        outputs.append(np.asarray(model(image)[1]))
    assert {len(r.loaded) for r in reports} == {len(model.weights)} == {273}
    assert not reports[2].unused and not reports[2].skipped
    np.testing.assert_array_equal(outputs[0], outputs[2])


def test_imagenet_backbone_fills_the_backbone_only():
    path = need("weights/mobilenet_2_5_224_tf_no_top.h5")
    model = RetinaFace(cfg_mnet)
    with pytest.raises(ValueError, match="has nothing for C5_reduced/kernel"):
        load_weights(model, path)
    report = load_weights(model, path, skip_mismatch=True)
    assert len(report.loaded) == 27 * 5
    assert len(report.loaded) + len(report.skipped) == len(model.weights)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(
            model.get_layer("conv_pw_13").kernel.numpy(),
            file["conv_pw_13"]["conv_pw_13"]["kernel:0"]
            if "conv_pw_13" in file["conv_pw_13"]
            else file["conv_pw_13"]["kernel:0"],
        )


def test_published_torch_mobilefacenet_loads_whole():
    pytest.importorskip("torch")
    source = read_weight_file(need("weights/arcface_mobilefacenet.pth"))
    assert source.network() == "arcface_mobilefacenet"
    settings = source.build_settings()
    assert settings == {"symmetric": True, "embedding_size": 128}
    model = facenet(backbone="arcface_mobilefacenet", symmetric=True)
    report = load_weights(model, source)
    assert len(report.loaded) == len(model.weights) and not report.skipped


def write_checkpoint(prefix, arrays):
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        variables = [tf.compat.v1.get_variable(n, initializer=a) for n, a in arrays.items()]
        session.run([v.initializer for v in variables])
        tf.compat.v1.train.Saver(variables).save(session, str(prefix), write_meta_graph=False)


def test_tensorflow1_checkpoint_loads_whole(tmp_path):
    import json

    names = json.loads(need("specs/sandberg_inception_resnetv1_vars.json").read_text())
    rng = np.random.default_rng(0)
    arrays = {n: rng.normal(size=s).astype(np.float32) for n, s in names}
    extra = {"global_step": np.int64(3), "InceptionResnetV1/Bottleneck/weights/Adam": np.zeros(2)}
    write_checkpoint(tmp_path / "model-1.ckpt-3", arrays | extra)
    source = read_weight_file(tmp_path / "model-1.ckpt-3.index")
    assert source.build_settings() == {"symmetric": False, "embedding_size": 512, "normalization": "fixed"}
    model = facenet(backbone="inception_resnetv1", embedding_size=512)
    report = load_weights(model, source)
    assert len(report.loaded) == len(names) == 490
    assert sorted(report.unused) == sorted(extra)
    name = "InceptionResnetV1/Repeat_1/block17_3/Branch_1/Conv2d_0b_1x7/BatchNorm/moving_mean"
    layer = model.get_layer("Block17_3_Branch_1_Conv2d_0b_1x7_BatchNorm")
    np.testing.assert_array_equal(layer.moving_mean.numpy(), arrays[name])


def test_tf1_names():
    assert tf1_names.layer_name("Block8/Branch_0/Conv2d_1x1", True) == "Block8_6_Branch_0_Conv2d_1x1_BatchNorm"
    assert tf1_names.layer_name("Repeat/block35_2/Conv2d_1x1", None) == "Block35_2_Conv2d_1x1"


def test_own_file_round_trip_keeps_weights_and_info(tmp_path):
    model, again = small(), small()
    path = tmp_path / "日本 語" / "net.weights.h5"
    save_weights(model, path, backbone="arcface_mobilefacenet", symmetric=True, embedding_size=128)
    report = load_weights(again, path)
    assert len(report.loaded) == len(model.weights)
    for a, b in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert read_weight_file(path).build_settings()["symmetric"] is True
    assert os.listdir(path.parent) == [path.name]


def test_training_network_file_serves_for_prediction(tmp_path):
    trained = facenet((64, 64, 3), 5, "arcface_mobilefacenet", mode="train")
    save_weights(trained, tmp_path / "t.weights.h5")
    report = load_weights(small(), tmp_path / "t.weights.h5")
    assert report.unused == ("Scores",)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    save_weights(small(), tmp_path / "a.weights.h5")
    model = facenet((64, 64, 3), backbone="mobilenet")
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"a\.weights\.h5: .*conv1/kernel.*arcface_mobilefacenet"):
        load_weights(model, tmp_path / "a.weights.h5")
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cut", [0, 7, 4000, 100_000])
def test_truncated_file_is_one_clear_line(tmp_path, cut):
    save_weights(small(), tmp_path / "a.weights.h5")
    data = (tmp_path / "a.weights.h5").read_bytes()
    broken = tmp_path / "broken.weights.h5"
    broken.write_bytes(data[:cut])
    with pytest.raises(ValueError, match=r"broken\.weights\.h5") as error:
        load_weights(small(), broken)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"hello world", b"PK\x03\x04junk", b"\x80\x02junk", b"\x89HDF\r\n\x1a\n"])
def test_what_is_no_weight_file_is_one_clear_line(tmp_path, content):
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"net\.pth") as error:
        load_weights(small(), path)
    assert "\n" not in str(error.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.h5"):
        load_weights(small(), tmp_path / "nowhere.h5")


def test_malicious_state_dict_does_not_run(tmp_path):
    pytest.importorskip("torch")
    import pickle

    class Attack:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    (tmp_path / "x.pth").write_bytes(pickle.dumps(Attack(), protocol=2))
    with pytest.raises(ValueError, match=r"x\.pth"):
        load_weights(small(), tmp_path / "x.pth")
    assert not (tmp_path / "owned").exists()


def test_without_torch_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "x.pth").write_bytes(b"\x80\x02junk")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match="pip install torch"):
        load_weights(small(), tmp_path / "x.pth")


def test_failed_save_leaves_nothing_behind(tmp_path, monkeypatch):
    model = small()

    def fail(self, path, **_):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(keras.Model, "save_weights", fail)
    with pytest.raises(OSError, match="disk full"):
        save_weights(model, tmp_path / "a.weights.h5")
    assert not os.listdir(tmp_path)


def test_convert_and_inspect(tmp_path):
    source = need("weights/retinaface_mobilenet025_tf2.h5")
    target = tmp_path / "det.weights.h5"
    assert len(convert(source, target).loaded) == 273
    assert "network retinaface_mobilenet" in inspect(target)
    a, b = RetinaFace(cfg_mnet), RetinaFace(cfg_mnet)
    load_weights(a, source)
    load_weights(b, target)
    for x, y in zip(a.weights, b.weights, strict=True):
        np.testing.assert_array_equal(x.numpy(), y.numpy())


def test_command_line_fails_with_status_and_one_line(tmp_path):
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "utils.weights", "inspect", str(tmp_path / "none.h5")],
        capture_output=True,
        text=True,
        cwd=root,
    )
    assert done.returncode == 1
    assert "none.h5: no such weight file" in done.stderr and len(done.stderr.splitlines()) == 1
