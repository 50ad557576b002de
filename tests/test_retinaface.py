from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nets.facenet import facenet
from nets.retinaface import RetinaFace
from retinaface import Retinaface
from tests.shared import need
from utils.config import cfg_mnet, cfg_re50
from utils.detection.anchors import Anchors
from utils.detection.box_coding import decode, encode_boxes, encode_landmarks
from utils.faces.boxes import iou
from utils.files.project import PROJECT
from utils.images.image_files import ImageError, read_image
from utils.weights.loading import save_weights

WEIGHTS = "weights/retinaface_mobilenet025_tf2.h5"
PARADE = "data/wider/0_Parade_marchingband_1_149.jpg"
GROUND, FACE = 60, 250  # grey levels of the test images


# Geometry, with a network that sees white rectangles


class SeesWhite:
    """Stands in for the network: finds the white rectangle of each canvas and codes it exactly."""

    name, facts = "litert", {"backbone": "mobilenet"}

    def __init__(self):
        self.canvases = []

    def __call__(self, batch):
        self.canvases.append(batch.shape[:3])
        codes = [self._codes(canvas) for canvas in batch]
        return tuple(np.stack(part) for part in zip(*codes, strict=True))

    def _codes(self, canvas):
        height, width = canvas.shape[:2]
        anchors = Anchors(cfg_mnet, (height, width)).get_anchors()
        boxes = np.zeros((len(anchors), 4), np.float32)
        scores = np.tile(np.float32([1, 0]), (len(anchors), 1))
        landmarks = np.zeros((len(anchors), 10), np.float32)
        rows, columns = np.nonzero(canvas[..., 0] + 103.939 > (GROUND + FACE) / 2)
        if rows.size:
            k, variances = len(anchors) // 2, cfg_mnet["variances"]
            box = np.float32([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            box /= np.float32([width, height, width, height])
            boxes[k] = encode_boxes(box[None], anchors[k : k + 1], variances)[0]
            points = np.concatenate([np.tile(box[:2], 2), np.tile(box[2:], 3)])
            landmarks[k] = encode_landmarks(points[None], anchors[k : k + 1], variances)[0]
            scores[k] = 0.1, 0.9
        return boxes, scores, landmarks


@pytest.fixture
def seer(monkeypatch):
    """Builds detectors with that network; its attribute `net` is the last one's."""

    def build(**settings):
        build.net = SeesWhite()
        return Retinaface(**settings)

    monkeypatch.setattr("retinaface.compile_engine", lambda source, engine, precision: build.net)
    return build


def painted(size, box):
    image = np.full((*size, 3), GROUND, np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = FACE
    return image


SETTINGS = [
    {},
    {"enlarge": False},
    {"square": True},
    {"letterbox_image": False},
    {"input_shape": [320, 320, 3]},
    {"input_shape": [300, 500, 3]},
    {"input_shape": [300, 500, 3], "square": True},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((480, 640), (100, 200, 180, 300)),
        ((333, 501), (1, 2, 60, 50)),
        ((501, 333), (273, 400, 333, 501)),
        ((720, 1280), (640, 0, 720, 90)),
        ((64, 64), (10, 20, 40, 60)),
        ((1500, 900), (500, 900, 700, 1200)),
    ],
)
def test_finds_the_rectangle_where_it_is(seer, settings, size, box):
    detector = seer(**settings)
    found = detector.detect(painted(size, box))
    ((_, height, width),) = detector._network.canvases
    assert height % 32 == 0 and width % 32 == 0
    limit = max(size) if not detector.letterbox_image else max(detector.input_shape[:2])
    pixel = max(1, max(size) / limit) + 0.5  # of the canvas, seen in the image
    np.testing.assert_allclose(found.boxes, [box], atol=pixel)
    corners = [box[:2]] * 2 + [box[2:]] * 3
    np.testing.assert_allclose(found.landmarks, [corners], atol=pixel)
    np.testing.assert_allclose(found.scores, [0.9])


@pytest.mark.parametrize(
    ("settings", "size", "canvas"),
    [
        ({}, (720, 1280), (736, 1280)),
        ({}, (360, 640), (736, 1280)),
        ({"enlarge": False}, (360, 640), (384, 640)),
        ({"square": True}, (360, 640), (1280, 1280)),
        ({"letterbox_image": False}, (2000, 33), (2016, 64)),
        ({"letterbox_image": False}, (64, 96), (64, 96)),
        ({"input_shape": [320, 320, 3]}, (1000, 10), (320, 32)),
        ({}, (1, 1), (1280, 1280)),
    ],
)
def test_pads_no_more_than_the_strides_need(seer, settings, size, canvas):
    detector = seer(**settings)
    assert len(detector.detect(np.full((*size, 3), GROUND, np.uint8))) == 0
    ((_, height, width),) = detector._network.canvases
    assert 0 <= height - canvas[0] <= 32 and 0 <= width - canvas[1] <= 32


def test_batch_groups_by_size_and_keeps_the_order(seer):
    detector = seer(letterbox_image=False, batch_size=2)
    places = [(4 + 3 * i, 5, 30 + 3 * i, 40) for i in range(7)]
    sizes = [(64, 96), (96, 64), (64, 96), (64, 96), (50, 60), (96, 64), (64, 96)]
    images = [painted(size, box) for size, box in zip(sizes, places, strict=True)]
    found = detector.detect_batch(images)
    for box, faces in zip(places, found, strict=True):
        np.testing.assert_allclose(faces.boxes, [box], atol=0.5)
    shapes = sorted(detector._network.canvases)
    assert shapes == [(1, 64, 64), (2, 64, 96), (2, 64, 96), (2, 96, 64)]


def test_no_images_give_no_results(seer):
    assert seer().detect_batch([]) == []


def test_boxes_stay_within_the_image(seer, monkeypatch):
    detector = seer(letterbox_image=False)
    image = painted((64, 64), (0, 0, 64, 64))
    codes = detector._network._codes

    def larger(canvas):
        boxes, scores, landmarks = codes(canvas)
        boxes[:, 2:] *= 3
        return boxes, scores, landmarks

    monkeypatch.setattr(detector._network, "_codes", larger)
    box = detector.detect(image).boxes[0]
    assert (box >= 0).all() and (box <= 64).all()


def test_map_txt_row_is_box_score_landmarks(seer):
    rows = seer(letterbox_image=False).get_map_txt(painted((64, 96), (10, 20, 50, 60)))
    assert rows.dtype == np.float32
    expected = [[10, 20, 50, 60, 0.9, 10, 20, 10, 20, 50, 60, 50, 60, 50, 60]]
    np.testing.assert_allclose(rows, expected, atol=1e-3)
    assert seer().get_map_txt(np.zeros((8, 8, 3), np.uint8)).shape == (0, 15)


def test_detect_image_draws_on_a_copy(seer):
    image = painted((64, 96), (10, 20, 50, 60))
    drawn = seer(letterbox_image=False).detect_image(Image.fromarray(image))
    assert drawn.dtype == np.uint8 and drawn.shape == image.shape
    changed = np.argwhere((drawn != image).any(axis=2))
    assert len(changed) and changed[:, 0].max() <= 62 and changed[:, 1].max() <= 60
    np.testing.assert_array_equal(image, painted((64, 96), (10, 20, 50, 60)))


def test_fps_is_the_mean_of_the_runs_after_the_first(seer, monkeypatch):
    detector = seer(letterbox_image=False)
    ticks = iter([10.0, 13.0])
    monkeypatch.setattr("utils.engine.stopwatch.time.perf_counter", lambda: next(ticks))
    assert detector.get_FPS(painted((64, 64), (1, 1, 9, 9)), 4) == pytest.approx(0.75)
    assert len(detector._network.canvases) == 5


# Decoding

ANCHORS = np.float32([[0.25, 0.25, 0.75, 0.75], [0, 0, 0.1, 0.1], [0.25, 0.25, 0.76, 0.75]])
FLAT = np.zeros((3, 4)), np.zeros((3, 10))


def decoded(scores, boxes=FLAT[0], landmarks=FLAT[1], confidence=0.5):
    faces = np.float32(scores)
    return decode(
        (boxes, np.stack([1 - faces, faces], axis=1), landmarks),
        ANCHORS,
        size=(100, 200),
        confidence=confidence,
        nms_iou=0.45,
        variances=[0.1, 0.2],
    )


def test_decodes_hand_worked_numbers():
    boxes, landmarks = np.zeros((3, 4)), np.zeros((3, 10))
    boxes[0] = 1, -1, np.log(2) / 0.2, 0  # centre (0.55, 0.45), width 1, height 0.5
    landmarks[0] = [1, 2] * 5  # 0.5 + 0.1 * 0.5, 0.5 + 0.2 * 0.5
    found = decoded([0.9, 0, 0], boxes, landmarks)
    np.testing.assert_allclose(found.boxes, [[10, 20, 210, 70]], rtol=1e-5)
    np.testing.assert_allclose(found.landmarks, [[[110, 60]] * 5], rtol=1e-5)


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.6, 0.7, 0.9], [0.9, 0.7]),  # anchors 0 and 2 overlap
        ([0.9, 0.7, 0.6], [0.9, 0.7]),
        ([0.8, 0.2, 0.8], [0.8]),
        ([0.5, 0.4, 0.3], []),
    ],
)
def test_keeps_the_best_of_overlapping_faces_best_first(scores, kept):
    np.testing.assert_allclose(decoded(scores).scores, kept, rtol=1e-6)


