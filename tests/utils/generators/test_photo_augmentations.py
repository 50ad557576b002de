import numpy as np
import pytest
import tensorflow as tf

from utils.faces.detections import MIRRORED
from utils.generators.photo_augmentations import (
    AUGMENTATION,
    Sample,
    join_mosaic,
    mirror,
    random_appearance,
    random_color,
    random_crop_window,
    random_view,
    random_zoom_out_window,
    view,
    whole_window,
)
from utils.generators.pixel_changes import FILL

DOTS = np.float32([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255]])
FACE = np.float32([[70, 45], [110, 50], [92, 70], [75, 95], [112, 90]])  # in a 160x200 photo
NEUTRAL = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "grey": 0.0}
STILL = {**AUGMENTATION, **NEUTRAL, "mirror": 0.0, "blur": 0.0, "jpeg": 0.0}


def seed(number):
    return tf.constant([number, 7], tf.int64)


def dotted_photo(height=160, width=200):
    """A black photo with one face: a white box, and a dot of its own colour at each landmark."""
    image = np.zeros((height, width, 3), np.uint8)
    image[30:110, 60:122] = 255
    y, x = np.mgrid[:height, :width] + 0.5
    for color, point in zip(DOTS, FACE, strict=True):
        image[(x - point[0]) ** 2 + (y - point[1]) ** 2 < 36] = color
    boxes = tf.constant([[60.0, 30, 122, 110]])
    return Sample(tf.constant(image), boxes, tf.constant(FACE[None]), tf.constant([True]))


