import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facenet import Facenet, build_detector, build_facenet
from nets.facenet import facenet
from nets.retinaface import RetinaFace
from retinaface import Retinaface
from tests.shared import need
from utils.config import cfg_mnet
from utils.detection.mtcnn import Mtcnn
from utils.evaluation.lfw_pairs import find_images, read_pairs
from utils.evaluation.roc import best_threshold
from utils.faces.alignment import align
from utils.faces.detections import Detections, NoFaceError
from utils.images.image_files import ImageError, _from_file
from utils.weights.loading import save_weights
from utils.weights.weight_files import WeightFile

ROOT = Path(__file__).resolve().parents[1]
BACKBONE = "arcface_mobilefacenet"
SIDE = 64
FACE = np.float32([[30, 40], [50, 40], [40, 50], [32, 62], [48, 62]])


def photos(count, size=(SIDE, SIDE), seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.weights.h5"
    save_weights(facenet((SIDE, SIDE, 3), backbone=BACKBONE), path)
    return path


def build(model_path, **settings):
    defaults = {"input_shape": [SIDE, SIDE, 3], "detector": None, "engine": "keras"}
    return Facenet(model_path=model_path, **{**defaults, **settings})


@pytest.fixture(scope="module")
def crops_only(weights):
    return build(weights, batch_size=2)


# Without a detector


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_embeds_any_number_of_images(crops_only, count):
    embeddings = crops_only.embed(photos(count))
    assert embeddings.shape == (count, 128) and embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)


def test_an_embedding_does_not_depend_on_its_batch(crops_only):
    images = photos(5)
    together = crops_only.embed(images)
    for image, row in zip(images, together, strict=True):
        np.testing.assert_allclose(crops_only.embed(image)[0], row, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_takes_paths_pillow_images_lists_and_stacks(crops_only, tmp_path):
    images = photos(2)
    paths = [tmp_path / "脸 a.png", tmp_path / "b.png"]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    expected = crops_only.embed(images)
    for given in (np.stack(images), paths, [str(p) for p in paths], [Image.open(p) for p in paths]):
        np.testing.assert_array_equal(crops_only.embed(given), expected)
    np.testing.assert_array_equal(crops_only.embed(paths[1]), expected[1:])


def test_reads_each_photo_once_and_few_ahead(crops_only, tmp_path, monkeypatch):
    paths = [str(tmp_path / f"{i}.png") for i in range(20)]
    for path, image in zip(paths, photos(20), strict=True):
        Image.fromarray(image).save(path)
    events, embed_crops = [], crops_only.embed_crops
    monkeypatch.setattr(
        "utils.images.image_files._from_file", lambda path: events.append(path.name) or _from_file(path)
    )
    monkeypatch.setattr(crops_only, "embed_crops", lambda crops: events.append("embed") or embed_crops(crops))
    assert crops_only.embed(paths).shape == (20, 128)
    assert len([event for event in events if event != "embed"]) == 20 == len(set(events)) - 1
    assert events.index("embed") <= 8  # batch_size is 2


def test_a_crop_is_letterboxed_or_stretched(crops_only, monkeypatch):
    image = np.full((20, 40, 3), 200, np.uint8)
    (boxed,) = crops_only.face_crops(image)
    monkeypatch.setattr(crops_only, "letterbox_image", False)
    (stretched,) = crops_only.face_crops(image)
    assert boxed.shape == stretched.shape == (SIDE, SIDE, 3)
    assert (boxed[:16] == 128).all() and (boxed[48:] == 128).all() and (boxed[17:47] == 200).all()
    assert (stretched == 200).all()


def test_distance_is_euclidean(crops_only):
    first, second = photos(2)
    a, b = crops_only.embed([first, second])
    expected = np.sqrt(((a - b) ** 2).sum())
    distance = crops_only.detect_image(first, second)
    assert isinstance(distance, float) and distance == pytest.approx(expected, abs=1e-5)
    assert crops_only.detect_image(first, first) == pytest.approx(0, abs=1e-5)


def test_pixels_are_normalised_as_the_weights_want(crops_only, tmp_path):
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    image[: SIDE // 2] = 0
    save_weights(crops_only.model, tmp_path / "unit.weights.h5", normalization="unit")
    for model, low, high in ((crops_only, -1, 1), (build(tmp_path / "unit.weights.h5"), 0, 1)):
        seen = []
        with pytest.MonkeyPatch.context() as patch:
            embed = model._network
            patch.setattr(model, "_network", lambda x, to=seen, f=embed: to.append(x) or f(x))
            model.embed(image)
        assert (seen[0].min(), seen[0].max()) == pytest.approx((low, high))


def test_network_is_built_to_fit_the_weights_and_the_caller(tmp_path):
    path = tmp_path / "a.weights.h5"
    network = facenet((SIDE, SIDE, 3), backbone=BACKBONE, embedding_size=32, symmetric=True)
    save_weights(network, path, symmetric=True, normalization="unit")
    model = build(path, normalization="fixed")
    assert model.normalization == "fixed"
    assert model.model.get_layer("conv1_pad") is not None
    assert len(model.load_report.loaded) == len(model.model.weights)
    assert not model.load_report.unused and not model.load_report.skipped
    assert model.embed(photos(1)).shape == (1, 32)


def test_finding_faces_needs_a_detector(crops_only):
    with pytest.raises(ValueError, match="needs a detector"):
        crops_only.find_face(photos(1))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"treshold": 1}, ValueError, "unknown setting 'treshold'; did you mean 'threshold'"),
        ({"detector": "yolo"}, ValueError, "detector 'yolo' is not retinaface, mtcnn or none"),
        ({"backbone": "resnet"}, ValueError, "'resnet' is not one of mobilenet, "),
        ({"threshold": [1, 1]}, ValueError, r"threshold \[1, 1\]: a distance, 0 to 2, expected"),
        ({"threshold": 80}, ValueError, "threshold 80: a distance"),
        ({"model_path": "no/such.h5"}, FileNotFoundError, "no/such.h5"),
        ({"detector": "retinaface", "detector_model_path": "no.h5"}, FileNotFoundError, "no.h5"),
    ],
)
def test_wrong_settings_are_named(weights, settings, error, message):
    with pytest.raises(error, match=message):
        build(**{"model_path": weights, **settings})


