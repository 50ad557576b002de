import itertools

import cv2
import numpy as np
import pytest
from PIL import Image

from utils.config import cfg_mnet
from utils.detection.anchors import Anchors
from utils.detection.box_coding import decode_boxes, decode_landmarks
from utils.generators.detection import detection_dataset, validation_dataset
from utils.images.image_files import ImageError

SIZE = (64, 96)
PLAIN = {
    "crop_scale": (1.0, 1.0),
    **dict.fromkeys(("zoom_out", "min_face", "mirror", "brightness", "contrast"), 0.0),
    **dict.fromkeys(("saturation", "hue", "grey", "blur", "jpeg"), 0.0),
}


@pytest.fixture
def items(tmp_path):
    """Six photos of 64x96: photo i is of grey 20 * i and has i faces."""
    made = []
    for i in range(6):
        path = tmp_path / f"photo é {i}.png"
        encoded = cv2.imencode(".png", np.full((*SIZE, 3), 20 * i, np.uint8))[1]
        path.write_bytes(encoded.tobytes())
        left = 12.0 * np.arange(i, dtype=np.float32)
        boxes = np.stack([left, 0 * left + 10, left + 16, 0 * left + 28], axis=-1)
        landmarks = boxes[:, None, :2] + np.float32([[4, 6], [12, 6], [8, 9], [5, 12], [11, 12]])
        made.append((path, boxes, landmarks, np.arange(i) % 2 == 0))
    return made


def photo_of(image):
    """Which photo an image normalised "caffe" shows."""
    return round(float(image[..., 0].mean() + 103.939) / 20)


def take(dataset, count):
    """The first `count` elements, one by one."""
    elements = itertools.chain.from_iterable(_split(batch) for batch in dataset.as_numpy_iterator())
    return list(itertools.islice(elements, count))


def _split(batch):
    for i, index in enumerate(batch["index"]):
        targets = {key: value[i] for key, value in batch["targets"].items()}
        yield {"image": batch["image"][i], "targets": targets, "index": index}


def assert_equal(first, second):
    np.testing.assert_array_equal(first["image"], second["image"])
    assert first["index"] == second["index"]
    for key, value in first["targets"].items():
        np.testing.assert_array_equal(value, second["targets"][key])


def test_one_photo_again_and_again(items):
    batch = next(iter(detection_dataset(items[5:], SIZE, 4)))
    count = len(Anchors(cfg_mnet, SIZE).get_anchors())
    assert batch["image"].shape == (4, *SIZE, 3) and batch["image"].dtype == "float32"
    assert batch["index"].dtype == "int64" and batch["index"].numpy().tolist() == [0, 1, 2, 3]
    shapes = {key: tuple(value.shape) for key, value in batch["targets"].items()}
    assert shapes == {
        "boxes": (4, count, 4),
        "landmarks": (4, count, 10),
        "label": (4, count),
        "has_landmarks": (4, count),
    }
    assert len({float(image.mean()) for image in batch["image"].numpy()}) == 4


def test_every_epoch_is_a_permutation_and_faces_go_with_their_photo(items):
    elements = take(detection_dataset(items, SIZE, 5, PLAIN), 60)
    epochs = np.reshape([photo_of(element["image"]) for element in elements], (10, 6))
    assert (np.sort(epochs, axis=1) == np.arange(6)).all()
    assert len({tuple(epoch) for epoch in epochs}) > 5
    for element in elements[:6]:
        assert_faces_match(element["targets"], *items[photo_of(element["image"])][1:])


def assert_faces_match(targets, boxes, landmarks, labelled):
    anchors = Anchors(cfg_mnet, SIZE).get_anchors()
    unit = np.float32([96, 64] * 5)
    positive = targets["label"] == 1
    assert positive.any() == (len(boxes) > 0)
    if not positive.any():
        return
    found = decode_boxes(targets["boxes"], anchors)[positive] * unit[:4]
    distance = np.abs(found[:, None] - boxes).max(-1)
    assert (distance.min(axis=0) < 1e-2).all() and (distance.min(axis=1) < 1e-2).all()
    face = distance.argmin(axis=1)
    np.testing.assert_array_equal(targets["has_landmarks"][positive], labelled[face])
    points = (decode_landmarks(targets["landmarks"], anchors) * unit)[positive]
    kept = labelled[face]
    np.testing.assert_allclose(points[kept], landmarks.reshape(-1, 10)[face][kept], atol=1e-2)