def find_dots(image):
    """Centres (5, 2) of the dots, by colour."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    masks = [np.abs(image - color).max(-1) < 100 for color in DOTS]
    return np.array([[x[mask].mean(), y[mask].mean()] for mask in masks])


def no_faces(image):
    return Sample(tf.constant(image), tf.zeros([0, 4]), tf.zeros([0, 5, 2]), tf.zeros([0], dtype=tf.bool))


def faces(*boxes):
    boxes = tf.constant(boxes, tf.float32)
    count = len(boxes)
    return Sample(tf.zeros([100, 100, 3]), boxes, tf.zeros([count, 5, 2]), tf.ones([count], tf.bool))


WINDOWS = [
    ([0, 0, 200, 160], (160, 200)),  # as it is
    ([0, 0, 200, 160], (320, 400)),  # twice as large
    ([50, 20, 130, 116], (192, 160)),  # a crop
    ([50.3, 20.7, 130.3, 100.7], (160, 160)),  # between pixels
    ([-100, -50, 300, 250], (150, 200)),  # canvas, half the size
    ([-35, 10, 165, 130], (288, 480)),  # over one border only
]


@pytest.mark.parametrize(("window", "size"), WINDOWS)
def test_view_keeps_landmarks_on_the_dots(window, size):
    sample = view(dotted_photo(), tf.constant(window, tf.float32), size)
    assert sample.image.shape == (*size, 3) and sample.image.dtype == tf.float32
    np.testing.assert_allclose(find_dots(sample.image.numpy()), sample.landmarks[0], atol=0.5)


@pytest.mark.parametrize(("window", "size"), WINDOWS)
def test_view_keeps_the_box_on_its_rectangle(window, size):
    photo = dotted_photo()
    white = np.zeros((160, 200, 3), np.uint8)
    white[30:110, 60:122] = 255
    sample = view(photo._replace(image=white), tf.constant(window, tf.float32), size)
    grey = tf.constant(white)[..., :1] * 0 + 1  # marks what is photo, not canvas
    inside = view(no_faces(np.repeat(255 * grey, 3, -1)), tf.constant(window, tf.float32), size)
    y, x = np.nonzero((sample.image.numpy()[..., 0] > 127) & (inside.image.numpy()[..., 0] > 200))
    found = [x.min(), y.min(), x.max() + 1, y.max() + 1]
    np.testing.assert_allclose(sample.boxes[0], found, atol=1.01)


def test_view_as_it_is_changes_nothing():
    photo = dotted_photo()
    sample = view(photo, tf.constant([0.0, 0, 200, 160]), (160, 200))
    np.testing.assert_allclose(sample.image, tf.cast(photo.image, tf.float32), atol=1e-3)
    np.testing.assert_array_equal(sample.boxes, photo.boxes)


def test_view_fills_what_is_outside():
    photo = no_faces(np.full((10, 10, 3), 200, np.uint8))
    image = view(photo, tf.constant([-10.0, -10, 20, 20]), (30, 30)).image.numpy()
    expected = np.full((30, 30, 3), FILL)
    expected[10:20, 10:20] = 200
    np.testing.assert_allclose(image, expected, atol=1e-3)


def test_view_is_antialiased():
    checkers = np.indices((64, 64)).sum(0)[..., None] % 2 * np.uint8([255, 255, 255])
    image = view(no_faces(checkers.astype(np.uint8)), tf.constant([0.0, 0, 64, 64]), (16, 16)).image
    np.testing.assert_allclose(image, 127.5, atol=10)


@pytest.mark.parametrize(
    ("box", "min_face", "expected"),
    [
        ([20, 20, 40, 40], 0, [20, 20, 40, 40]),
        ([-10, 20, 30, 40], 0, [0, 20, 30, 40]),  # centre inside: clipped
        ([-30, 20, 10, 40], 0, None),  # centre outside
        ([-20, 20, 20, 40], 0, None),  # centre on the border
        ([80, 90, 130, 105], 0, None),
        ([75, 90, 115, 105], 0, [75, 90, 100, 100]),
        ([20, 20, 20, 40], 0, None),  # no width
        ([20, 20, 24, 40], 5, None),
        ([20, 20, 25, 40], 5, [20, 20, 25, 40]),
        ([-4, 20, 8, 40], 9, None),  # too small once clipped
    ],
)
def test_which_faces_stay(box, min_face, expected):
    window = tf.constant([0.0, 0, 100, 100])
    sample = view(faces([50, 50, 60, 60], box), window, (100, 100), min_face)
    kept = sample.boxes.numpy()[1:]
    assert len(sample.landmarks) == len(sample.has_landmarks) == len(sample.boxes)
    np.testing.assert_allclose(kept, np.reshape(expected or [], (-1, 4)), atol=1e-4)


@pytest.mark.parametrize(
    ("image_size", "size", "expected"),
    [
        ((100, 200), (64, 64), [0, 0, 200, 200]),
        ((200, 100), (64, 64), [0, 0, 200, 200]),
        ((100, 100), (64, 128), [0, 0, 200, 100]),
    ],
)
def test_whole_window(image_size, size, expected):
    np.testing.assert_allclose(whole_window(tf.constant(image_size), size), expected)


def test_crop_windows_are_square_and_show_a_face():
    boxes = tf.constant([[180.0, 10, 190, 20], [900, 900, 910, 910]])
    sides = []
    for number in range(30):
        window = random_crop_window(tf.constant([100, 200]), boxes, (64, 64), seed(number), (0.3, 1.0))
        x1, y1, x2, y2 = window.numpy()
        assert 0 <= x1 < 185 < x2 <= 200.001 and 0 <= y1 < 15 < y2 <= 100.001
        assert x2 - x1 == pytest.approx(y2 - y1, rel=1e-4)
        sides.append(x2 - x1)
    assert 29.9 < min(sides) < 50 and 85 < max(sides) < 100.1


@pytest.mark.parametrize("boxes", [np.zeros((0, 4)), [[400, 400, 420, 420]]])
def test_crop_windows_without_a_face(boxes):
    boxes = tf.constant(boxes, tf.float32)
    window = random_crop_window(tf.constant([100, 200]), boxes, (32, 64), seed(0), (0.5, 0.5))
    assert (window.numpy() >= 0).all()
    np.testing.assert_allclose(window[2:] - window[:2], [100, 50], rtol=1e-5)


@pytest.mark.parametrize(
    ("boxes", "largest"),
    [
        (np.zeros((0, 4)), 600),
        ([[0, 0, 100, 100]], 600),
        ([[0, 0, 50, 50], [0, 0, 20, 25]], 320),  # 20 px become 4 on 64 of 320
        ([[0, 0, 8, 8]], 200),
    ],
)
def test_zoom_out_windows_hold_the_photo_and_its_faces(boxes, largest):
    boxes, image_size = tf.constant(boxes, tf.float32), tf.constant([100, 200])
    widths = []
    for number in range(30):
        window = random_zoom_out_window(image_size, boxes, (64, 64), seed(number), 3.0, 4.0)
        x1, y1, x2, y2 = window.numpy()
        assert x1 <= 0 and y1 <= 0 and x2 >= 200 and y2 >= 100
        assert x2 - x1 == pytest.approx(y2 - y1, rel=1e-4)
        widths.append(x2 - x1)
    assert 200 <= min(widths) < 250 and 0.8 * largest < max(widths) <= largest + 0.01


@pytest.mark.parametrize("zoom_out", [0.0, 1.0])
def test_random_view_keeps_landmarks_on_the_dots(zoom_out):
    settings = {**AUGMENTATION, "zoom_out": zoom_out, "crop_scale": (0.8, 1.0), "min_face": 0}
    draw = tf.function(lambda s: random_view(dotted_photo(), (160, 192), s, settings))
    checked = 0
    for number in range(12):
        sample = draw(seed(number))
        found, expected = find_dots(sample.image.numpy()), sample.landmarks[0].numpy()
        whole = ((expected > 12) & (expected < [180, 148])).all(axis=1)
        checked += whole.sum()
        np.testing.assert_allclose(found[whole], expected[whole], atol=0.6)
    assert checked > 40


def test_mirror_swaps_sides():
    photo = dotted_photo()
    sample = mirror(photo)
    expected = sample.landmarks[0].numpy()
    found = find_dots(sample.image.numpy().astype(np.float32))
    np.testing.assert_allclose(found[list(MIRRORED)], expected, atol=0.5)
    assert expected[0, 0] < expected[1, 0] and expected[3, 0] < expected[4, 0]
    np.testing.assert_allclose(sample.boxes, [[78, 30, 140, 110]])


def test_mirror_twice_changes_nothing():
    photo = dotted_photo()
    for before, after in zip(photo, mirror(mirror(photo)), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-4)


def test_mosaic_moves_faces_with_their_tile():
    tiles = [view(dotted_photo(), tf.constant([0.0, 0, 200, 160]), (80, 100)) for _ in range(4)]
    tiles[1] = tiles[1]._replace(image=tiles[1].image * 0 + 9)
    tiles[2] = no_faces(np.full((80, 100, 3), 3, np.float32))
    sample = join_mosaic(tiles)
    assert sample.image.shape == (160, 200, 3)
    assert (sample.image[:80, 100:] == 9).numpy().all() and (sample.image[80:, :100] == 3).numpy().all()
    lower_right = sample.image.numpy()[80:, 100:]
    np.testing.assert_allclose(find_dots(lower_right) + [100, 80], sample.landmarks[2], atol=0.5)
    base = np.float32([30, 15, 61, 55])
    moved = [base, base + [100, 0, 100, 0], base + [100, 80, 100, 80]]
    np.testing.assert_allclose(sample.boxes, moved)


def test_random_color_of_no_strength_changes_nothing():
    image = tf.random.stateless_uniform([8, 9, 3], [0, 1], 0, 255)
    np.testing.assert_allclose(random_color(image, seed(0), NEUTRAL), image, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("brightness", lambda before, after: np.ptp(after / before) < 1e-4),
        ("contrast", lambda before, after: np.ptp((after - 127.5) / (before - 127.5)) < 1e-3),
        ("grey", lambda before, after: np.ptp(after, axis=-1).max() < 1e-2),
    ],
)
def test_random_color_changes(name, check):
    image = tf.random.stateless_uniform([8, 9, 3], [0, 1], 60, 100)
    strength = 1.0 if name == "grey" else 0.3
    changed = random_color(image, seed(1), {**NEUTRAL, name: strength}).numpy()
    assert np.abs(changed - image).max() > 1 and check(image.numpy(), changed)


def test_random_color_stays_in_range():
    image = tf.random.stateless_uniform([8, 9, 3], [0, 1], 0, 255)
    for number in range(5):
        changed = random_color(image, seed(number), {**AUGMENTATION, "brightness": 0.9}).numpy()
        assert changed.min() >= 0 and changed.max() <= 255


def test_random_appearance_mirrors_half_the_time_and_keeps_landmarks_on_the_dots():
    photo = view(dotted_photo(), tf.constant([0.0, 0, 200, 160]), (160, 200))
    draw = tf.function(lambda s: random_appearance(photo, s, {**STILL, "mirror": 0.5}))
    mirrored = 0
    for number in range(20):
        sample = draw(seed(number))
        flipped = bool(sample.boxes[0, 0] != 60)
        mirrored += flipped
        order = list(MIRRORED) if flipped else slice(None)
        found = find_dots(sample.image.numpy())[order]
        np.testing.assert_allclose(found, sample.landmarks[0], atol=0.5)
    assert 4 <= mirrored <= 16


@pytest.mark.parametrize("with_faces", [True, False])
def test_everything_at_once_is_finite_and_repeatable(with_faces):
    photo = dotted_photo()
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    photo = photo if with_faces else no_faces(noise)
    often = {**AUGMENTATION, "blur": 0.7, "jpeg": 0.7, "grey": 0.3}

    @tf.function
    def draw(number):
        view_seed, appearance_seed = tf.unstack(tf.random.split(number))
        return random_appearance(random_view(photo, (96, 64), view_seed, often), appearance_seed, often)

    results = [draw(seed(number)) for number in range(8)]
    for sample in results:
        assert sample.image.shape == (96, 64, 3)
        assert all(np.isfinite(values.numpy()).all() for values in sample[:3])
        assert sample.image.numpy().min() >= 0 and sample.image.numpy().max() <= 255
    for first, again in zip(results[3], draw(seed(3)), strict=True):
        np.testing.assert_array_equal(first, again)
    assert len({float(tf.reduce_mean(sample.image)) for sample in results}) == 8
