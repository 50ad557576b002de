import numpy as np
import pytest

from utils.detection import summed_area
from utils.detection.summed_area import SummedArea


@pytest.fixture(params=["int32", "float64"])
def image(request, monkeypatch):
    if request.param == "float64":  # as for images too large for int32 sums
        monkeypatch.setattr(summed_area, "_INT32_PIXELS", 0)
    return np.random.default_rng(0).integers(0, 256, (23, 31, 3), np.uint8)


def average(image, size):
    """The definition, pixel by pixel; `image` as float."""
    height, width = image.shape[:2]
    rows, columns = size
    result = np.empty((rows, columns, 3))
    for i in range(rows):
        top, bottom = int(np.floor(i * height / rows)), int(np.ceil((i + 1) * height / rows))
        for j in range(columns):
            left, right = (int(np.floor(j * width / columns)), int(np.ceil((j + 1) * width / columns)))
            result[i, j] = image[top:bottom, left:right].mean(axis=(0, 1))
    return result


def test_hand_worked_row():
    image = np.repeat(np.uint8([[[10], [20], [60]]]), 3, axis=2)
    found = SummedArea(image).resize((1, 2))
    np.testing.assert_allclose(found[0, :, 0], [15, 40])  # pixels 0 to 1, pixels 1 to 2


@pytest.mark.parametrize("size", [(23, 31), (1, 1), (12, 19), (7, 31), (40, 65)])
def test_resize(image, size):
    found = SummedArea(image).resize(size)
    assert found.dtype == np.float32 and found.shape == (*size, 3)
    np.testing.assert_allclose(found, average(image.astype(float), size), rtol=1e-5)


def test_crops_inside_across_and_beyond_the_border(image):
    boxes = np.array([[3, 4, 20, 21], [0, 0, 31, 23], [-5, -7, 9, 9], [25, 15, 41, 30], [5, 6, 6, 7], [50, 50, 60, 62]])
    padded = np.zeros((123, 131, 3))
    padded[50:73, 50:81] = image
    found = SummedArea(image).crop_resize(boxes, 6)
    assert found.dtype == np.float32
    for (x1, y1, x2, y2), crop in zip(boxes + 50, found, strict=True):
        np.testing.assert_allclose(crop, average(padded[y1:y2, x1:x2], (6, 6)), rtol=1e-5, atol=1e-4)


def test_no_crops(image):
    assert SummedArea(image).crop_resize(np.zeros((0, 4), int), 24).shape == (0, 24, 24, 3)


def test_white_stays_white():
    image = np.full((300, 400, 3), 255, np.uint8)
    np.testing.assert_allclose(SummedArea(image).resize((97, 50)), 255, rtol=1e-6)
