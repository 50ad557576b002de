import keras
import pytest
from keras import layers

from nets.facenet import facenet
from utils.export.summary import flops, input_size, networks


def test_hand_counted():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(inputs)  # 8*8*4 * 2*27 = 13,824
    x = layers.DepthwiseConv2D(3, strides=2, padding="same")(x)  # 4*4*4 * (2*9 + 1) = 1,216
    x = layers.Dense(5)(layers.Flatten()(x))  # 5 * (2*64 + 1) = 645
    assert flops(keras.Model(inputs, x)) == 13_824 + 1_216 + 645


def test_mobilefacenet_costs_about_what_its_paper_says():
    # 221 million multiply-adds for the 128-D network of the paper's table 1, at 112 x 112
    count = flops(facenet(backbone="arcface_mobilefacenet"))
    assert 0.9 < count / 2 / 221e6 < 2.1


def test_unknown_size_is_an_error():
    inputs = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match="unknown size"):
        flops(keras.Model(inputs, layers.Conv2D(4, 3)(inputs)))


def test_networks_of_the_names():
    recognizer, detector = networks("mobilenet", "resnet50", [64, 96, 3])
    assert recognizer.name == "mobilenet" and detector.name == "retinaface_resnet50"
    assert detector.input_shape == (None, 64, 96, 3)


def test_input_size():
    assert input_size(None) is None
    assert input_size((640, 480, 3)) == (640, 480)
    assert input_size([640, 480]) == (640, 480)
    for shape in (640, (640,), "640"):
        with pytest.raises(ValueError, match="^detector_input_shape .*: height, width, 3 expected"):
            input_size(shape)
