import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils.engine.stopwatch import Stopwatch
from utils.evaluation.embedder import (
    DETECTOR_WEIGHTS,
    RECOGNISER_KEYS,
    CachedEmbedder,
    detector_key,
    middle,
    read_source,
    recogniser_key,
)
from utils.faces.detections import Detections
from utils.images.image_files import ImageError


class Recogniser:
    """Embeds a crop as its mean colour and its left edge."""

    def __init__(self):
        self.crops = []

    def align(self, image, landmarks):
        return image[:10, : int(landmarks[0, 0])]

    def face_crops(self, images):
        return [image[:10] for image in images]

    def embed_crops(self, crops):
        self.crops += crops
        return np.array([[*crop.mean(axis=(0, 1)), *crop[0, 0]] for crop in crops], np.float32)


class Detector:
    """Finds as many faces as the red of the first pixel says."""

    def __init__(self):
        self.images = 0

    def detect_batch(self, images):
        self.images += len(images)
        return [self.faces(int(image[0, 0, 0])) for image in images]

    def faces(self, count):
        landmarks = np.full((count, 5, 2), 10 + count)
        return Detections(np.tile([0, 0, 20, 20], (count, 1)), np.ones(count), landmarks)


class Lab:
    """Builds embedders that share a cache, and counts what they build."""

    def __init__(self, folder):
        self.folder = folder
        self.recogniser, self.detector = Recogniser(), Detector()
        self.built = []

    def build(self, what):
        self.built.append(what)
        return getattr(self, what)

    def weights(self, content):
        path = self.folder.parent / content
        path.write_text(content)
        return path

    def embedder(self, recogniser="weights 1", detector="weights 1", **changes):
        settings = {
            **dict.fromkeys(RECOGNISER_KEYS),
            "model_path": self.weights(recogniser),
            "detector": detector and "retinaface",
            "detector_model_path": detector and self.weights(detector),
            "flip": False,
            "use_cache": True,
            "cache_dir": self.folder,
            "batch_size": 2,
            **changes,
        }
        return CachedEmbedder(settings, lambda _: self.build("recogniser"), lambda _: self.build("detector"))

    def embed(self, images, **changes):
        return self.embedder(**changes).embed(images, Stopwatch())


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path / "cache")


def photo(faces, shade=0):
    image = np.full((40, 60, 3), shade, np.uint8)
    image[0, 0] = faces, shade, shade
    image[:, 30:] += 5
    return image


