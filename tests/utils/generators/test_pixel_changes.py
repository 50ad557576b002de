import colorsys
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.utils.generators.test_face_augmentations import noise, smooth
from utils.generators import pixel_changes


def test_middle_crop():
    image = noise(6, 8)
    np.testing.assert_array_equal(pixel_changes.crop(image, (4, 4), 0.5, 0.5), image[1:5, 2:6])


@pytest.mark.parametrize(
    ("shift", "scale", "angle", "twin"),
    [
        ((0.0, 0.0), 1.0, 0.0, lambda x: x),
        ((0.25, 0.0), 1.0, 0.0, lambda x: np.roll(x, 2, axis=1)),
        ((0.0, -0.5), 1.0, 0.0, lambda x: np.roll(x, -4, axis=0)),
        ((0.0, 0.0), 1.0, np.pi / 2, lambda x: np.rot90(x, -1)),
        ((0.0, 0.0), 1.0, np.pi, lambda x: x[::-1, ::-1]),
    ],
)
def test_warp_by_hand(shift, scale, angle, twin):
    image = noise(8, 8).astype(np.float32)
    moved = pixel_changes.warp(tf.constant(image), shift, scale, angle).numpy()
    expected = twin(image)
    inside = np.full((8, 8), True)
    if shift[0]:
        inside[:, :2] = False
    if shift[1]:
        inside[4:] = False
    # A pixel that lands on the border by rounding error may be blended with the fill.
    np.testing.assert_allclose(moved[inside], expected[inside], atol=0.01)
    np.testing.assert_array_equal(moved[~inside], pixel_changes.FILL)


def test_warp_scales_about_the_centre():
    image = np.zeros((9, 9, 3), np.float32)
    image[3:6, 3:6] = 255
    grown = pixel_changes.warp(tf.constant(image), (0.0, 0.0), 2.0, 0.0).numpy()[..., 0]
    # An edge half-way between pixels 2 and 3 moves from 1.5 to 3 pixels off the centre.
    np.testing.assert_allclose(grown[4], [0, 127.5, 255, 255, 255, 255, 255, 127.5, 0])


def test_colour_neutral_brightness_and_contrast():
    image = smooth().astype(np.float32)

    def change(brightness=0.0, contrast=1.0, saturation=1.0, hue=0.0):
        return pixel_changes.colour(tf.constant(image), brightness, contrast, saturation, hue).numpy()

    np.testing.assert_allclose(change(), image, atol=1e-3)
    np.testing.assert_allclose(change(brightness=10.0), np.minimum(image + 10, 255), atol=1e-3)
    luma = image @ np.array([0.299, 0.587, 0.114])
    expected = luma.mean() + 0.5 * (image - luma.mean())
    np.testing.assert_allclose(change(contrast=0.5), expected, atol=1e-2)
    grey = change(saturation=0.0)
    np.testing.assert_allclose(grey, np.repeat(luma[..., None], 3, axis=2), atol=1e-2)
    assert change(brightness=300.0).max() == 255 and change(brightness=-300.0).min() == 0


def test_a_third_of_a_turn_of_hue_moves_the_channels_on():
    image = smooth().astype(np.float32)
    turned = pixel_changes.colour(tf.constant(image), 0.0, 1.0, 1.0, 1 / 3).numpy()
    np.testing.assert_allclose(turned, np.roll(image, 1, axis=2), atol=1e-2)
    red = np.full((1, 1, 3), (200.0, 50.0, 50.0), np.float32)
    red = pixel_changes.colour(tf.constant(red), 0.0, 1.0, 1.0, 0.05).numpy()[0, 0]
    assert colorsys.rgb_to_hsv(*red / 255)[0] == pytest.approx(0.05, abs=0.02)


def test_blur_keeps_means_and_loses_detail():
    board = (np.indices((16, 16)).sum(axis=0) % 2 * 255).astype(np.float32)
    image = np.repeat(board[..., None], 3, axis=2)
    blurred = pixel_changes.blur(tf.constant(image), 0.5).numpy()
    np.testing.assert_allclose(blurred, 127.5)
    np.testing.assert_allclose(pixel_changes.blur(tf.constant(image), 1.0), image)
    assert pixel_changes.blur(tf.constant(image), 0.01).shape == (16, 16, 3)


def test_compress_is_jpeg():
    image = smooth(32, 32)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=20)
    expected = np.asarray(Image.open(buffer)).astype(float)
    compressed = pixel_changes.compress(tf.constant(image), 20.0).numpy()
    assert np.abs(compressed - expected).mean() < 2
    rough = noise(32, 32)
    errors = [
        np.abs(pixel_changes.compress(tf.constant(rough), q).numpy().astype(int) - rough).mean()
        for q in (5.0, 30.0, 95.0)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_erase_by_hand():
    image = np.zeros((10, 8, 3), np.float32)
    erased = pixel_changes.erase(tf.constant(image), (0.2, 0.5), (0.3, 0.25), 7.0).numpy()
    expected = image.copy()
    expected[2:5, 4:6] = 7
    np.testing.assert_array_equal(erased, expected)


@pytest.mark.parametrize(
    ("saturation", "hue", "color", "expected"),
    [
        (1.0, 0.0, [10, 20, 30], [10, 20, 30]),
        (1.0, 1 / 3, [255, 0, 0], [0, 255, 0]),
        (1.0, -1 / 3, [0, 255, 0], [255, 0, 0]),
        (0.5, 0.1, [80, 80, 80], [80, 80, 80]),
        (0.0, 0.0, [100, 200, 50], [153, 153, 153]),  # 29.9 + 117.4 + 5.7
        (0.0, 0.0, [255, 0, 0], [76.245] * 3),
    ],
)
def test_colour_matrix(saturation, hue, color, expected):
    matrix = pixel_changes.colour_matrix(tf.constant(saturation), tf.constant(hue)).numpy()
    np.testing.assert_allclose(matrix @ np.float32(color), expected, atol=1e-2)


def test_gaussian_blur_spreads_a_point_by_sigma():
    image = np.zeros((31, 31, 3), np.float32)
    image[15, 15] = [100, 200, 50]
    blurred = pixel_changes.gaussian_blur(tf.constant(image), tf.constant(1.2)).numpy()
    np.testing.assert_allclose(blurred.sum((0, 1)), [100, 200, 50], rtol=1e-4)
    offset = np.arange(31) - 15
    np.testing.assert_allclose((blurred[..., 0].sum(0) * offset**2).sum() / 100, 1.44, rtol=1e-2)
    np.testing.assert_allclose((blurred[..., 0].sum(1) * offset**2).sum() / 100, 1.44, rtol=1e-2)


def test_gaussian_blur_keeps_a_flat_image_flat():
    np.testing.assert_allclose(pixel_changes.gaussian_blur(tf.fill([20, 24, 3], 70.0), tf.constant(2.0)), 70, rtol=1e-5)


@pytest.mark.parametrize(("quality", "low", "high"), [(100, 0, 3), (10, 3, 60)])
def test_compress_keeps_floats(quality, low, high):
    y, x = np.mgrid[:32, :40].astype(np.float32)
    image = np.repeat((3 * x + 2 * y + 20 * np.sin(x + y) + 20)[..., None], 3, axis=-1)
    changed = pixel_changes.compress(tf.constant(image), tf.constant(quality)).numpy()
    assert changed.shape == image.shape and low <= np.abs(changed - image).mean() <= high
