import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from nets.normalization import normalize
from utils.config import cfg_mnet
from utils.detection.anchors import Anchors
from utils.detection.box_coding import decode_boxes, decode_landmarks
from utils.export.serving import DecodeAnchors, serve_mtcnn, serve_recognizer, serve_retinaface


def decoder():
    return DecodeAnchors(cfg_mnet)


def pixels(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.float32)


@pytest.mark.parametrize("size", [(32, 32), (64, 160), (33, 50), (1, 1)])
def test_anchors_are_those_of_the_wrappers(size):
    want = Anchors(cfg_mnet, size).get_anchors()
    np.testing.assert_allclose(decoder().anchors(tf.constant(size)), want, rtol=0, atol=1e-6)


def test_decodes_as_the_wrappers_do():
    anchors = Anchors(cfg_mnet, (32, 64)).get_anchors()
    rng = np.random.default_rng(0)
    codes, scores, points = (rng.normal(size=(2, len(anchors), width)).astype(np.float32) for width in (4, 2, 10))
    found = decoder()([codes, scores, points, np.zeros((2, 32, 64, 3), np.float32)])
    np.testing.assert_allclose(found["boxes"], decode_boxes(codes, anchors), atol=1e-5)
    want = decode_landmarks(points, anchors).reshape(2, -1, 5, 2)
    np.testing.assert_allclose(found["landmarks"], want, atol=1e-5)
    np.testing.assert_array_equal(found["scores"], scores[..., 1])


def test_recognizer_takes_pixels():
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Dense(4, name="dense")(layers.Flatten(name="flatten")(inputs))
    network = keras.Model(inputs, layers.UnitNormalization(name="unit")(x), name="recognizer")
    served = serve_recognizer(network, "symmetric")
    images = pixels(3, 8, 8, 3)
    got = served(images)
    assert list(got) == ["embedding"] and served.name == "recognizer"
    np.testing.assert_allclose(got["embedding"], network(images / 127.5 - 1), atol=1e-6)


@pytest.mark.parametrize("size", [None, (32, 64)])
def test_retinaface_takes_pixels_of_open_or_fixed_size(size):
    served = serve_retinaface(small_detector(), cfg_mnet, size)
    assert served.input_shape == (None, *(size or (None, None)), 3)
    images = pixels(2, 32, 64, 3)
    got = served(images)
    codes, scores, points = small_detector()(normalize(images, "caffe"))
    anchors = Anchors(cfg_mnet, (32, 64)).get_anchors()
    np.testing.assert_allclose(got["boxes"], decode_boxes(codes.numpy(), anchors), 1e-5, 1e-5)
    np.testing.assert_array_equal(got["scores"], scores[..., 1])
    assert got["landmarks"].shape == (2, len(anchors), 5, 2)


def small_detector():
    """Has the outputs of RetinaFace and next to no layers between."""
    inputs = keras.Input((None, None, 3), name="image")
    values = keras.initializers.RandomUniform(-0.01, 0.01, seed=1)
    outputs = [
        layers.Concatenate(axis=1, name=name)(
            [
                layers.Reshape((-1, width), name=f"{name}_{step}")(
                    layers.Conv2D(2 * width, step, step, kernel_initializer=values, name=f"{name}_conv{step}")(inputs)
                )
                for step in cfg_mnet["steps"]
            ]
        )
        for name, width in (("bbox_reg", 4), ("cls", 2), ("ldm_reg", 10))
    ]
    return keras.Model(inputs, outputs, name="small_detector")


@pytest.mark.parametrize("widths", [(2, 4), (2, 4, 10)])
def test_mtcnn_names_its_results(widths):
    inputs = keras.Input((6, 6, 3), name="image")
    flat = layers.Flatten(name="flatten")(inputs)
    network = keras.Model(inputs, [layers.Dense(w, name=f"dense{w}")(flat) for w in widths])
    images = pixels(2, 6, 6, 3)
    got, want = serve_mtcnn(network)(images), network((images - 127.5) / 128)
    np.testing.assert_allclose(got["scores"], want[0][:, 1], atol=1e-5)
    for name, values in zip(("offsets", "landmarks"), want[1:], strict=False):
        np.testing.assert_allclose(got[name], values, atol=1e-5)
    assert len(got) == len(widths)


def test_normalisation_is_rebuilt_from_its_settings():
    layer = serve_mtcnn(small_mtcnn()).get_layer("normalize")
    twin = type(layer).from_config(layer.get_config())
    assert twin.get_config() == layer.get_config()


def small_mtcnn():
    inputs = keras.Input((6, 6, 3), name="image")
    flat = layers.Flatten(name="flatten")(inputs)
    return keras.Model(inputs, [layers.Dense(2, name="a")(flat), layers.Dense(4, name="b")(flat)])