# Settings and weights


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.weights.h5"
    save_weights(RetinaFace(cfg_mnet), path)
    return path


@pytest.fixture(scope="module")
def untrained(random_weights):
    return Retinaface(model_path=random_weights, engine="keras", input_shape=[96, 96, 3])


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (20000, 10), (10, 20000), (97, 33)])
def test_any_size_goes_through_the_network(untrained, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = untrained.detect(image)
    assert found.boxes.shape == (len(found), 4) and found.landmarks.shape == (len(found), 5, 2)
    assert (np.diff(found.scores) <= 0).all() and (found.scores > 0.5).all()
    assert (found.boxes >= 0).all() and (found.boxes[:, [2, 3]] <= size[::-1]).all()
    assert np.isfinite(found.to_array()).all()


def test_takes_paths_pillow_images_and_arrays(untrained, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    path = tmp_path / "照片 1.png"
    Image.fromarray(image).save(path)
    arrays = [untrained.detect(source).to_array() for source in (image, path, str(path), Image.fromarray(image))]
    for array in arrays[1:]:
        np.testing.assert_array_equal(array, arrays[0])


def test_bad_image_is_named(untrained, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(ImageError, match=r"text\.jpg"):
        untrained.detect_batch([np.zeros((8, 8, 3), np.uint8), tmp_path / "text.jpg"])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"confidense": 0.3}, ValueError, "'confidense'; did you mean 'confidence'"),
        ({"backbone": "resnet18"}, ValueError, "'resnet18' is not mobilenet or resnet50"),
        ({"model_path": "no/such.h5"}, FileNotFoundError, "no/such.h5"),
        ({"engine": "tensorrt"}, ValueError, "engine 'tensorrt' is not one of auto, keras, litert"),
    ],
)
def test_wrong_settings_are_named(random_weights, settings, error, message):
    with pytest.raises(error, match=message):
        Retinaface(**{"model_path": random_weights, **settings})


