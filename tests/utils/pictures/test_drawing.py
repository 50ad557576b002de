import numpy as np
import pytest

from utils.faces.detections import Detections
from utils.pictures.drawing import GREEN, RED, contact_sheet, draw_detections, side_by_side


def canvas(height=200, width=300):
    return np.full((height, width, 3), 90, np.uint8)


def faces(boxes=((50, 60, 120, 140),)):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    middle = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    return Detections(boxes, np.ones(len(boxes)) * 0.5, np.repeat(middle, 5, axis=1))


def count_of(image, colour):
    return int((image == np.array(colour, np.uint8)).all(axis=-1).sum())


def test_draws_box_points_and_label():
    image = canvas()
    drawn = draw_detections(image, faces())
    assert drawn.dtype == np.uint8 and drawn.shape == image.shape and drawn.flags.writeable
    assert (image == 90).all()
    for x, y in [(50, 100), (120, 100), (80, 140)]:
        assert drawn[y, x].tolist() == list(GREEN)
    assert drawn[100, 85].tolist() != [90] * 3
    assert drawn[120, 65].tolist() == [90] * 3
    assert (drawn[40:60, 50:80] != 90).any() and (drawn[150:] == 90).all()


def test_no_faces_and_empty_label():
    assert (draw_detections(canvas(), Detections.empty()) == 90).all()
    drawn = draw_detections(canvas(), faces(), [""])
    assert (drawn[:60] == 90).all()


def test_colours_and_label_lengths():
    drawn = draw_detections(canvas(), faces(), ["somebody"], [RED])
    assert count_of(drawn, RED) > 200 and count_of(drawn, GREEN) == 0
    wider = draw_detections(canvas(), faces(), ["somebody with a long name"], [RED])
    assert count_of(wider, RED) > count_of(drawn, RED)
    for labels, colours in ((["a", "b"], None), (None, [])):
        with pytest.raises(ValueError, match="1 faces"):
            draw_detections(canvas(), faces(), labels, colours)


@pytest.mark.parametrize(
    "box", [(-40, -40, 20, 20), (280, 180, 900, 900), (5, 5, 5, 5), (9, 9, 3, 3), (400, 0, 500, 90)]
)
def test_boxes_over_the_border_or_empty(box):
    drawn = draw_detections(canvas(), faces([box]), ["a label"])
    assert drawn.shape == (200, 300, 3) and count_of(drawn, GREEN) > 50


def test_one_pixel_image():
    assert draw_detections(canvas(1, 1), faces([(0, 0, 1, 1)])).shape == (1, 1, 3)


def test_line_width_grows_with_the_image():
    thin = draw_detections(canvas(), faces([(50, 60, 250, 190)]), [""])
    thick = draw_detections(canvas(2000, 3000), faces([(500, 600, 2500, 1900)]), [""])
    assert thin[130, 50:60, 1].tolist().count(200) == 1
    assert thick[1300, 500:520, 1].tolist().count(200) == 8


@pytest.mark.parametrize("text", ["José Ñandú", "Ελένη", "Иван", "李明", "a\nb\t c", "🙂"])
def test_labels_in_any_script(text):
    plate = draw_detections(canvas(), faces(), [text])[:60]
    assert count_of(plate, GREEN) > 50


def test_a_note_lies_in_the_top_left_corner():
    picture = draw_detections(canvas(), faces(), [""], note="25 fps")
    assert (picture[0, 0] == 0).all() and (picture[-1] == 90).all()
    assert (picture[:40, :100] != 90).any(axis=-1).sum() > 100
    assert (draw_detections(canvas(), faces([]), []) == 90).all()


def test_side_by_side_hand_worked():
    left, right = canvas(100, 50), np.full((50, 100, 3), 7, np.uint8)
    row = side_by_side([left, right], height=200)
    # Widths 100 and 400, a gap of 200 / 40.
    assert row.shape == (200, 505, 3)
    assert (row[:, :100] == 90).all() and (row[:, 100:105] == 255).all()
    assert (row[:, 105:] == 7).all()


@pytest.mark.parametrize("caption", ["short", "a caption that is far too long for the row " * 2])
def test_caption_stays_inside_its_strip(caption):
    row = side_by_side([canvas(), canvas()], caption, RED, height=200)
    assert row.shape == (225, 605, 3)
    strip = (row[200:] != 255).any(axis=-1)
    assert strip.sum() > 20 and not strip[:, [0, -1]].any() and not strip[-1].any()
    assert (row[:200, :300] == 90).all()


def test_side_by_side_needs_images():
    with pytest.raises(ValueError, match="no images"):
        side_by_side([], "caption")


def plain(value, height=20, width=20):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize("count, cells", [(1, (1, 4)), (4, (1, 4)), (5, (2, 4)), (17, (4, 5)), (100, (10, 10))])
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