@pytest.mark.parametrize(("layers", "network"), [("C3_reduced", "retinaface_mobilenet"), ("Bottleneck", "mobilenet")])
def test_weights_of_another_network_are_named(monkeypatch, tmp_path, layers, network):
    arrays = {layers: [np.zeros(3)], "conv_pw_1": [np.zeros(3)]}
    other = WeightFile("other.h5", "keras2", arrays)
    monkeypatch.setattr("utils.weights.networks.read_weight_file", lambda path: other)
    (tmp_path / "other.h5").write_bytes(b"weights")
    with pytest.raises(ValueError, match=f"other.*the file holds {network} weights"):
        build(tmp_path / "other.h5", backbone=BACKBONE)


def test_backbone_is_what_the_weights_are_of(weights, tmp_path):
    assert Facenet._defaults["backbone"] is None
    assert build(weights).backbone == BACKBONE == build(weights, backbone=BACKBONE).backbone
    detector = tmp_path / "detector.weights.h5"
    save_weights(RetinaFace(cfg_mnet), detector)
    with pytest.raises(ValueError, match="detector.*holds retinaface_mobilenet weights, not those"):
        build(detector)


def test_default_weights_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = Facenet(detector=None, engine="keras")
    assert Path(model.model_path) == ROOT / Facenet._defaults["model_path"]
    assert model.threshold != 1.1  # that of the card beside them
    with pytest.raises(FileNotFoundError, match="^model_data/mine.h5: no such weight file"):
        Facenet(model_path="model_data/mine.h5")


def test_verdict(crops_only, monkeypatch):
    first, second = photos(2)
    verdict = crops_only.verify(first, second)
    assert verdict.distance == pytest.approx(crops_only.detect_image(first, second))
    assert verdict.threshold == crops_only.threshold
    assert verdict.same == (verdict.distance <= verdict.threshold) == bool(verdict)
    monkeypatch.setattr(crops_only, "threshold", verdict.distance - 0.01)
    assert not crops_only.verify(first, second)


def test_what_it_is_made_of_can_be_read(crops_only, weights):
    assert repr(crops_only) == f"Facenet({BACKBONE}, {weights}, engine keras, detector None)"


# With a detector


