import numpy as np
import pytest

from utils.pictures.contact_sheet import contact_sheet


def plain(value, height=20, width=20):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize(
    "count, cells", [(1, (1, 4)), (4, (1, 4)), (5, (2, 4)), (17, (4, 5)), (100, (10, 10))]
)
def test_cells_are_in_order_and_the_rest_is_white(count, cells):
    sheet = contact_sheet([plain(2 * i) for i in range(count)], side=20)
    assert sheet.shape == (20 * cells[0], 20 * cells[1], 3)
    centres = sheet[10::20, 10::20].reshape(-1, 3)
    expected = [2 * i for i in range(count)] + [255] * (cells[0] * cells[1] - count)
    assert (centres == np.array(expected)[:, None]).all()


def test_an_image_keeps_its_ratio():
    sheet = contact_sheet([plain(0, 10, 40)], side=40)
    rows = np.flatnonzero((sheet[:, 20] < 128).all(axis=1))
    assert rows.tolist() == list(range(15, 25))


def test_the_caption_is_below():
    bare, captioned = (contact_sheet([plain(9)] * 4, text, side=40) for text in ("", "group 1 二"))
    assert len(captioned) > len(bare)
    np.testing.assert_array_equal(captioned[:40], bare)
    assert (captioned[40:] < 128).any()


def test_no_images():
    with pytest.raises(ValueError, match="no images"):
        contact_sheet([])
