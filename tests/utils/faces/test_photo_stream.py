import threading
from functools import partial

import numpy as np
import pytest

from utils.faces.detections import Detections
from utils.faces.photo_stream import Photo, cut_faces, detect_faces, embed_faces, face_stream, read_ahead
from utils.images.image_files import ImageError


def image(value):
    return np.full((4, 4, 3), value, np.uint8)


def read(source):
    if source < 0:
        raise ImageError(f"image {source}: damaged")
    return image(source)


def faces(*boxes):
    count = len(boxes)
    landmarks = np.arange(count * 10).reshape(count, 5, 2)
    return Detections(np.reshape(boxes, (count, 4)), np.ones(count), landmarks)


def test_photos_come_in_order_in_chunks_and_unreadable_ones_skip_the_stages():
    chunks = []

    def stage(photos):
        chunks.append([photo.source for photo in photos])

    photos = list(face_stream([1, -1, 2, 3, -4, -5, 6], [stage], chunk=2, read=read))
    assert [photo.source for photo in photos] == [1, -1, 2, 3, -4, -5, 6]
    assert chunks == [[1], [2, 3], [6]]
    assert photos[1].error == "image -1: damaged" and photos[1].image is None
    assert photos[2].image[0, 0, 0] == 2


def test_stages_run_one_after_the_other_on_each_chunk():
    order = []
    stages = [lambda photos, n=n: order.append((n, photos[0].source)) for n in "ab"]
    list(face_stream([0, 1], stages, chunk=1, read=read))
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_no_sources():
    assert list(face_stream([], [pytest.fail], read=read)) == []


def test_reading_runs_ahead_but_not_further_than_allowed():
    started, lock = [], threading.Lock()

    def slow(source):
        with lock:
            started.append(source)
        return image(0)

    photos = read_ahead(range(100), slow, threads=2, ahead=5)
    next(photos)
    # One was given out, five may wait.
    assert len(started) <= 6
    photos.close()
    assert len(started) <= 6


def test_other_errors_of_reading_are_not_hidden():
    def broken(_):
        raise MemoryError

    with pytest.raises(MemoryError):
        list(read_ahead([1], broken))


def test_detection_leaves_known_faces_alone():
    known = faces([0, 0, 1, 1])
    photos = [Photo("a", image(1), faces=known), Photo("b", image(2))]
    seen = []

    def detect_batch(images):
        seen.extend(picture[0, 0, 0] for picture in images)
        return [faces() for _ in images]

    detect_faces(photos, detect_batch)
    assert photos[0].faces is known and len(photos[1].faces) == 0 and seen == [2]
    detect_faces(photos, pytest.fail)


def test_cut_and_embed():
    photos = [Photo("two", image(1), faces=faces([0, 0, 1, 1], [1, 1, 4, 4])), Photo("none", image(2), faces=faces())]
    cut_faces(photos, lambda picture, landmarks: (picture, landmarks[0]))
    np.testing.assert_array_equal(photos[0].crop[1], [10, 11])
    assert photos[1].crop is None
    cut_faces(photos, lambda picture, landmarks: landmarks[0], choose=lambda found, size: 0)
    np.testing.assert_array_equal(photos[0].crop, [0, 1])
    embed_faces(photos, lambda crops: np.stack(crops) * 2)
    np.testing.assert_array_equal(photos[0].embedding, [0, 2])
    assert photos[1].embedding is None
    embed_faces(photos[1:], pytest.fail)


def test_stages_are_made_with_partial():
    stages = [
        partial(detect_faces, detect_batch=lambda images: [faces([0, 0, 2, 2])] * len(images)),
        partial(cut_faces, align=lambda picture, _: picture),
        partial(embed_faces, embed_crops=lambda crops: np.stack(crops).mean(axis=(1, 2))),
    ]
    embeddings = [photo.embedding[0] for photo in face_stream([5, 7], stages, read=read)]
    assert embeddings == [5, 7]