class SeesDots:
    """Stands in for a detector: one face for each red dot, its side the dot's green value."""

    _defaults = Retinaface._defaults

    def __init__(self, **settings):
        self.settings = settings

    def detect_batch(self, images):
        return [self.detect(np.asarray(image)) for image in images]

    def detect(self, image):
        dots = np.argwhere(image[..., 0] == 255)
        sides = np.float32([image[y, x, 1] for y, x in dots]).reshape(-1, 1)
        corner = np.float32(dots[:, ::-1]).reshape(-1, 2)
        scores = np.linspace(0.9, 0.6, len(dots), dtype=np.float32)
        landmarks = corner[:, None] + (FACE - 20) * sides[:, None] / 60
        return Detections(np.concatenate([corner, corner + sides], axis=1), scores, landmarks)


def photo_with(*faces, size=(200, 300)):
    """A photo whose faces (x, y, side) the stand-in sees."""
    image = photos(1, size)[0] // 2
    for x, y, side in faces:
        image[y, x] = 255, side, 0
    return image


@pytest.fixture(scope="module")
def with_detector(weights):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retinaface.Retinaface", SeesDots)
        return build(weights, detector="retinaface", detector_model_path="some.h5")


def test_detector_gets_its_settings(with_detector):
    settings = with_detector._detector.settings
    assert settings["model_path"] == "some.h5" and settings["engine"] == "keras"


@pytest.fixture
def wrappers(monkeypatch):
    """Puts wrappers in place that keep what they are built with."""

    class SeesNothing(SeesDots):
        _defaults = Mtcnn._defaults

    monkeypatch.setattr("retinaface.Retinaface", SeesDots)
    monkeypatch.setattr("utils.detection.mtcnn.Mtcnn", SeesNothing)


SCRIPT = {
    "mode": "fps",
    "confidence": 0.1,
    "input_shape": None,
    "engine": "keras",
    "detector_model_path": "some",
    "detector_confidence": None,
    "detector_nms_iou": None,
}


@pytest.mark.parametrize("detector", ["retinaface", "mtcnn"])
def test_detector_of_a_script_gets_what_bears_its_prefix(wrappers, detector):
    built = build_detector({**SCRIPT, "detector": detector})
    assert built.settings == {"model_path": "some", "engine": "keras"}


def test_detector_of_a_script_keeps_its_defaults_where_nothing_is_said(wrappers):
    built = build_detector({"detector": "retinaface", "engine": None, "detector_confidence": 0.0})
    assert built.settings == {"confidence": 0.0}
    assert build_detector({"detector": "retinaface"}, enlarge=False).settings == {"enlarge": False}
    assert build_detector({"detector": "mtcnn"}, enlarge=False).settings == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"detector": "mtcnn", "detector_confidence": 0.5}, "detector_confidence: mtcnn has no"),
        ({"detector": "retinaface", "detector_factor": 0.5}, "detector_factor: retinaface has no"),
        ({"detector": None}, "detector None: retinaface or mtcnn is needed"),
        ({"detector": "yolo"}, "detector 'yolo': retinaface or mtcnn is needed"),
    ],
)
def test_detector_settings_that_do_not_fit_are_named(wrappers, settings, message):
    with pytest.raises(ValueError, match=message):
        build_detector(settings)


def test_facenet_of_a_script_hands_on_what_is_the_detectors(wrappers, weights):
    settings = {**SCRIPT, "model_path": weights, "input_shape": [SIDE, SIDE, 3]}
    model = build_facenet({**settings, "detector": "retinaface", "detector_confidence": 0.3})
    assert model.input_shape == (SIDE, SIDE, 3) and model.threshold == 1.1
    expected = {"model_path": "some", "engine": "keras", "confidence": 0.3, "enlarge": False}
    assert model._detector.settings == expected
    assert build_facenet({**settings, "detector": None})._detector is None


def test_the_face_is_aligned_by_its_landmarks(with_detector):
    image = photo_with((120, 60, 80))
    (crop,) = with_detector.face_crops(image)
    landmarks = with_detector._detector.detect(image).landmarks[0]
    np.testing.assert_array_equal(crop, align(image, landmarks, SIDE))


def test_largest_of_several_faces_is_taken_with_a_warning(with_detector):
    image = photo_with((10, 10, 40), (120, 60, 80), (20, 120, 50))
    picture = Image.fromarray(image)
    picture.filename = "party.jpg"
    with pytest.warns(UserWarning, match="party.jpg: 3 faces found, the largest is taken"):
        (found,) = with_detector.find_face([picture])
    np.testing.assert_allclose(found.boxes, [[120, 60, 200, 140]])
    with pytest.warns(UserWarning, match="3 faces"):
        several = with_detector.embed(image)
    np.testing.assert_allclose(several, with_detector.embed(photo_with((120, 60, 80))), atol=0.05)


