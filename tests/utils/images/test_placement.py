import numpy as np
import pytest
from PIL import Image

from tests.utils.images.test_image_files import assert_rgb, photo
from utils.images.placement import Letterbox, fit_within, letterbox, pad_to_multiple, resize


@pytest.mark.parametrize("size", [(20, 30), (80, 90), (20, 90), (1, 1), (40, 60)])
def test_resize_size_and_mean(size):
    image = resize(photo(), size)
    assert_rgb(image, (*size, 3))
    assert np.abs(image.mean(axis=(0, 1)) - photo().mean(axis=(0, 1))).max() < 2


def test_resize_averages_when_shrinking():
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    assert (resize(stripes, (2, 2)) == 100).all()
    assert (resize(stripes, (16, 4)) == 100).all()


def test_resize_refuses_no_pixels():
    with pytest.raises(ValueError, match="at least 1"):
        resize(photo(), (0, 5))


def reference_letterbox(image, size):
    """The arithmetic of the FaceNet and ArcFace originals."""
    height, width = size
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = int(image.shape[1] * scale), int(image.shape[0] * scale)
    canvas = Image.new("RGB", (width, height), (128, 128, 128))
    resized = Image.fromarray(image).resize(inner, Image.Resampling.BICUBIC)
    canvas.paste(resized, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return np.asarray(canvas)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (33, 47), (112, 112), (300, 7), (7, 300)])
def test_letterbox_as_the_originals(shape):
    image = photo(*shape)
    assert (letterbox(image, (112, 112))[0] == reference_letterbox(image, (112, 112))).all()


def test_letterbox_hand_worked():
    image = np.full((10, 20, 3), 50, np.uint8)
    canvas, box = letterbox(image, (100, 100), fill=(1, 2, 3), resample="linear")
    assert box == Letterbox(5.0, 5.0, 0, 25)
    assert (canvas[25:75] == 50).all() and (canvas[:25] == [1, 2, 3]).all()
    assert (canvas[75:] == [1, 2, 3]).all()
    assert box.apply([[0, 0], [20, 10]]).tolist() == [[0, 25], [100, 75]]
    assert box.invert([0, 25, 100, 75]).tolist() == [0, 0, 20, 10]


def test_letterbox_fills_the_longer_side():
    for side in range(1, 400):
        image = np.zeros((1, side, 3), np.uint8)
        assert letterbox(image, (112, 112), resample="linear")[1].left == 0


@pytest.mark.parametrize("shape", [(1, 1000), (1000, 1), (1, 1), (5000, 2)])
@pytest.mark.parametrize("resample", ["bicubic", "linear"])
def test_letterbox_of_slivers(shape, resample):
    canvas, box = letterbox(np.zeros((*shape, 3), np.uint8), (112, 112), resample=resample)
    assert_rgb(canvas, (112, 112, 3))
    assert (canvas == 0).any() and min(box.scale_x, box.scale_y) > 0


def test_letterbox_errors():
    with pytest.raises(ValueError, match="resample 'cubic'"):
        letterbox(photo(), (10, 10), resample="cubic")
    with pytest.raises(ValueError, match="size"):
        letterbox(photo(), (0, 10))


@pytest.mark.parametrize("shape", [(0, 2), (3, 2), (2, 4), (3, 5, 2), (4, 10)])
def test_points_round_trip(shape):
    points = np.random.default_rng(0).uniform(-50, 500, shape)
    _, box = letterbox(photo(31, 57), (112, 96))
    there = box.apply(points)
    assert there.dtype == np.float32 and there.shape == shape
    np.testing.assert_allclose(box.invert(there), points, atol=1e-3)


@pytest.mark.parametrize(
    ("limit", "enlarge", "expected"),
    [
        (120, True, (80, 120)),
        (30, True, (20, 30)),
        (120, False, (40, 60)),
        (30, False, (20, 30)),
        ((20, 200), True, (20, 30)),
        (np.int64(60), True, (40, 60)),
    ],
)
def test_fit_within(limit, enlarge, expected):
    image, box = fit_within(photo(), limit, enlarge=enlarge)
    assert_rgb(image, (*expected, 3))
    corner = box.apply([60, 40])
    assert corner.tolist() == [expected[1], expected[0]]


def test_fit_within_is_a_letterbox_without_bars():
    image = photo(33, 47)
    canvas, box = letterbox(image, (112, 112), resample="linear")
    fitted, _ = fit_within(image, 112)
    assert (canvas[box.top : box.top + len(fitted)] == fitted).all()


@pytest.mark.parametrize(("shape", "padded"), [((1, 33), (32, 64)), ((64, 32), (64, 32))])
def test_pad_to_multiple(shape, padded):
    image = np.full((*shape, 3), 9, np.uint8)
    result = pad_to_multiple(image, 32, fill=(1, 2, 3))
    assert_rgb(result, (*padded, 3))
    assert (result[: shape[0], : shape[1]] == 9).all()
    result = result.copy()
    result[: shape[0], : shape[1]] = [1, 2, 3]
    assert (result == [1, 2, 3]).all()
