import numpy as np
import pytest

from utils.faces.alignment import ARCFACE_TEMPLATE
from utils.video.appearance import appearance

RNG = np.random.default_rng(0)
FACE = np.kron(RNG.integers(40, 200, (8, 8, 3)), np.ones((14, 14, 1))).astype(np.uint8)
OTHER = np.kron(RNG.integers(40, 200, (8, 8, 3)), np.ones((14, 14, 1))).astype(np.uint8)


def test_unit_length_and_mean_zero():
    look = appearance(FACE, ARCFACE_TEMPLATE)
    assert look.shape == (400,) and look.dtype == np.float32
    assert abs(look.mean()) < 1e-6 and abs(np.linalg.norm(look) - 1) < 1e-5


@pytest.mark.parametrize(
    "change",
    [
        lambda image: (image * 0.6 + 20).astype(np.uint8),
        lambda image: np.pad(image, ((30, 0), (50, 0), (0, 0)), "edge"),
        lambda image: np.kron(image, np.ones((2, 2, 1), np.uint8)),
    ],
)
def test_light_place_and_size_do_not_matter(change):
    points = {112: ARCFACE_TEMPLATE, 142: ARCFACE_TEMPLATE + [50, 30], 224: ARCFACE_TEMPLATE * 2}
    changed = change(FACE)
    look = appearance(changed, points[len(changed)])
    assert look @ appearance(FACE, ARCFACE_TEMPLATE) > 0.97


def test_another_face_and_a_plain_one():
    look = appearance(FACE, ARCFACE_TEMPLATE)
    assert abs(look @ appearance(OTHER, ARCFACE_TEMPLATE)) < 0.5
    assert not appearance(np.full_like(FACE, 9), ARCFACE_TEMPLATE).any()
