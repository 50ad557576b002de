import keras
import numpy as np
import pytest

from nets.mtcnn import pnet
from tests.shared import need
from utils.detection.mtcnn import Mtcnn, cells_to_boxes, move_edges, pyramid_scales, run_in_strips, square
from utils.faces.boxes import iou
from utils.images.image_files import read_image


@pytest.fixture(scope="module")
def mtcnn():
    need("weights/det1.npy")
    return Mtcnn(model_path=need("weights"), engine="keras")


@pytest.fixture(scope="module")
def parade():
    return read_image(need("data/wider/0_Parade_marchingband_1_149.jpg"))


@pytest.mark.parametrize("engine", ["keras", "auto"])
def test_finds_the_reference_faces(engine, mtcnn, parade):
    detector = mtcnn if engine == "keras" else Mtcnn(model_path=need("weights"), engine=engine)
    found = detector.detect(parade)
    reference = np.load(need("refs/detections_wider_149.npz"))
    assert len(found) == len(reference["mtcnn_boxes"])
    overlap = iou(reference["mtcnn_boxes"], found.boxes)
    match = overlap.argmax(axis=1)
    assert overlap.max(axis=1).min() >= 0.9
    np.testing.assert_allclose(found.scores[match], reference["mtcnn_scores"], atol=0.05)
    np.testing.assert_allclose(found.landmarks[match], reference["mtcnn_landmarks"], atol=1)
    assert (np.diff(found.scores) <= 0).all()
    left_eye, right_eye, nose, left_mouth, right_mouth = found.landmarks.mean(axis=0)
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]


def test_a_batch_gives_what_single_images_give(mtcnn, parade):
    images = [parade[200:420, 200:500], np.zeros((50, 60, 3), np.uint8), parade[220:300, 600:760]]
    batch = mtcnn.detect_batch(images)
    assert [len(found) > 0 for found in batch] == [True, False, True]
    for image, found in zip(images, batch, strict=True):
        np.testing.assert_allclose(found.to_array(), mtcnn.detect(image).to_array(), atol=0.01)
    assert mtcnn.detect_batch([]) == []


def test_boxes_move_with_the_image(mtcnn, parade):
    """The top left corner is no special place: black around the image shifts the faces."""
    crop = parade[230:300, 600:700]
    shifted = np.pad(crop, ((20, 0), (40, 0), (0, 0)))
    face, moved = mtcnn.detect(crop).largest(), mtcnn.detect(shifted).largest()
    assert iou(face.boxes + [40, 20, 40, 20], moved.boxes)[0, 0] > 0.8


def test_a_face_cut_by_the_border(mtcnn, parade):
    reference = np.load(need("refs/detections_wider_149.npz"))["mtcnn_boxes"][0]
    x1, y1, x2, y2 = np.round(reference).astype(int)
    cut = parade[y1 - 30 : y2 + 30, x1 + 4 : x2 + 60]
    found = mtcnn.detect(cut).largest()
    assert found.boxes[0, 0] < 1 and iou(found.boxes, reference[None] - [x1 + 4, y1 - 30] * 2)[0, 0] > 0.6


@pytest.mark.parametrize("size", [(1, 1), (19, 300), (10, 20000), (20, 20), (21, 33)])
def test_images_with_no_room_for_a_face(mtcnn, size):
    found = mtcnn.detect(np.full((*size, 3), 90, np.uint8))
    assert len(found) == 0 and found.landmarks.shape == (0, 5, 2)


def test_larger_smallest_face(parade):
    detector = Mtcnn(model_path=need("weights"), engine="keras", min_face_size=200)
    assert len(detector.detect(parade)) == 0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"min_face": 30}, "did you mean 'min_face_size'"),
        ({"thresholds": (0.5, 0.5)}, "thresholds"),
        ({"thresholds": (0.6, 0.7, 70)}, "thresholds"),
        ({"factor": 1}, "factor 1"),
        ({"factor": 0}, "factor 0"),
        ({"min_face_size": 0}, "min_face_size 0"),
    ],
)
def test_bad_settings(setting, message):
    with pytest.raises(ValueError, match=message):
        Mtcnn(**setting)


def test_missing_files_are_named(tmp_path):
    (tmp_path / "det2.npy").touch()
    with pytest.raises(FileNotFoundError, match=r"no det1\.npy, no det3\.npy"):
        Mtcnn(model_path=tmp_path)


def test_weights_of_another_network(tmp_path):
    for name in ("det1.npy", "det2.npy", "det3.npy"):
        (tmp_path / name).symlink_to(need("weights/det1.npy"))
    with pytest.raises(ValueError, match=r"det2\.npy: conv1/kernel has shape"):
        Mtcnn(model_path=tmp_path)


@pytest.mark.parametrize(
    ("size", "smallest", "scales"),
    [
        ((20, 20), 20, [0.6]),
        ((19, 1000), 20, []),
        ((50, 40), 20, [0.6, 0.3]),
        ((24, 30), 12, [1, 0.5]),
        ((12, 12), 6, [2, 1]),
    ],
)
def test_pyramid(size, smallest, scales):
    np.testing.assert_allclose(pyramid_scales(size, smallest, 0.5), scales)


def test_cells_to_boxes():
    scores = np.zeros((5, 4), np.float32)
    scores[3, 2], scores[0, 0], scores[1, 1] = 0.9, 0.6, 0.59
    offsets = np.arange(80, dtype=np.float32).reshape(5, 4, 4)
    found = cells_to_boxes(scores, offsets, 0.5, np.float32(0.6))
    first = [2, 2, 24, 24, 0.6, 0, 1, 2, 3]
    second = [10, 14, 32, 36, 0.9, 56, 57, 58, 59]  # cell 2, 3: (4 + 1) / 0.5, (4 + 12) / 0.5
    np.testing.assert_allclose(found, [first, second])
    assert cells_to_boxes(scores, offsets, 0.5, 0.95).shape == (0, 9)


def test_move_edges():
    boxes, offsets = np.array([[10.0, 20, 30, 60]]), np.array([[0.1, -0.1, 0.2, 0]])
    np.testing.assert_allclose(move_edges(boxes, offsets, np.array([[20, 40]])), [[12, 16, 34, 60]])


def test_square():
    boxes = np.array([[0.0, 0, 10, 20], [5, 5, 25, 15], [3, 3, 3, 3], [9, 9, 5, 5]])
    np.testing.assert_allclose(square(boxes), [[-5, 0, 15, 20], [5, 0, 25, 20]])
    assert square(np.zeros((0, 4))).shape == (0, 4)


@pytest.mark.parametrize("size", [(12, 12), (64, 40), (63, 41), (200, 90)])
@pytest.mark.parametrize("strip_pixels", [1, 6000, 10**9])
def test_strips_join_to_the_whole(size, strip_pixels):
    net = pnet()
    level = np.random.default_rng(0).normal(size=(*size, 3)).astype(np.float32)
    whole = [keras.ops.convert_to_numpy(output)[0] for output in net(level[None])]

    def run(batch):
        return [keras.ops.convert_to_numpy(output) for output in net(batch)]

    rows, columns = (side // 2 - 5 for side in size)  # cells that see no padding
    for joined, expected in zip(run_in_strips(run, level, strip_pixels), whole, strict=True):
        assert joined.shape == expected.shape
        np.testing.assert_allclose(joined[:rows, :columns], expected[:rows, :columns], atol=1e-5)
