import os
import pickle

import numpy as np
import pytest

from tests.shared import need
from utils.weights.mtcnn_npy import read_det_npy, read_npy

LAYERS = {
    "conv1": {"weights": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), "biases": np.ones(2)},
    "prelu1": {"alpha": np.float32([0.1, -0.2])},
    "conv4": {"weights": np.arange(36, dtype=np.float32).reshape(18, 2), "biases": np.zeros(2)},
    "prelu4": {"alpha": np.float32([0.5, 1.5])},
    "conv6-3": {"weights": np.arange(20, dtype=np.float32).reshape(2, 10), "biases": np.arange(10)},
}


def save(path, content):
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


@pytest.fixture
def det(tmp_path):
    layers = {
        name: {key: np.asarray(value, np.float32) for key, value in weights.items()} for name, weights in LAYERS.items()
    }
    return save(tmp_path / "det.npy", layers)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_reads_what_numpy_reads(number):
    path = need(f"weights/det{number}.npy")
    expected = np.load(path, allow_pickle=True, encoding="latin1").item()
    found = read_npy(path)
    assert found.keys() == expected.keys()
    for layer, weights in expected.items():
        assert found[layer].keys() == weights.keys()
        for name, array in weights.items():
            np.testing.assert_array_equal(found[layer][name], array)


def test_reads_what_numpy_writes_today(det):
    for layer, weights in read_npy(det).items():
        for name, array in weights.items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, LAYERS[layer][name])


def test_reads_transposed_arrays(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    found = read_npy(save(tmp_path / "det.npy", {"a": {"b": array}}))
    np.testing.assert_array_equal(found["a"]["b"], array)


def test_reads_old_pickles_with_encoded_bytes(tmp_path, det):
    path = tmp_path / "old.npy"
    with open(path, "wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, header)
        content = np.array({"a": {"b": np.float32([[1, -2]])}}, dtype=object)
        pickle.dump(content, file, protocol=2)
    np.testing.assert_array_equal(read_npy(path)["a"]["b"], [[1, -2]])


def test_layout(det):
    found = read_det_npy(det)
    kernel = found["conv1"]["kernel"]
    assert kernel.shape == (3, 2, 2, 2)
    assert kernel[2, 1, 0, 1] == LAYERS["conv1"]["weights"][1, 2, 0, 1]
    assert found["prelu1"]["alpha"].shape == (1, 1, 2)
    assert found["prelu4"]["alpha"].shape == (2,)
    # The input at column x, row y, channel c of a 3 x 3 map of 2 channels: stored as x, y, c.
    assert found["conv4"]["kernel"][(1 * 3 + 2) * 2 + 1, 0] == (((2 * 3) + 1) * 2 + 1) * 2
    np.testing.assert_array_equal(found["conv6-3"]["bias"], [0, 5, 1, 6, 2, 7, 3, 8, 4, 9])
    np.testing.assert_array_equal(found["conv6-3"]["kernel"][1, :4], [10, 15, 11, 16])


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_the_file_is_not_run(tmp_path):
    path = save(tmp_path / "det.npy", {"conv1": Attack(str(tmp_path / "harm"))})
    with pytest.raises(ValueError, match=r"det\.npy: .*asks for .*mkdir"):
        read_npy(path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"conv1": 5},
        {"conv1": {"weights": 5}},
        {"conv1": {"weights": np.array(["text"])}},
        {"conv1": {"weights": np.array([1], ">f4")}},
        {"conv1": {"weights": np.array([1], "i8")}},
    ],
)
def test_other_content_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match=r"det\.npy: not a file of MTCNN weights"):
        read_npy(save(tmp_path / "det.npy", content))


@pytest.mark.parametrize(
    "layers",
    [
        {"conv1": {"weights": np.float32([1])}},
        {"prelu1": {"alpha": np.float32([1])}},
        {"conv4": {"weights": np.zeros((4, 2), np.float32), "biases": np.zeros(2, np.float32)}},
    ],
)
def test_half_a_layer_is_refused(tmp_path, layers):
    with pytest.raises(ValueError, match=r"det\.npy: not a file of MTCNN weights"):
        read_det_npy(save(tmp_path / "det.npy", layers))


def test_damaged_files(tmp_path, det):
    content = det.read_bytes()
    for end in range(0, len(content), 37):
        det.write_bytes(content[:end])
        with pytest.raises(ValueError, match=r"det\.npy: not a file of MTCNN weights"):
            read_npy(det)
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(ValueError, match="not a file of MTCNN weights"):
        read_npy(tmp_path / "plain.npy")
    with pytest.raises(FileNotFoundError, match=r"gone\.npy: no such weights file"):
        read_npy(tmp_path / "gone.npy")