def test_weights_of_a_recogniser_are_refused(tmp_path):
    path = tmp_path / "recogniser.weights.h5"
    save_weights(facenet((64, 64, 3), backbone="arcface_mobilefacenet"), path)
    with pytest.raises(ValueError, match="recogniser.*holds arcface_mobilefacenet weights"):
        Retinaface(model_path=path)


def test_weights_of_the_other_backbone_are_refused(random_weights):
    with pytest.raises(ValueError, match="holds retinaface_mobilenet weights"):
        Retinaface(model_path=random_weights, backbone="resnet50")


@pytest.mark.parametrize("cfg", [cfg_mnet, cfg_re50])
def test_backbone_is_what_the_weights_are_of(tmp_path, cfg):
    path = tmp_path / "x.weights.h5"
    save_weights(RetinaFace(cfg), path)
    detector = Retinaface(model_path=path, engine="keras")
    assert detector.backbone == cfg["name"] and detector.cfg is cfg
    assert repr(detector) == f"Retinaface({cfg['name']}, {path}, engine keras)"


def test_default_weights_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path(Retinaface(engine="keras").model_path) == PROJECT / "model_data/retinaface_mobilenet025.weights.h5"


# The published weights on a real photo


@pytest.fixture(scope="module")
def parade():
    return read_image(need(PARADE))


@pytest.fixture(scope="module")
def reference():
    return np.load(need("refs/detections_wider_149.npz"))["retinaface"]


def published(**settings):
    return Retinaface(**{"model_path": need(WEIGHTS), "engine": "keras", **settings})


def matched(found, reference):
    """The IoU of each reference face with the nearest found one, and those found ones."""
    overlaps = iou(reference[:, :4], found.boxes)
    nearest = overlaps.argmax(axis=1)
    assert len(set(nearest)) == len(nearest)
    return overlaps.max(axis=1), found[nearest]


@pytest.mark.parametrize("engine", ["keras", "auto"])
def test_square_letterbox_finds_the_27_reference_faces(parade, reference, engine, tmp_path, monkeypatch):
    monkeypatch.setenv("FACES_CACHE", str(tmp_path))
    found = published(square=True, engine=engine).detect(parade)
    assert len(found) == len(reference) == 27
    overlap, faces = matched(found, reference)
    assert overlap.min() >= 0.9
    np.testing.assert_allclose(faces.scores, reference[:, 4], atol=0.05)
    np.testing.assert_allclose(faces.landmarks.reshape(-1, 10), reference[:, 5:], atol=2)


def test_default_finds_every_sure_face(parade, reference):
    sure = reference[reference[:, 4] >= 0.9]
    overlap, faces = matched(published().detect(parade), sure)
    assert len(sure) == 25 and overlap.min() >= 0.8
    distance = np.linalg.norm(faces.landmarks - sure[:, 5:].reshape(-1, 5, 2), axis=2)
    assert (distance / (sure[:, 2] - sure[:, 0])[:, None]).mean() <= 0.03


def test_cutting_the_right_and_bottom_moves_no_face(parade):
    detector = published(letterbox_image=False)
    whole = detector.detect(parade)
    for cut in (1, 8, 31):
        found = detector.detect(parade[:-cut, :-cut])
        assert len(found) == len(whole)
        assert matched(found, whole.to_array())[0].min() >= 0.95, cut


def test_batch_of_mixed_sizes_finds_what_single_images_do(parade):
    detector = published(input_shape=[640, 640, 3], batch_size=2)
    images = [parade, parade[:, :600], parade[::-1], parade[:, ::-1], parade[100:, :700]]
    for single, batched in zip(
        [detector.detect(image) for image in images], detector.detect_batch(images), strict=True
    ):
        np.testing.assert_allclose(batched.to_array(), single.to_array(), rtol=1e-3, atol=0.05)
