import numpy as np
import pytest
import tensorflow as tf

from utils.generators.face_augmentations import PRESETS, Augmentation, augment

ALWAYS = {"flip": 1.0, "warp": 1.0, "colour": 1.0, "grey": 1.0, "blur": 1.0, "jpeg": 1.0, "erase": 1.0}


def noise(height=24, width=20, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def smooth(height=24, width=20):
    y, x = np.mgrid[:height, :width]
    return np.stack([60 + 5 * x, 60 + 4 * y, 100 + 2 * x + y], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_none_changes_nothing(dtype):
    image = noise()
    changed = augment(tf.constant(image.astype(dtype)), (1, 2), PRESETS["none"])
    assert changed.dtype == tf.uint8
    np.testing.assert_array_equal(changed, image)


@pytest.mark.parametrize("name", [*ALWAYS, "strong"])
def test_seed_decides_in_eager_and_graph(name):
    settings = Augmentation(**{name: 1.0}) if name in ALWAYS else PRESETS[name]
    image = tf.constant(smooth())
    compiled = tf.function(lambda seed: augment(image, seed, settings))
    one, same, graph = (
        call([3, 4]).numpy()
        for call in (lambda s: augment(image, s, settings),) * 2 + (lambda s: compiled(tf.constant(s)),)
    )
    assert one.shape == image.shape and one.dtype == np.uint8
    np.testing.assert_array_equal(one, same)
    # Compiled arithmetic may round another way.
    assert np.abs(one.astype(int) - graph).max() <= 1
    results = {compiled(tf.constant([3, position])).numpy().tobytes() for position in range(12)}
    assert len(results) == 1 if name in ("flip", "grey") else len(results) > 6


@pytest.mark.parametrize("name", ALWAYS)
def test_each_happens_as_often_as_its_probability_says(name):
    image = tf.constant(smooth())
    compiled = tf.function(lambda seed: augment(image, seed, Augmentation(**{name: 0.3})))
    changed = [not np.array_equal(compiled(tf.constant([0, i])), image) for i in range(200)]
    assert 0.2 < np.mean(changed) < 0.4


def test_flip_mirrors():
    image = noise()
    np.testing.assert_array_equal(augment(image, (0, 0), Augmentation(flip=1.0)), image[:, ::-1])


def test_random_crops_are_windows_of_the_image_and_reach_every_place():
    rows, columns = np.mgrid[:7, :6]
    image = np.stack([rows, columns, 0 * rows], axis=-1).astype(np.uint8)
    corners = set()
    for position in range(120):
        window = augment(image, (5, position), Augmentation(), size=(4, 5)).numpy()
        assert window.shape == (4, 5, 3)
        top, left = window[0, 0, :2]
        np.testing.assert_array_equal(window, image[top : top + 4, left : left + 5])
        corners.add((int(top), int(left)))
    assert corners == {(top, left) for top in range(4) for left in range(2)}


def test_grey_has_equal_channels():
    changed = augment(noise(), (0, 0), Augmentation(grey=1.0)).numpy()
    assert (changed == changed[..., :1]).all()


def test_erased_area_is_in_range():
    settings = Augmentation(erase=1.0, erase_area=(0.1, 0.2))
    image = tf.constant(noise(64, 64))
    compiled = tf.function(lambda seed: augment(image, seed, settings))
    for position in range(40):
        changed = (compiled(tf.constant([0, position])).numpy() != image.numpy()).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        area = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) / 64**2
        assert 0.08 < area < 0.23