def encoded(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def write(tmp_path, images):
    paths = [tmp_path / f"{index}.png" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(encoded(image))
    return paths


def test_each_image_is_worked_on_once_and_then_never_again(lab, tmp_path):
    images = [photo(1), photo(2, 50), photo(0, 90)]
    paths = write(tmp_path, [*images, images[0]])
    found = lab.embed(paths)
    assert lab.built == ["recogniser", "detector"]
    assert lab.detector.images == 3 and len(lab.recogniser.crops) == 3
    np.testing.assert_array_equal(found.faces, [1, 2, 0, 1])
    np.testing.assert_array_equal(found.views["image"][0], found.views["image"][3])
    np.testing.assert_allclose(found.views["image"][1][3:], [2, 50, 50])
    again = lab.embed(paths)
    np.testing.assert_array_equal(again.views["image"], found.views["image"])
    np.testing.assert_array_equal(again.faces, found.faces)
    assert len(lab.built) == 2


def test_new_images_join_what_is_known(lab, tmp_path):
    paths = write(tmp_path, [photo(1), photo(1, 50), photo(1, 90)])
    lab.embed(paths[:2])
    lab.embed(paths)
    assert lab.detector.images == 3 and len(lab.recogniser.crops) == 3


def test_the_mirror_image_needs_no_new_detection(lab, tmp_path):
    paths = write(tmp_path, [photo(1), photo(1, 50)])
    lab.embed(paths)
    found = lab.embed(paths, flip=True)
    assert lab.built == ["recogniser", "detector", "recogniser"]
    assert list(found.views) == ["image", "mirror"] and len(lab.recogniser.crops) == 4
    np.testing.assert_array_equal(lab.recogniser.crops[2], lab.recogniser.crops[0][:, ::-1])
    np.testing.assert_array_equal(found.views["mirror"], lab.recogniser.embed_crops(lab.recogniser.crops[2:]))


@pytest.mark.parametrize(
    ("other", "built"),
    [
        ({"recogniser": "weights 2"}, ["recogniser"]),
        ({"detector": "weights 2"}, ["recogniser", "detector"]),
        ({"detector": None}, ["recogniser"]),
        ({"use_cache": False}, ["recogniser", "detector"]),
        ({}, []),
    ],
)
def test_other_settings_are_not_taken_from_the_cache(lab, tmp_path, other, built):
    paths = write(tmp_path, [photo(1), photo(1, 50)])
    lab.embed(paths)
    lab.built.clear()
    lab.embed(paths, **other)
    assert lab.built == built


def test_of_several_faces_the_large_one_near_the_centre_is_taken(lab):
    boxes = [[290, 190, 310, 210], [25, 25, 175, 175]]  # FaceNet's rule would take the small one
    landmarks = np.stack([np.full((5, 2), 7), np.full((5, 2), 9)])
    lab.detector.faces = lambda _: Detections(boxes, [0.9, 0.8], landmarks)
    found = lab.embed([encoded(np.zeros((400, 600, 3), np.uint8))])
    assert found.faces.tolist() == [2]
    assert lab.recogniser.crops[0].shape[1] == 9


def test_without_a_detector_the_whole_image_is_the_face(lab, tmp_path):
    image = photo(1, 50)
    found = lab.embed(write(tmp_path, [image]), detector=None)
    np.testing.assert_array_equal(lab.recogniser.crops[0], image[:10])
    np.testing.assert_array_equal(found.faces, [-1])


def test_without_a_face_it_is_the_middle(lab, tmp_path):
    image = photo(0, 50)
    lab.embed(write(tmp_path, [image]))
    np.testing.assert_array_equal(lab.recogniser.crops[0], image[10:20, 20:40])


def test_images_that_cannot_be_read_are_reported(lab, tmp_path):
    paths = write(tmp_path, [photo(1), photo(1, 50)])
    bad = [b"no image", encoded(photo(1))[:-60]]
    found = lab.embed([*paths, *bad, bad[0]])
    assert sorted(found.errors) == [2, 3, 4] and all(found.errors.values())
    assert np.isnan(found.views["image"][2:]).all()
    assert not np.isnan(found.views["image"][:2]).any()
    np.testing.assert_array_equal(found.faces, [1, 1, -1, -1, -1])


def test_nothing_can_be_read(lab):
    found = lab.embed([b"a", b"b"])
    assert found.views["image"].shape[0] == 2 and len(found.errors) == 2


def test_a_missing_file_is_an_error(lab, tmp_path):
    with pytest.raises(FileNotFoundError):
        lab.embed([tmp_path / "none.jpg"])


def test_progress_and_stages(lab, tmp_path, monkeypatch):
    totals = []

    def progress(photos, total, **_):
        totals.append(total)
        return photos

    monkeypatch.setattr("utils.evaluation.embedder.tqdm", progress)
    clock = Stopwatch()
    paths = write(tmp_path, [photo(1), photo(1, 50), photo(1, 90)])
    lab.embedder().embed(paths, clock)
    assert totals == [3]
    counts = {name: stage["items"] for name, stage in clock.stages().items()}
    assert counts == {"hash": 3, "build": 1, "read": 3, "detect": 3, "align": 3, "embed": 3}
    lab.embedder().embed(paths, clock)
    assert totals == [3]


def test_a_stopped_run_loses_little(lab, tmp_path, monkeypatch):
    monkeypatch.setattr("utils.evaluation.embedder._SAVE_EVERY", 2)
    paths = write(tmp_path, [photo(1, shade) for shade in range(6)])

    def stop(photos, **_):
        for count, item in enumerate(photos):
            if count == 4:
                raise KeyboardInterrupt
            yield item

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("utils.evaluation.embedder.tqdm", stop)
        lab.embed(paths)
    assert len(lab.recogniser.crops) == 6
    lab.embed(paths)
    assert len(lab.recogniser.crops) == 8


@pytest.mark.parametrize(("size", "expected"), [((250, 250), (125, 125)), ((100, 300), (50, 50)), ((1, 1), (1, 1))])
def test_middle(size, expected):
    image = np.arange(size[0] * size[1] * 3).reshape(*size, 3).astype(np.uint8)
    cut = middle(image)
    assert cut.shape[:2] == expected
    top, left = (size[0] - expected[0]) // 2, (size[1] - expected[1]) // 2
    np.testing.assert_array_equal(cut[0, 0], image[top, left])


def test_read_source(tmp_path):
    image = photo(1, 50)
    (path,) = write(tmp_path, [image])
    np.testing.assert_array_equal(read_source(path), image)
    np.testing.assert_array_equal(read_source(encoded(image)), image)
    with pytest.raises(ImageError):
        read_source(b"")
    with pytest.raises(ImageError, match="none.jpg"):
        read_source(Path("none.jpg"))


@pytest.fixture
def settings(tmp_path):
    for name in ("model.pth", "detector.h5"):
        (tmp_path / name).write_bytes(name.encode())
    return {
        **dict.fromkeys(RECOGNISER_KEYS),
        "model_path": tmp_path / "model.pth",
        "detector": "retinaface",
        "detector_model_path": tmp_path / "detector.h5",
        "detector_backbone": None,
        "flip": True,
        "use_cache": False,
        "cache_dir": None,
        "batch_size": 4,
    }


def test_an_embedder_of_settings_builds_what_it_needs(settings):
    lab = Lab(None)
    embedder = CachedEmbedder(settings, lambda _: lab.build("recogniser"), lambda _: lab.build("detector"))
    assert lab.built == []
    found = embedder.embed([encoded(photo(1)), encoded(photo(2))], Stopwatch())
    assert lab.built == ["recogniser", "detector"]
    assert found.faces.tolist() == [1, 2] and found.views.keys() == {"image", "mirror"}


@pytest.mark.parametrize("key", RECOGNISER_KEYS)
def test_what_decides_an_embedding_is_in_its_key(settings, key):
    assert recogniser_key(settings) != recogniser_key({**settings, key: "another"})


@pytest.mark.parametrize("key", ["detector_backbone", "detector_confidence", "engine"])
def test_what_decides_a_detection_is_in_its_key(settings, key):
    assert detector_key(settings) != detector_key({**settings, key: "another"})


def test_a_key_names_weights_by_their_content(settings, tmp_path):
    before = recogniser_key(settings), detector_key(settings)
    for name in ("model.pth", "detector.h5"):
        (tmp_path / name).rename(tmp_path / f"moved_{name}")
    moved = {
        **settings,
        "model_path": tmp_path / "moved_model.pth",
        "detector_model_path": tmp_path / "moved_detector.h5",
    }
    assert (recogniser_key(moved), detector_key(moved)) == before
    (tmp_path / "moved_model.pth").write_bytes(b"other")
    assert recogniser_key(moved) != before[0]


def test_the_detectors_own_default_weights_are_meant():
    from retinaface import Retinaface
    from utils.detection.mtcnn import Mtcnn

    assert DETECTOR_WEIGHTS == {
        "retinaface": Retinaface._defaults["model_path"],
        "mtcnn": Mtcnn._defaults["model_path"],
    }
