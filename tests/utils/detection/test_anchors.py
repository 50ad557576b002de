from math import ceil

import numpy as np
import pytest

from utils.detection.anchors import Anchors

CFG = {"steps": [8, 16, 32], "min_sizes": [[16, 32], [64, 128], [256, 512]]}


def brute_force(cfg, size):
    rows = []
    for step, sizes in zip(cfg["steps"], cfg["min_sizes"], strict=True):
        for i in range(ceil(size[0] / step)):
            for j in range(ceil(size[1] / step)):
                for side in sizes:
                    x, y, half = (j + 0.5) * step, (i + 0.5) * step, side / 2
                    corner = [(x - half) / size[1], (y - half) / size[0]]
                    rows.append([*corner, (x + half) / size[1], (y + half) / size[0]])
    return np.array(rows)


def test_hand_worked():
    anchors = Anchors(CFG, image_size=(32, 64)).get_anchors()
    assert anchors.dtype == np.float32
    # Levels of 4 x 8, 2 x 4 and 1 x 2 cells, two anchors a cell.
    assert anchors.shape == (84, 4)
    pixels = anchors * [64, 32, 64, 32]
    expected = {
        0: [-4, -4, 12, 12],  # level 8, cell (0, 0), centre (4, 4), size 16
        1: [-12, -12, 20, 20],  # the same cell, size 32
        2: [4, -4, 20, 12],  # the next cell of the row
        16: [-4, 4, 12, 20],  # the first cell of the second row
        64: [-24, -24, 40, 40],  # level 16, centre (8, 8), size 64
        83: [48 - 256, 16 - 256, 48 + 256, 16 + 256],  # the last: level 32, size 512
    }
    for index, box in expected.items():
        assert pixels[index].tolist() == box


@pytest.mark.parametrize("size", [(160, 192), (100, 101), (1, 1), (37, 640)])
def test_as_brute_force(size):
    anchors = Anchors(CFG, size).get_anchors()
    np.testing.assert_allclose(anchors, brute_force(CFG, size), rtol=1e-6, atol=1e-6)


def test_other_settings():
    cfg = {"steps": [4, 64], "min_sizes": [[10], [20, 30, 40]]}
    np.testing.assert_allclose(Anchors(cfg, (64, 96)).get_anchors(), brute_force(cfg, (64, 96)), atol=1e-6)


def test_count_of_the_usual_input():
    assert len(Anchors(CFG, (1280, 1280)).get_anchors()) == 67200
    assert len(Anchors(CFG, [160, 192]).get_anchors()) == 1260


def test_shared_and_read_only():
    anchors = Anchors(CFG, (64, 64)).get_anchors()
    assert Anchors(CFG, (64, 64)).get_anchors() is anchors
    with pytest.raises(ValueError, match="read-only"):
        anchors[0] = 0
    assert Anchors({**CFG, "steps": [8, 16, 64]}, (64, 64)).get_anchors() is not anchors


def test_errors():
    with pytest.raises(ValueError, match="3 steps but 1 min_sizes"):
        Anchors({**CFG, "min_sizes": [[16, 32]]}, (64, 64))
    with pytest.raises(ValueError, match="image_size"):
        Anchors(CFG, (0, 64))
