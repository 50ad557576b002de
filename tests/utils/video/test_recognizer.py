import numpy as np
import pytest

from utils.faces.alignment import ARCFACE_TEMPLATE
from utils.faces.detections import Detections
from utils.gallery.index import UNKNOWN, Identity
from utils.video.recognizer import Recognition, VideoRecognizer, appearance, detect_within, embed_within

RNG = np.random.default_rng(0)
FACE = np.kron(RNG.integers(40, 200, (8, 8, 3)), np.ones((14, 14, 1))).astype(np.uint8)
OTHER = np.kron(RNG.integers(40, 200, (8, 8, 3)), np.ones((14, 14, 1))).astype(np.uint8)

POINTS = np.array([[10, 12], [30, 12], [20, 22], [12, 32], [28, 32]], np.float32)
IMAGE = np.random.default_rng(0).integers(0, 255, (120, 200, 3)).astype(np.uint8)


def faces(*lefts, size=40):
    boxes = [[x, 40, x + size, 40 + size] for x in lefts]
    points = [POINTS * size / 40 + [x, 40] for x in lefts]
    return Detections(np.reshape(boxes, (-1, 4)), np.full(len(lefts), 0.9), np.reshape(points, (-1, 5, 2)))


class World:
    """Stands in for the networks: what is seen, and who is at which place."""

    def __init__(self, seen=(20, 120), **settings):
        self.seen, self.embedded, self.detected = faces(*seen), [], 0
        self.who = lambda left: ("Ann", 0.5) if left < 100 else (UNKNOWN, 1.3)
        recognition = Recognition(self.embed, self.identify, 1.1, every=0.5)
        self.recognizer = VideoRecognizer(self.detect, recognition, **settings)

    def detect(self, image):
        self.detected += 1
        return self.seen

    def embed(self, image, landmarks):
        self.embedded.append(len(landmarks))
        lefts = landmarks[:, 0, 0]
        return np.stack([lefts < 100, lefts >= 100], axis=1).astype(np.float32)

    def identify(self, embeddings):
        names = [self.who(0 if row[0] else 150) for row in embeddings]
        return [Identity(name, distance, name) for name, distance in names]

    def run(self, frames, image=IMAGE, start=0.0):
        return [self.recognizer(image, start + 0.04 * i) for i in range(frames)]


def test_a_face_is_recognised_once_and_then_refreshed():
    world = World(seen=[20])
    shown = world.run(30)
    assert [[(f.track, f.name) for f in faces] for faces in shown] == [[(1, "Ann")]] * 30
    # At once, and every half second: frames 0, 13, 26.
    assert world.embedded == [1, 1, 1]


def test_unknown_is_settled_by_several_looks():
    world = World(seen=[120])
    names = [faces[0].name for faces in world.run(30)]
    assert names == [None] * 7 + [UNKNOWN] * 23
    assert len(world.embedded) == 8 + 1


def test_a_face_that_changes_is_looked_at_again():
    world = World(seen=[20])
    world.run(3)
    other = np.random.default_rng(1).integers(0, 255, IMAGE.shape).astype(np.uint8)
    world.run(3, other, start=0.12)
    assert world.embedded == [1, 1]


def test_another_face_in_the_same_place_is_another_track():
    world = World(seen=[20])
    world.run(3)
    world.embed = None
    other = np.random.default_rng(1).integers(0, 255, IMAGE.shape).astype(np.uint8)
    recognition = Recognition(lambda image, points: np.float32([[0, 1]]), lambda e: [Identity("Bob", 0.4, "Bob")], 1.1)
    world.recognizer._recognition = recognition
    shown = world.run(4, other, start=0.12)
    assert [(f[0].track, f[0].name) for f in shown] == [(1, "Ann")] * 2 + [(2, "Bob")] * 2


def test_detection_is_skipped_and_the_box_moved():
    world = World(detect_every=3)
    assert [len(faces) for faces in world.run(9)] == [2] * 9
    assert world.detected == 3


def test_a_lost_face_is_shown_once_more_and_then_not():
    world = World(seen=[20])
    world.run(3)
    world.seen = faces()
    assert [len(faces) for faces in world.run(3, start=0.12)] == [1, 0, 0]
    world.seen = faces(20)
    assert [f.track for f in world.run(1, start=0.24)[0]] == [1]


def test_a_box_that_was_seen_once_is_not_shown_longer():
    world = World(seen=[20])
    world.run(1)
    world.seen = faces()
    assert world.run(1, start=0.04) == [[]]


@pytest.mark.parametrize(
    "seen", [faces(100, size=16), faces(-15), faces(175)], ids=["too small", "cut off on the left", "on the right"]
)
def test_faces_that_cannot_be_recognised_have_no_name(seen):
    world = World()
    world.seen = seen
    assert [f.name for frame in world.run(3) for f in frame] == [None] * 3
    assert world.embedded == []


def test_without_recognition():
    recognizer = VideoRecognizer(lambda image: faces(20), None)
    (face,) = recognizer(IMAGE, 0.0)
    assert (face.track, face.name, face.distance) == (1, None, float("inf"))
    assert not recognizer.names_faces and World().recognizer.names_faces


def test_nothing_is_kept_of_tracks_that_are_gone():
    world = World(memory=0.1)
    world.run(2)
    world.seen = faces()
    world.run(6, start=0.08)
    assert not world.recognizer._tracker.tracks


def test_detect_within_scales_there_and_back():
    sizes = []

    def detect_batch(images):
        sizes.append(images[0].shape[:2])
        boxes = [[10, 10, 20, 30]]
        return [Detections(boxes, [0.9], np.full((1, 5, 2), 15))]

    found = detect_within(detect_batch, 100)(np.zeros((120, 200, 3), np.uint8))
    assert sizes == [(60, 100)]
    np.testing.assert_allclose(found.boxes, [[20, 20, 40, 60]])
    np.testing.assert_allclose(found.landmarks, np.full((1, 5, 2), 30))
    detect_within(detect_batch, 640)(np.zeros((120, 200, 3), np.uint8))
    assert sizes[-1] == (120, 200)


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


class LeftHalf:
    """Stands in for Facenet: an embedding is the mean of the left and of the right half."""

    def align(self, image, points):
        left, top = points[0].astype(int)
        return image[top : top + 4, left : left + 4]

    def embed_crops(self, crops):
        halves = [(crop[:, :2].mean(), crop[:, 2:].mean()) for crop in crops]
        return np.float32([np.array(half) / np.linalg.norm(half) for half in halves])


def test_a_flipped_embedding_is_that_of_the_face_and_its_mirror_image():
    image = np.zeros((8, 8, 3), np.uint8)
    image[0:4, 0:2] = 30  # a face whose left half alone is bright
    image[0:4, 2:4] = 0
    image[4:8, 4:6] = 60  # another: 60 and 80
    image[4:8, 6:8] = 80
    landmarks = np.zeros((2, 5, 2))
    landmarks[1] = 4
    plain = embed_within(LeftHalf(), flip=False)(image, landmarks)
    np.testing.assert_allclose(plain, [[1, 0], [0.6, 0.8]], atol=1e-6)
    both = embed_within(LeftHalf(), flip=True)(image, landmarks)
    np.testing.assert_allclose(both, np.full((2, 2), 0.5**0.5), atol=1e-6)
