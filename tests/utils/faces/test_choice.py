import numpy as np
import pytest

from tests.utils.faces.test_photo_stream import faces
from utils.faces.choice import central_face, largest_face, weighted_areas, weighted_face


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([[40, 40, 60, 60]], 0),
        # Areas 400 and 900; offsets of 0 and hypot(35, 35) pixels cost 0 and 4900.
        ([[0, 0, 30, 30], [40, 40, 60, 60]], 1),
        # Far larger, a little off the centre: 3600 - 2 * 10 ** 2 beats 400.
        ([[40, 40, 60, 60], [10, 20, 70, 80]], 1),
        # Equal: the first.
        ([[30, 40, 50, 60], [50, 40, 70, 60]], 0),
    ],
)
def test_central_face(boxes, expected):
    assert central_face(faces(*boxes), (100, 100)) == expected


def test_central_face_of_an_image_that_is_not_square():
    left, right = [40, 40, 60, 60], [90, 40, 110, 60]
    assert central_face(faces(left, right), (100, 200)) == 1
    assert central_face(faces(left, right), (100, 100)) == 0


def test_weighted_areas():
    boxes = np.float32([[0, 0, 50, 50], [30, 30, 70, 70], [-10, -10, 10, 10], [-60, -60, -50, -50]])
    np.testing.assert_allclose(weighted_areas(boxes, (100, 100)), [1250, 1600, 0, 0], rtol=0, atol=1e-3)
    # Twice the photo: the same face wins.
    np.testing.assert_allclose(weighted_areas(2 * boxes, (200, 200)), [5000, 6400, 0, 0], rtol=0, atol=1e-3)
    # 100 wide, 60 high: the centre is (50, 30), farthest 58.31; (50, 10) lies 20 from it.
    value = weighted_areas(np.float32([[45, 5, 55, 15]]), (60, 100))
    np.testing.assert_allclose(value, [100 * (1 - 20 / 58.309519)], rtol=1e-5)
    assert weighted_areas(np.zeros((0, 4), np.float32), (60, 100)).shape == (0,)


def test_the_rules_differ():
    """A small face in the middle, a large one beside it, a larger one in the corner."""
    photo = faces([490, 490, 510, 510], [300, 300, 500, 500], [0, 0, 220, 220])
    size = (1000, 1000)
    assert (central_face(photo, size), weighted_face(photo, size), largest_face(photo)) == (0, 1, 2)


def test_of_equals_the_first_is_taken():
    photo = faces([40, 40, 60, 60], [40, 40, 60, 60])
    for choose in (central_face, weighted_face, largest_face):
        assert choose(photo, (100, 100)) == 0