def test_photos_that_cannot_be_decoded_are_skipped(items):
    items[2][0].write_bytes(b"not an image")
    elements = take(detection_dataset(items, SIZE, 1, PLAIN), 10)
    assert {photo_of(e["image"]) for e in elements} == {0, 1, 3, 4, 5}
    indices = [int(e["index"]) for e in elements]
    assert indices == sorted(set(indices)) and len(set(range(12)) - set(indices)) == 2


def test_mosaics_and_a_stream_that_is_resumed(items):
    settings = {**PLAIN, "crop_scale": (0.5, 1.0), "mirror": 0.5}
    whole = take(detection_dataset(items, SIZE, 1, settings, seed=3, mosaic=0.5), 40)
    seen = []
    for element in whole:
        image = element["image"]
        quarters = [image[y : y + 32, x : x + 48] for y in (0, 32) for x in (0, 48)]
        photos = tuple(photo_of(quarter) for quarter in quarters)
        assert (element["targets"]["label"].sum() > 0) == (max(photos) > 0)
        seen.append(photos)
    mosaics = [photos for photos in seen if len(set(photos)) > 1]
    assert 10 <= len(mosaics) <= 30 and len(set(mosaics)) > 8

    resumed = take(detection_dataset(items, SIZE, 1, settings, seed=3, mosaic=0.5, start=27), 13)
    for before, after in zip(whole[27:], resumed, strict=True):
        np.testing.assert_array_equal(before["image"], after["image"])
        assert before["index"] == after["index"]
        for key, value in before["targets"].items():
            np.testing.assert_array_equal(value, after["targets"][key])


def test_validation_shows_every_photo_once_in_order(items):
    elements = take(validation_dataset(items, (64, 128), 4), 100)
    assert [int(element["index"]) for element in elements] == list(range(6))
    anchors = Anchors(cfg_mnet, (64, 128)).get_anchors()
    for element, (_, boxes, _, _) in zip(elements, items, strict=True):
        index = element["index"]
        bgr = element["image"] + np.float32([103.939, 116.779, 123.68])
        np.testing.assert_allclose(bgr[:, :95], 20 * index, atol=1e-2)
        np.testing.assert_allclose(bgr[:, 97:], 128, atol=1e-2)
        positive = element["targets"]["label"] == 1
        found = decode_boxes(element["targets"]["boxes"], anchors)[positive] * [128, 64, 128, 64]
        assert len(found) >= len(boxes)
        for box in boxes:
            assert np.abs(found - box).max(-1).min() < 1e-2


@pytest.mark.parametrize("dataset", [detection_dataset, validation_dataset])
def test_mistakes_are_named(items, dataset, tmp_path):
    with pytest.raises(ValueError, match="no labelled photos"):
        dataset([], SIZE, 2)
    with pytest.raises(ValueError, match="multiples of 32"):
        dataset(items, (60, 64), 2)
    with pytest.raises(FileNotFoundError, match="gone.jpg"):
        dataset([*items, (tmp_path / "gone.jpg", *items[0][1:])], SIZE, 2)


def test_an_unknown_augmentation_is_named(items):
    with pytest.raises(ValueError, match="mirror"):
        detection_dataset(items, SIZE, 2, {"miror": 1.0})


def test_a_photo_is_turned_as_its_exif_says_and_any_format_is_read(items, tmp_path):
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[:, : SIZE[1] // 2] = 200
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned, webp = tmp_path / "turned.jpg", tmp_path / "a.webp"
    Image.fromarray(pixels[::-1, ::-1]).save(turned, exif=exif, quality=98)
    Image.fromarray(pixels).save(webp, lossless=True)
    listed = [(path, *items[1][1:]) for path in (turned, webp)]
    for element in take(validation_dataset(listed, SIZE, 2), 2):
        assert element["image"][:, :40, 0].min() > 80 and element["image"][:, 56:, 0].max() < -80


def test_photos_of_which_none_can_be_read_are_an_error(items, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    with pytest.raises(ImageError, match="none of 2 photos tried can be read; .*broken"):
        detection_dataset([(broken, *items[1][1:])] * 2, SIZE, 2)