def test_one_face_gives_no_warning(with_detector):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert with_detector.embed(photo_with((120, 60, 80))).shape == (1, 128)


def test_all_faces_of_a_photo(with_detector):
    image = photo_with((10, 10, 40), (120, 60, 80), (20, 120, 50))
    found = with_detector.faces(Image.fromarray(image))
    np.testing.assert_allclose(found.detections.boxes, with_detector.detect_batch([image])[0].boxes)
    for face, embedding in zip(found.detections, found.embeddings, strict=True):
        crop = align(image, face.landmarks[0], SIDE)
        np.testing.assert_allclose(with_detector.embed_crops([crop])[0], embedding, atol=1e-5)
    nobody = with_detector.faces(photo_with())
    assert len(nobody.detections) == 0 and nobody.embeddings.shape == (0, 128)


def test_photo_without_a_face_is_named(with_detector, tmp_path):
    Image.fromarray(photo_with()).save(tmp_path / "nobody.png")
    good = photo_with((120, 60, 80))
    with pytest.raises(NoFaceError, match="nobody.png: no face found"):
        with_detector.embed([good, Image.open(tmp_path / "nobody.png")])
    with pytest.raises(NoFaceError, match="no face found"):
        with_detector.detect_image(good, photo_with())


def test_crops_keep_their_place_beside_a_photo_without_a_face(with_detector):
    images = [photo_with((120, 60, 80)), photo_with(), photo_with((10, 10, 90))]
    crops = with_detector.face_crops(images)
    assert crops[1] is None
    for i in (0, 2):
        np.testing.assert_array_equal(crops[i], with_detector.face_crops(images[i])[0])


def test_faces_found_before_are_used_again(with_detector, monkeypatch):
    image = photo_with((120, 60, 80))
    faces = with_detector.find_face(image)
    expected = with_detector.face_crops(image)[0]
    monkeypatch.setattr(with_detector, "_detector", "not asked again")
    np.testing.assert_array_equal(with_detector.face_crops(image, faces)[0], expected)


def test_unreadable_photo_is_named(with_detector, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(ImageError, match=r"text\.jpg"):
        with_detector.embed([photo_with((120, 60, 80)), tmp_path / "text.jpg"])


# The published weights


DETECTORS = {"retinaface": "weights/retinaface_mobilenet025_tf2.h5", "mtcnn": "weights"}


def published(detector, engine="keras"):
    pytest.importorskip("torch")
    return Facenet(
        model_path=need("weights/arcface_mobilefacenet.pth"),
        detector=detector,
        detector_model_path=need(DETECTORS[detector]),
        engine=engine,
    )


@pytest.mark.filterwarnings("ignore:.*faces found")
@pytest.mark.parametrize("detector", DETECTORS)
def test_tells_the_sample_people_apart(detector):
    model = published(detector)
    first, second, other = model.embed([ROOT / f"img/{n}.jpg" for n in ("1_001", "1_002", "2_001")])
    assert np.linalg.norm(first - second) < 0.9 < model.threshold
    assert np.linalg.norm(first - other) > 1.25 > model.threshold
    assert np.linalg.norm(second - other) > 1.25
    with pytest.raises(NoFaceError, match=r"nobody\.jpg: no face found"):
        model.embed(ROOT / "img/nobody.jpg")
    with pytest.warns(UserWarning, match=r"group\.jpg: \d faces found"):
        model.embed(ROOT / "img/group.jpg")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*faces found")
def test_first_600_pairs_of_lfw():
    model = published("retinaface", engine="auto")
    pairs = read_pairs(need("data/lfw/pairs.txt"))[:600]
    images = find_images(need("data/lfw/images"), pairs)
    embeddings = model.embed(images.images)
    distances = np.linalg.norm(np.subtract(*embeddings[images.indices.T]), axis=1)
    assert len(distances) == 600
    threshold = best_threshold(distances, images.labels)
    accuracy = ((distances < threshold) == images.labels).mean()
    print(f"accuracy {accuracy:.4f} at {threshold:.3f}")
    assert accuracy >= 0.97
