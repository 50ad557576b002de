import zipfile

import h5py
import keras
import numpy as np
import pytest

from nets.facenet import facenet
from tests.shared import need
from utils.weights.loading import save_weights
from utils.weights.weight_files import WeightFile, read_weight_file

BACKBONE = "arcface_mobilefacenet"


def layers_of(*names, size=7):
    return {name: [np.zeros((size,), np.float32)] for name in names}


def in_memory(file_format="keras2", layers=None, info=None):
    return WeightFile("x", file_format, layers or {}, info=info or {})


@pytest.mark.parametrize(
    ("names", "network"),
    [
        (("conv_23_expand", "embedding"), "arcface_mobilefacenet"),
        (("sep", "conv_pw_1", "features"), "arcface_mobilenet"),
        (("Bottleneck", "conv_pw_1", "BatchNorm_Bottleneck"), "mobilenet"),
        (("res2a_branch2a", "features"), "arcface_iresnet50"),
        (("Conv2d_1a_3x3", "Bottleneck"), "inception_resnetv1"),
        (("C3_reduced", "conv_pw_1"), "retinaface_mobilenet"),
        (("C3_reduced", "res2a_branch2a"), "retinaface_resnet50"),
        (("conv1", "fc"), None),
        ((), None),
    ],
)
def test_network_is_told_by_its_layers(names, network):
    assert in_memory(layers=layers_of(*names)).network() == network


