import numpy as np
import pytest

from tests.shared import need
from utils.faces.alignment import ARCFACE_TEMPLATE, align, crop, similarity_transform
from utils.faces.detections import Detections
from utils.images.image_files import read_image
from utils.images.placement import resize

RNG = np.random.default_rng(0)


def umeyama(src, dst):
    """Umeyama's equations 38 to 43, with the singular value decomposition, as written."""
    mean_src, mean_dst = src.mean(0), dst.mean(0)
    variance = ((src - mean_src) ** 2).sum(1).mean()
    covariance = (dst - mean_dst).T @ (src - mean_src) / len(src)
    u, values, vt = np.linalg.svd(covariance)
    sign = np.array([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (values * sign).sum() / variance
    return np.c_[scale * rotation, mean_dst - scale * rotation @ mean_src]


def similarity(angle, scale, shift):
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def move(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


def test_transform_hand_worked():
    src = [[0, 0], [1, 0]]
    matrix = similarity_transform(src, [[5, 5], [5, 7]])
    np.testing.assert_allclose(matrix, [[0, -2, 5], [2, 0, 5]], atol=1e-12)


@pytest.mark.parametrize("angle", [0, 0.3, -2, np.pi])
@pytest.mark.parametrize("scale", [0.01, 1, 30])
def test_transform_is_recovered(angle, scale):
    expected = similarity(angle, scale, (700, -20))
    src = RNG.uniform(0, 2000, (5, 2))
    matrix = similarity_transform(src, move(expected, src))
    np.testing.assert_allclose(matrix, expected, rtol=1e-7, atol=1e-7 * scale)


@pytest.mark.parametrize("mirror", [1, -1])
def test_transform_as_umeyama_even_of_a_mirrored_face(mirror):
    for _ in range(20):
        src = RNG.uniform(0, 100, (5, 2))
        dst = src * [mirror, 1] + RNG.normal(0, 5, (5, 2))
        np.testing.assert_allclose(similarity_transform(src, dst), umeyama(src, dst), atol=1e-8)


def test_transform_of_a_batch():
    src = RNG.uniform(0, 100, (3, 4, 5, 2))
    matrices = similarity_transform(src, ARCFACE_TEMPLATE)
    assert matrices.shape == (3, 4, 2, 3)
    np.testing.assert_allclose(matrices[2, 1], umeyama(src[2, 1], ARCFACE_TEMPLATE), atol=1e-8)
    assert similarity_transform(src[:0], ARCFACE_TEMPLATE).shape == (0, 4, 2, 3)


@pytest.mark.parametrize(
    ("src", "message"),
    [
        (np.full((5, 2), 3000.1), "coincide"),
        (np.zeros((5, 2)), "coincide"),
        (np.full((5, 2), np.nan), "finite"),
        (np.full((5, 2), np.inf), "finite"),
        (np.zeros((5, 3)), r"\(..., P, 2\) with|shape"),
    ],
)
def test_transform_errors(src, message):
    with pytest.raises(ValueError, match=message):
        similarity_transform(src, ARCFACE_TEMPLATE)


def spots(size, landmarks, radius):
    """A black photo with a soft white spot at each landmark (pixel centres at whole numbers)."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    grey = np.zeros(size, np.float32)
    for px, py in landmarks:
        grey += 255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * radius**2))
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("scale", [0.4, 1, 1.7, 2.1, 5, 9.3])
@pytest.mark.parametrize("size", [112, 160])
def test_landmarks_land_on_the_template(scale, size):
    to_photo = similarity(0.2, scale, (60 * scale, 10))
    landmarks = move(to_photo, ARCFACE_TEMPLATE.astype(np.float64))
    photo = spots((int(200 * scale), int(220 * scale)), landmarks, 2.5 * scale)
    face = align(photo, landmarks, size)[..., 0].astype(float)
    y, x = np.mgrid[:size, :size]
    for px, py in ARCFACE_TEMPLATE * size / 112:
        near = face * ((np.abs(x - px) < 8) & (np.abs(y - py) < 8))
        center = np.array([(near * x).sum(), (near * y).sum()]) / near.sum()
        assert np.abs(center - [px, py]).max() < 0.25


@pytest.mark.parametrize("size", [112, 160, 1])
def test_align_on_itself_is_the_identity(size):
    image = RNG.integers(0, 256, (size, size, 3), dtype=np.uint8)
    face = align(image, ARCFACE_TEMPLATE * (size / 112), size)
    assert face.shape == (size, size, 3) and face.dtype == np.uint8
    assert np.abs(face.astype(int) - image).max() <= 1


def test_large_faces_do_not_alias():
    """Stripes finer than a pixel of the crop become an even grey."""
    photo = np.zeros((112 * 8, 112 * 8, 3), np.uint8)
    photo[:, ::2] = 255
    face = align(photo, ARCFACE_TEMPLATE * 7.3)[5:-5, 5:-5].astype(float)
    assert face.std() < 8 and abs(face.mean() - 127.5) < 2


def test_outside_is_black():
    photo = np.full((112, 112, 3), 200, np.uint8)
    face = align(photo, ARCFACE_TEMPLATE - [50, 0])
    assert (face[:, :49] == 0).all() and (face[:, 51:] == 200).all()
    large = np.full((1120, 1120, 3), 200, np.uint8)
    face = align(large, ARCFACE_TEMPLATE * 10 - [500, 0])
    assert (face[2:-2, :49] == 0).all() and (face[2:-2, 51:] == 200).all()
    assert (align(photo, ARCFACE_TEMPLATE + 5000) == 0).all()


def test_a_very_wide_photo():
    photo = np.zeros((120, 40000, 3), np.uint8)
    photo[:, 39000:] = 90
    assert (align(photo, ARCFACE_TEMPLATE + [39500, 4]) == 90).all()


@pytest.mark.parametrize(
    ("landmarks", "size", "message"),
    [
        (np.zeros((5, 2)), 112, "coincide"),
        (np.full((5, 2), np.nan), 112, "finite"),
        (np.zeros(10), 112, "shape"),
        (ARCFACE_TEMPLATE, 0, "at least 1"),
    ],
)
def test_align_errors(landmarks, size, message):
    with pytest.raises(ValueError, match=message):
        align(np.zeros((112, 112, 3), np.uint8), landmarks, size)


def test_real_faces_of_a_small_and_a_large_photo_agree():
    photo = read_image(need("data/wider/0_Parade_marchingband_1_149.jpg"))
    array = np.load(need("refs/detections_wider_149.npz"))["retinaface"]
    large = resize(photo, (684 * 6, 1024 * 6))
    for landmarks in Detections.from_array(array).landmarks[:5]:
        small_face = align(photo, landmarks).astype(int)
        large_face = align(large, landmarks * 6 + 2.5)
        assert np.abs(small_face - large_face).mean() < 6


def gradient(height=50, width=80):
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, x + y], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        ([10, 20, 30, 40], 0, (10, 20, 30, 40)),
        ([10, 20, 30, 40], 0.5, (5, 15, 35, 45)),
        ([10, 20, 30, 24], 0.5, (5, 15, 35, 29)),
        ([-9, -9, 20, 20], 0, (0, 0, 20, 20)),
        ([60, 30, 70, 45], 2, (45, 15, 80, 50)),
        ([9.6, 19.6, 30.4, 40.4], 0, (10, 20, 30, 40)),
    ],
)
def test_crop(box, margin, expected):
    image = gradient()
    face = crop(image, box, margin)
    left, top, right, bottom = expected
    np.testing.assert_array_equal(face, image[top:bottom, left:right])
    assert not np.shares_memory(face, image)


@pytest.mark.parametrize(("size", "shape"), [(20, (20, 20)), ((10, 30), (10, 30)), (90, (90, 90))])
def test_crop_resizes(size, shape):
    face = crop(gradient(), [10, 20, 30, 40], size=size)
    assert face.shape == (*shape, 3) and not np.shares_memory(face, gradient())
    np.testing.assert_allclose(face.mean(axis=(0, 1)), [19.5, 29.5, 49], atol=0.6)


@pytest.mark.parametrize("box", [[5, 5, 5, 9], [9, 9, 5, 5], [90, 5, 95, 9], [0, 0, 0, np.nan]])
def test_crop_errors(box):
    with pytest.raises(ValueError, match="box"):
        crop(gradient(), box)
