import shutil

import numpy as np
import pytest

from nets.facenet import facenet
from tests.shared import need
from utils.weights import networks
from utils.weights.__main__ import compile_beside
from utils.weights.loading import save_weights
from utils.weights.networks import beside, mtcnn, named_backbone, recognizer

BACKBONE, SHAPE = "arcface_mobilefacenet", (32, 32, 3)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACES_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.weights.h5"
    save_weights(facenet(backbone=BACKBONE), path, backbone=BACKBONE, embedding_size=128, symmetric=False)
    return path


@pytest.fixture
def weights(original, tmp_path):
    return shutil.copy(original, tmp_path / "net.weights.h5")


def test_name_is_of_content_settings_and_version(weights, tmp_path, monkeypatch):
    name = recognizer(weights).name
    assert recognizer(shutil.copy(weights, tmp_path / "copy.weights.h5")).name == name
    names = {name, recognizer(weights, input_shape=SHAPE).name}
    monkeypatch.setattr(networks, "GRAPH_VERSION", 0)
    names.add(recognizer(weights).name)
    with open(weights, "ab") as file:
        file.write(b"x")
    assert len({*names, recognizer(weights).name}) == 4


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.h5: no such weight file"):
        recognizer(tmp_path / "gone.h5")


def test_compiled_form_beside_the_weights_is_found(weights, tmp_path, monkeypatch):
    assert compile_beside(weights) == [tmp_path / "net.tflite"]
    monkeypatch.setenv("FACES_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(networks, "read_weight_file", lambda path: pytest.fail("read"))
    compiled = recognizer(weights).compiled()
    assert compiled.content == tmp_path / "net.tflite"
    assert compiled.facts["backbone"] == BACKBONE and compiled.facts["embedding_size"] == 128
    assert compiled.facts["normalization"] == "symmetric" and compiled.facts["shape"] == [None, 112, 112, 3]


def test_compiled_form_of_changed_weights_is_not_used(weights, tmp_path):
    compile_beside(weights)
    changed = facenet(backbone=BACKBONE)
    save_weights(changed, weights, backbone=BACKBONE, embedding_size=128, symmetric=False)
    network = recognizer(weights)
    assert network.compiled().content != tmp_path / "net.tflite"
    np.testing.assert_array_equal(network.built().model.get_weights()[0], changed.get_weights()[0])


@pytest.mark.parametrize(
    ("name", "precision", "expected"),
    [
        ("net.weights.h5", "float32", "net.tflite"),
        ("net.weights.h5", "int8", "net.int8.tflite"),
        ("net.h5", "float32", "net.h5.tflite"),  # published weights beside ours
    ],
)
def test_where_a_compiled_form_lies(tmp_path, name, precision, expected):
    assert beside(tmp_path / name, precision) == tmp_path / expected


def test_backbone_of_the_weights(weights):
    network, facts = recognizer(weights), {"backbone": BACKBONE}
    assert named_backbone(network, facts, None) == BACKBONE == named_backbone(network, facts, BACKBONE)
    with pytest.raises(ValueError, match="net.weights.h5: the file holds arcface_mobilefacenet weights, not mobilenet"):
        named_backbone(network, facts, "mobilenet")


def test_networks_of_mtcnn_are_told_apart_even_with_the_same_file(tmp_path):
    for number in (1, 2, 3):
        shutil.copy(need("weights/det1.npy"), tmp_path / f"det{number}.npy")
    assert len({network.name for network in mtcnn(str(tmp_path))}) == 3


def test_mtcnn_is_compiled_beside_its_files(tmp_path, monkeypatch):
    for number in (1, 2, 3):
        shutil.copy(need(f"weights/det{number}.npy"), tmp_path)
    written = [tmp_path / f"det{number}.npy.tflite" for number in (1, 2, 3)]
    assert compile_beside(str(tmp_path)) == written
    monkeypatch.setenv("FACES_CACHE", str(tmp_path / "empty"))
    assert [network.compiled().content for network in mtcnn(str(tmp_path))] == written


def test_missing_file_of_mtcnn_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no det1.npy, no det2.npy, no det3.npy"):
        mtcnn(str(tmp_path))
