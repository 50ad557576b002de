import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from nets.backbones import BACKBONES
from nets.block_distillation import BlockDistillation, relative_error, split_blocks
from nets.facenet import facenet
from nets.layers import BatchNormalization
from nets.retinaface import MOBILENET_BLOCKS, RetinaFace
from utils.config import cfg_mnet


def forked():
    """Input -> a -> b = a + conv(a); c joins a and b."""
    inputs = keras.Input((4, 4, 3))
    a = layers.Conv2D(5, 1, name="a")(inputs)
    y = BatchNormalization(name="norm")(layers.Conv2D(5, 1, name="conv")(a))
    b = layers.Add(name="b")([y, a])
    c = layers.Conv2D(2, 1, name="c")(layers.Concatenate(name="join")([a, b]))
    return keras.Model(inputs, c)


def images(count=16, side=4):
    return tf.constant(np.random.default_rng(0).normal(size=(count, side, side, 3)), tf.float32)


def test_blocks_take_what_they_are_computed_from():
    network = forked()
    blocks = split_blocks(network, ["a", "b", "c"])
    assert [sources for sources, _ in blocks] == [[-1], [0], [0, 1]]
    known = {-1: images()}
    for number, (sources, block) in enumerate(blocks):
        known[number] = block([known[i] for i in sources])
    np.testing.assert_allclose(known[2], network(images()), rtol=1e-5, atol=1e-6)


def test_blocks_hold_every_weight_once():
    for network, names in (
        (facenet(backbone="arcface_mobilefacenet"), BACKBONES["arcface_mobilefacenet"].blocks),
        (RetinaFace(cfg_mnet), MOBILENET_BLOCKS),
    ):
        ids = [id(w) for _, block in split_blocks(network, names) for w in block.weights]
        assert sorted(ids) == sorted(id(w) for w in network.weights)


def test_an_equal_student_has_no_error_and_another_one_has():
    teacher, student, equal = forked(), forked(), forked()
    equal.set_weights(teacher.get_weights())
    names = ["a", "b", "c"]
    same = BlockDistillation(equal, teacher, names)(images(), False)
    assert float(same) == pytest.approx(0, abs=1e-6)
    assert float(BlockDistillation(student, teacher, names)(images(), False)) > 0.1


def test_each_block_is_given_what_the_teacher_computed():
    teacher, student = forked(), forked()
    student.set_weights(teacher.get_weights())
    student.get_layer("a").bias.assign(student.get_layer("a").bias + 100)
    blocks = BlockDistillation(student, teacher, ["a", "b", "c"])
    wrong, *right = [
        float(relative_error(block(sources), target, target)) for block, sources, target, _ in blocks._lessons(images())
    ]
    assert wrong > 100 and max(right) < 1e-9


def test_unguided_blocks_take_what_the_student_computed():
    keras.utils.set_random_seed(0)
    teacher, student = forked(), forked()
    student.set_weights(teacher.get_weights())
    student.get_layer("a").bias.assign(student.get_layer("a").bias + 100)
    errors = [
        float(BlockDistillation(student, teacher, ["a", "b", "c"], guided)(images(), False)) for guided in (True, False)
    ]
    assert errors[1] > 1.2 * errors[0]


def test_calibrate_gives_a_residual_block_the_spread_of_what_it_adds():
    teacher, student = forked(), forked()
    teacher.get_layer("norm").gamma.assign([0.01, 0.1, 1, 2, 3])
    blocks = BlockDistillation(student, teacher, ["a", "b", "c"])
    blocks.calibrate(images(64))
    added = teacher.get_layer("norm")(teacher.get_layer("conv")(teacher.get_layer("a")(images(64))))
    mean, variance = tf.nn.moments(added, [0, 1, 2])
    norm = student.get_layer("norm")
    np.testing.assert_allclose(norm.gamma, np.sqrt(variance), rtol=1e-3)
    np.testing.assert_allclose(norm.beta, mean, atol=1e-4)


def test_relative_error_by_hand():
    targets = tf.constant([[0.0, 0.0], [2.0, 4.0]])  # variances 1 and 4, floor 0.25
    outputs = tf.constant([[1.0, 0.0], [2.0, 0.0]])  # mean squared errors 0.5 and 8
    expected = (0.5 / 1.25 + 8 / 4.25) / 2
    assert float(relative_error(outputs, targets, targets)) == pytest.approx(expected)


def test_a_constant_target_has_a_finite_error():
    constant = tf.ones((4, 3))
    assert float(relative_error(constant, constant, constant)) == 0
