import numpy as np
import pytest
import tensorflow as tf

from nets.normalization import NORMALIZATIONS, normalize


@pytest.mark.parametrize(
    ("kind", "pixel", "expected"),
    [
        ("unit", (0, 51, 255), (0, 0.2, 1)),
        ("symmetric", (0, 51, 255), (-1, -0.6, 1)),
        ("fixed", (0, 127, 255), (-127.5 / 128, -0.5 / 128, 127.5 / 128)),
        ("caffe", (124, 117, 104), (104 - 103.939, 117 - 116.779, 124 - 123.68)),  # RGB -> BGR
        ("caffe", (255, 0, 0), (-103.939, -116.779, 255 - 123.68)),
    ],
)
def test_hand_worked_pixels(kind, pixel, expected):
    image = np.uint8(pixel).reshape(1, 1, 3)
    np.testing.assert_allclose(normalize(image, kind)[0, 0], expected, atol=1e-5)


def test_per_image_has_mean_0_and_deviation_1_each_on_its_own():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    images[1] //= 4
    result = normalize(images, "per_image")
    np.testing.assert_allclose(result.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(result.std(axis=(1, 2, 3)), 1, atol=1e-5)
    np.testing.assert_allclose(result[1], normalize(images[1], "per_image"), atol=1e-5)


def test_per_image_of_a_flat_image_is_0():
    np.testing.assert_array_equal(normalize(np.full((1, 4, 4, 3), 9, np.uint8), "per_image"), 0)


def test_per_image_divides_by_no_less_than_one_over_root_n():
    image = np.zeros((4, 4, 3), np.float32)
    image[0, 0, 0] = 0.48  # n = 48: mean 0.01, deviation 0.069 < 1 / sqrt(48) = 0.144
    expected = (0.48 - 0.01) * np.sqrt(48)
    assert normalize(image, "per_image")[0, 0, 0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", NORMALIZATIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(4, 5, 3), (2, 4, 5, 3), (0, 4, 5, 3)])
def test_arrays_and_tensors_agree(kind, dtype, shape):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    kept = images.copy()
    array, tensor = normalize(images, kind), normalize(tf.constant(images), kind)
    assert isinstance(array, np.ndarray) and tf.is_tensor(tensor)
    assert array.dtype == np.float32 and tensor.dtype == tf.float32
    assert array.shape == tuple(tensor.shape) == shape
    np.testing.assert_allclose(array, tensor, atol=1e-4)
    np.testing.assert_array_equal(images, kept)


def test_works_inside_a_graph():
    graph = tf.function(lambda x: normalize(x, "caffe"))
    image = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    np.testing.assert_allclose(graph(tf.constant(image)), normalize(image, "caffe"), atol=1e-4)


def test_unknown_kind_names_the_choices():
    with pytest.raises(ValueError, match="'imagenet'.*unit, symmetric, fixed, per_image, caffe"):
        normalize(np.zeros((1, 1, 3)), "imagenet")