@pytest.mark.parametrize(
    ("spec", "network"),
    [
        ("facenet_mobilenet", "mobilenet"),
        ("facenet_inception_resnetv1", "inception_resnetv1"),
        ("arcface_mobilenet", "arcface_mobilenet"),
        ("arcface_mobilefacenet", "arcface_mobilefacenet"),
        ("arcface_iresnet50", "arcface_iresnet50"),
        ("retinaface_mobilenet025", "retinaface_mobilenet"),
        ("retinaface_resnet50", "retinaface_resnet50"),
    ],
)
def test_network_of_every_published_keras_file(spec, network):
    lines = need(f"specs/{spec}.txt").read_text().splitlines()
    names = [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    assert in_memory(layers=layers_of(*names)).network() == network


@pytest.mark.parametrize(
    ("file_format", "names", "settings"),
    [
        ("keras2", ("embedding",), {"symmetric": False, "embedding_size": 7}),
        ("torch", ("embedding",), {"symmetric": True, "embedding_size": 7}),
        ("torch", ("features", "sep"), {"symmetric": True, "embedding_size": 7}),
        ("keras2", ("BatchNorm_Bottleneck",), {"symmetric": False, "embedding_size": 7}),
        (
            "tf1",
            ("Conv2d_1a_3x3", "Bottleneck_BatchNorm"),
            {"symmetric": False, "embedding_size": 7, "normalization": "fixed"},
        ),
        (
            "torch",
            ("Conv2d_1a_3x3", "Bottleneck_BatchNorm"),
            {"symmetric": True, "embedding_size": 7, "normalization": "fixed"},
        ),
        ("keras2", ("Conv2d_1a_3x3", "Bottleneck_BatchNorm"), {"symmetric": False, "embedding_size": 7}),
        ("keras2", ("C3_reduced",), {"symmetric": False}),
    ],
)
def test_settings_that_fit_the_weights(file_format, names, settings):
    assert in_memory(file_format, layers_of(*names)).build_settings() == settings


def test_info_of_our_own_files_comes_first():
    info = {"symmetric": True, "normalization": "per_image", "backbone": "mobilenet"}
    source = in_memory("faces", layers_of("embedding"), info)
    assert source.build_settings() == {**info, "embedding_size": 7}


@pytest.mark.parametrize(
    ("layers", "given", "message"),
    [
        ("fc", None, "x: cannot tell which network these weights are of; set backbone"),
        ("C3_reduced", None, "x: the file holds retinaface_mobilenet weights, not those of"),
        ("embedding", "mobilenet", "x: the file holds arcface_mobilefacenet weights, not mobilenet"),
    ],
)
def test_weights_of_no_fitting_network_are_named(layers, given, message):
    with pytest.raises(ValueError, match=message):
        in_memory(layers=layers_of(layers)).network_among(["mobilenet", BACKBONE], given)


def test_network_is_what_the_file_says_or_the_user():
    assert in_memory(layers=layers_of("embedding")).network_among([BACKBONE]) == BACKBONE
    assert in_memory(layers=layers_of("fc")).network_among([BACKBONE], BACKBONE) == BACKBONE
    assert in_memory(info={"backbone": BACKBONE}).network_among([BACKBONE]) == BACKBONE


@pytest.fixture(scope="module")
def own_file(tmp_path_factory):
    model = facenet((64, 64, 3), backbone=BACKBONE, embedding_size=32)
    path = tmp_path_factory.mktemp("own") / "net.weights.h5"
    save_weights(model, path, backbone=BACKBONE, symmetric=True)
    return model, path


def test_own_file(own_file):
    model, path = own_file
    source = read_weight_file(path)
    assert (source.format, source.network()) == ("faces", BACKBONE)
    settings = {"symmetric": True, "embedding_size": 32, "backbone": BACKBONE}
    assert source.build_settings() == settings
    expected = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    assert set(source.layers) == set(expected)
    for name, arrays in expected.items():
        for ours, theirs in zip(source.layers[name], arrays, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_file_that_keras_saved_itself(own_file, tmp_path):
    model, _ = own_file
    model.save_weights(tmp_path / "plain.weights.h5")
    source = read_weight_file(tmp_path / "plain.weights.h5")
    assert (source.format, source.info, source.network()) == ("faces", {}, BACKBONE)


def test_whole_model_in_the_old_h5_layout(own_file, tmp_path):
    model, _ = own_file
    model.save(tmp_path / "model.h5")
    source = read_weight_file(tmp_path / "model.h5")
    assert (source.format, source.network()) == ("keras2", BACKBONE)
    kernel, beta = model.get_layer("conv1").kernel, model.get_layer("conv1_bn").beta
    np.testing.assert_array_equal(source.layers["conv1"][0], kernel)
    np.testing.assert_array_equal(source.layers["conv1_bn"][1], beta)


def test_format_is_told_by_content_not_by_name(own_file, tmp_path):
    disguised = tmp_path / "net.pth"
    disguised.write_bytes(own_file[1].read_bytes())
    assert read_weight_file(disguised).format == "faces"


def test_whole_keras_model_says_what_to_do(own_file, tmp_path):
    own_file[0].save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=r"model\.keras: a whole Keras model; use .*save_weights"):
        read_weight_file(tmp_path / "model.keras")


def test_hdf5_of_something_else(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"data\.h5: an HDF5 file without Keras weights"):
        read_weight_file(tmp_path / "data.h5")


@pytest.mark.parametrize("name", ["det1.npy", "det2.npy", "det3.npy"])
def test_mtcnn_files(name):
    source = read_weight_file(need(f"weights/{name}"))
    assert source.format == "mtcnn"
    assert source.layers["conv1"][0].shape[:3] == (3, 3, 3)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00v\x00", b"GIF89a"])
def test_what_is_no_weight_file_is_one_clear_line(tmp_path, content):
    path = tmp_path / "权 重.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="权 重.npy: ") as error:
        read_weight_file(path)
    assert "\n" not in str(error.value)


class TestTorch:
    """Files that PyTorch wrote, in both of its formats and the wrappings people publish."""

    @pytest.fixture(scope="class")
    def state(self):
        torch = pytest.importorskip("torch")
        keys = {
            "conv_23.conv.conv.weight": torch.randn(8, 4, 1, 1),
            "conv_23.conv.prelu.weight": torch.randn(8),
            "last_bn.weight": torch.randn(6),
            "last_bn.bias": torch.randn(6),
            "last_bn.running_mean": torch.randn(6),
            "last_bn.running_var": torch.rand(6),
            "last_bn.num_batches_tracked": torch.tensor(3),
        }
        return {f"arcface.{key}": value for key, value in keys.items()}

    @pytest.mark.parametrize("zipped", [True, False])
    def test_reads_what_was_written(self, state, tmp_path, zipped):
        import torch

        torch.save(state, tmp_path / "x.bin", _use_new_zipfile_serialization=zipped)
        source = read_weight_file(tmp_path / "x.bin")
        assert (source.format, source.network()) == ("torch", BACKBONE)
        assert source.ignored == ("arcface.last_bn.num_batches_tracked",)
        assert source.build_settings() == {"symmetric": True, "embedding_size": 6}
        kernel = state["arcface.conv_23.conv.conv.weight"].numpy()
        np.testing.assert_array_equal(source.layers["conv_23_expand"][0][0, 0], kernel[:, :, 0, 0].T)
        assert source.layers["conv_23_expand_prelu"][0].shape == (1, 1, 8)
        gamma, beta, mean, variance = source.layers["embedding"]
        np.testing.assert_array_equal(gamma, state["arcface.last_bn.weight"])
        np.testing.assert_array_equal(beta, state["arcface.last_bn.bias"])
        np.testing.assert_array_equal(mean, state["arcface.last_bn.running_mean"])
        np.testing.assert_array_equal(variance, state["arcface.last_bn.running_var"])

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
    def test_other_precisions_become_float32(self, state, tmp_path, dtype):
        import torch

        torch.save({k: v.to(getattr(torch, dtype)) for k, v in state.items()}, tmp_path / "x.pt")
        arrays = [a for v in read_weight_file(tmp_path / "x.pt").layers.values() for a in v]
        assert {a.dtype for a in arrays} == {np.dtype(np.float32)}

    def test_checkpoint_and_dataparallel_wrappings(self, state, tmp_path):
        import torch

        wrapped = {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}
        torch.save(wrapped, tmp_path / "x.pth")
        assert read_weight_file(tmp_path / "x.pth").network() == BACKBONE

    @pytest.mark.parametrize("content", ["tensor", "list", "foreign", "empty"])
    def test_other_content_is_one_clear_line(self, tmp_path, content):
        torch = pytest.importorskip("torch")
        contents = {
            "tensor": torch.zeros(3),
            "list": [1, 2],
            "foreign": {"encoder.weight": torch.zeros(2, 2)},
            "empty": {},
        }
        torch.save(contents[content], tmp_path / "x.pth")
        with pytest.raises(ValueError, match=r"x\.pth: ") as error:
            read_weight_file(tmp_path / "x.pth")
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
    @pytest.mark.parametrize("zipped", [True, False])
    def test_truncated_is_one_clear_line(self, state, tmp_path, share, zipped):
        import torch

        torch.save(state, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        data = (tmp_path / "x.pth").read_bytes()
        (tmp_path / "x.pth").write_bytes(data[: int(share * len(data))])
        with pytest.raises(ValueError, match=r"x\.pth: damaged") as error:
            read_weight_file(tmp_path / "x.pth")
        assert "\n" not in str(error.value)


def test_zip_of_something_else(tmp_path):
    pytest.importorskip("torch")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match=r"x\.zip: damaged, or no PyTorch state dict"):
        read_weight_file(tmp_path / "x.zip")


def test_checkpoint_without_its_data_is_one_clear_line(tmp_path):
    (tmp_path / "model.ckpt-1.index").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"model\.ckpt-1: damaged") as error:
        read_weight_file(tmp_path / "model.ckpt-1")
    assert "\n" not in str(error.value)


def test_layers_without_weights_are_left_out(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.ReLU(), keras.layers.Dense(2)])
    model.save_weights(tmp_path / "a.weights.h5")
    assert len(read_weight_file(tmp_path / "a.weights.h5").layers) == 1
