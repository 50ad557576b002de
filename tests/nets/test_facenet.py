import re

import keras
import numpy as np
import pytest

from nets.backbones import BACKBONES
from nets.facenet import facenet

FAST = "arcface_mobilefacenet"
DROPOUTS = {
    "mobilenet": "Dropout",
    "inception_resnetv1": "Dropout",
    "arcface_mobilenet": "dropout",
    "arcface_iresnet50": "dropout",
}
PADDED = {  # convolutions of stride 2 that would pad; Inception-ResNet-v1's do not pad
    "mobilenet": 5,
    "inception_resnetv1": 0,
    "arcface_mobilenet": 4,
    "arcface_mobilefacenet": 4,
    "arcface_iresnet50": 4,
}


def images(count, size, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


@pytest.fixture(scope="module", params=BACKBONES)
def trained(request):
    """Each backbone at its published size, with five people."""
    return request.param, facenet(num_classes=5, backbone=request.param, mode="train")


@pytest.fixture(scope="module", params=BACKBONES)
def symmetric(request):
    """Each backbone with 64 dimensions, padded as in PyTorch."""
    return request.param, facenet(backbone=request.param, embedding_size=64, symmetric=True)


def test_training_network_has_scores_and_embedding(trained):
    name, model = trained
    backbone = BACKBONES[name]
    assert model.name == f"{name}_train"
    assert model.input_shape == (None, *backbone.input_shape)
    assert model.output_names == ["Scores", "Embedding"]
    assert model.output_shape == [(None, 5), (None, backbone.embedding_size)]
    assert model.get_layer("Prelogits").output.shape == (None, backbone.embedding_size)


def test_every_layer_has_an_explicit_name_of_its_own(trained):
    _, model = trained
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names)
    counted = r"(conv2d|depthwise_conv2d|batch_normalization|p_re_lu|dense|activation|add)(_\d+)?"
    assert not [name for name in names if re.fullmatch(counted, name)]


def test_prediction_network_has_the_embedding_alone(symmetric):
    name, model = symmetric
    assert model.name == name
    assert model.output_names == ["Embedding"]
    assert model.output_shape == (None, 64)


def test_symmetric_pads_every_strided_convolution(symmetric):
    name, model = symmetric
    assert padded_convolutions(model) == PADDED[name]


def test_padding_is_the_end_only_by_default(trained):
    assert padded_convolutions(trained[1]) == 0


def padded_convolutions(model):
    return sum(layer.name.endswith("_pad") for layer in model.layers)


def test_embeddings_have_length_1():
    embeddings = np.asarray(facenet((64, 64, 3), backbone=FAST)(images(3, 64)))
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)
    assert np.abs(embeddings[0] - embeddings[1]).max() > 1e-3


def test_both_modes_share_layers_and_embedding():
    train = facenet((64, 64, 3), 5, FAST, mode="train")
    predict = facenet((64, 64, 3), backbone=FAST)
    shared = [layer for layer in train.layers if layer.name != "Scores"]
    assert [layer.name for layer in shared] == [layer.name for layer in predict.layers]
    for layer in shared:
        predict.get_layer(layer.name).set_weights(layer.get_weights())
    _, embedding = train(images(2, 64))
    np.testing.assert_allclose(predict(images(2, 64)), embedding, atol=1e-6)


def test_softmax_head_is_a_dense_layer_on_the_embedding_before_l2():
    model = facenet((64, 64, 3), 5, FAST, mode="train")
    prelogits = keras.Model(model.input, model.get_layer("Prelogits").output)(images(2, 64))
    kernel, bias = model.get_layer("Scores").get_weights()
    scores, embedding = model(images(2, 64))
    np.testing.assert_allclose(scores, prelogits @ kernel + bias, rtol=1e-3, atol=1e-4)
    length = np.linalg.norm(prelogits, axis=1, keepdims=True)
    np.testing.assert_allclose(embedding, prelogits / length, atol=1e-6)


def test_arcface_head_gives_cosines():
    model = facenet((64, 64, 3), 5, FAST, mode="train", head="arcface")
    directions = model.get_layer("Scores").get_weights()[0]
    cosines, embedding = map(np.asarray, model(images(2, 64)))
    expected = embedding @ (directions / np.linalg.norm(directions, axis=0))
    np.testing.assert_allclose(cosines, expected, atol=1e-5)


def test_dropout_keeps_what_the_backbone_or_the_caller_says(trained):
    name, model = trained
    if name not in DROPOUTS:
        assert not [layer for layer in model.layers if "drop" in layer.name.lower()]
        return
    assert model.get_layer(DROPOUTS[name]).rate == pytest.approx(0.5)


def test_keep_probability_is_the_share_kept():
    model = facenet((64, 64, 3), backbone="mobilenet", keep_probability=0.8)
    assert model.get_layer("Dropout").rate == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "resnet"}, "backbone 'resnet' is not one of mobilenet, "),
        ({"mode": "test"}, "mode 'test' is neither 'predict' nor 'train'"),
        ({"mode": "train"}, "needs num_classes"),
        ({"mode": "train", "num_classes": 0}, "needs num_classes"),
        ({"head": "cosface"}, "head 'cosface' is neither"),
    ],
)
def test_wrong_settings_say_what_is_wrong(settings, message):
    with pytest.raises(ValueError, match=message):
        facenet(**{"backbone": FAST, **settings})
