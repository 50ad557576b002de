import time

import numpy as np
import pytest

from tests.shared import need
from tests.utils.evaluation.test_widerface_results import faces_of
from utils.evaluation.widerface_metrics import average_precision, evaluate, evaluate_arrays, evaluate_curves, overlaps
from utils.evaluation.widerface_results import SETTINGS, read_ground_truth, result_path, write_result

TOLERANCE = 1e-6


def official():
    return read_ground_truth(need("data/wider/wider_face_val.mat").parent)


def synthetic(truths, seed=0, decimals=3):
    """Per image: most faces found and jittered, some twice, and false alarms; tied scores."""
    rng = np.random.default_rng(seed)
    boxes, scores = [], []
    for faces in truths:
        found = np.concatenate([faces[rng.random(len(faces)) < 0.85], faces[:3]])
        sides = np.tile(found[:, 2:] - found[:, :2], 2)
        jittered = found + rng.normal(0, 0.12, found.shape) * sides
        corners = rng.random((rng.integers(0, 12), 2)) * 900
        alarms = np.hstack([corners, corners + 10 + rng.random(corners.shape) * 90])
        boxes.append(np.vstack([jittered, alarms]))
        raw = np.append(0.25 + 0.6 * rng.random(len(found)), 0.02 + 0.6 * rng.random(len(alarms)))
        scores.append(raw.round(decimals))
    return boxes, scores


def slow_overlap(box, face):
    width = min(box[2], face[2]) - max(box[0], face[0]) + 1
    height = min(box[3], face[3]) - max(box[1], face[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    area, other = ((b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, face))
    return width * height / (area + other - width * height)


def slow_image(boxes, faces, keep, iou_thresh):
    """Detections one by one, best first: faces found so far, and which detections are proposals."""
    state = [0] * len(faces)
    found_so_far, proposals = [], [1] * len(boxes)
    for number, box in enumerate(boxes):
        row = [slow_overlap(box, face) for face in faces]
        best = row.index(max(row))
        if row[best] >= iou_thresh:
            if not keep[best]:
                state[best] = -1
                proposals[number] = -1
            elif state[best] == 0:
                state[best] = 1
        found_so_far.append(state.count(1))
    return found_so_far, proposals


def slow_evaluate(boxes, scores, truths, keep, iou_thresh=0.5):
    """The published algorithm word for word, with 0 for the precision of no proposals."""
    low = min(s.min() for s in scores if len(s))
    high = max(s.max() for s in scores if len(s))
    count, faces_total = np.zeros((1000, 2)), sum(int(mask.sum()) for mask in keep)
    for image_boxes, image_scores, faces, mask in zip(boxes, scores, truths, keep, strict=True):
        if not len(image_boxes) or not len(faces):
            continue
        order = np.argsort(-image_scores, kind="stable")
        normalized = (image_scores[order] - low) / (high - low)
        found, proposals = slow_image(image_boxes[order].tolist(), faces.tolist(), mask.tolist(), iou_thresh)
        for step in range(1000):
            above = np.where(normalized >= 1 - (step + 1) / 1000)[0]
            if len(above):
                count[step, 0] += proposals[: above[-1] + 1].count(1)
                count[step, 1] += found[above[-1]]
    precision = [b / a if a else 0.0 for a, b in count]
    recall = count[:, 1] / faces_total
    recall_ends, precision_ends = [0, *recall, 1], [0, *precision, 0]
    for i in range(len(precision_ends) - 1, 0, -1):
        precision_ends[i - 1] = max(precision_ends[i - 1], precision_ends[i])
    area = sum((recall_ends[i + 1] - recall_ends[i]) * precision_ends[i + 1] for i in range(len(recall_ends) - 1))
    return precision, recall, area


def assert_equals_twin(truth, boxes, scores, iou_thresh=0.5):
    start = time.perf_counter()
    curves = evaluate_arrays(boxes, scores, truth.boxes, truth.keep, iou_thresh)
    fast = time.perf_counter() - start
    start = time.perf_counter()
    for setting in SETTINGS:
        precision, recall, area = slow_evaluate(boxes, scores, truth.boxes, truth.keep[setting], iou_thresh)
        np.testing.assert_allclose(curves[setting].precision, precision, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(curves[setting].recall, recall, rtol=0, atol=TOLERANCE)
        assert curves[setting].average_precision == pytest.approx(area, abs=TOLERANCE)
        assert 0.1 < area < 0.99, "the comparison would say little"
    slow = time.perf_counter() - start
    print(f"{len(boxes)} images, {sum(map(len, boxes))} detections: {fast:.3f} s, twin {slow:.1f} s")
    return fast


def test_sixty_images_equal_the_literal_twin():
    truth = official()
    truth = truth.select(range(0, len(truth.images), 54))
    assert len(truth.images) == 60
    assert_equals_twin(truth, *synthetic(truth.boxes))


@pytest.mark.parametrize(("seed", "decimals", "iou_thresh"), [(1, 1, 0.5), (2, 6, 0.7)])
def test_few_images_equal_the_literal_twin(seed, decimals, iou_thresh):
    truth = official()
    truth = truth.select(range(5, len(truth.images), 320))
    assert_equals_twin(truth, *synthetic(truth.boxes, seed, decimals), iou_thresh)


@pytest.mark.slow
def test_all_images_equal_the_literal_twin():
    truth = official()
    assert assert_equals_twin(truth, *synthetic(truth.boxes)) < 3.0


def test_all_images_take_under_three_seconds():
    truth = official()
    boxes, scores = synthetic(truth.boxes)
    start = time.perf_counter()
    evaluate_arrays(boxes, scores, truth.boxes, truth.keep)
    assert time.perf_counter() - start < 3.0


def test_order_of_detections_does_not_matter():
    truth = official().select(range(40))
    boxes, scores = synthetic(truth.boxes, decimals=1)
    expected = evaluate_arrays(boxes, scores, truth.boxes, truth.keep)
    rng = np.random.default_rng(1)
    orders = [rng.permutation(len(image)) for image in boxes]
    shuffled = evaluate_arrays(
        [image[order] for image, order in zip(boxes, orders, strict=True)],
        [image[order] for image, order in zip(scores, orders, strict=True)],
        truth.boxes,
        truth.keep,
    )
    for setting in SETTINGS:
        assert shuffled[setting].average_precision == expected[setting].average_precision


def test_the_ground_truth_itself_scores_one():
    truth = official()
    scores = [np.full(len(faces), 0.7) for faces in truth.boxes]
    curves = evaluate_arrays(truth.boxes, scores, truth.boxes, truth.keep)
    # Two faces cannot be claimed: one repeats another's box, one has a width of -2.
    for setting in SETTINGS:
        assert curves[setting].average_precision == pytest.approx(1.0, abs=1e-3)
        assert curves[setting].faces == {"easy": 7211, "medium": 13319, "hard": 31958}[setting]


FACES = np.array([[0, 0, 9, 9], [100, 0, 109, 9], [200, 0, 209, 9.0]])


def average(boxes, scores, keep=(True, True, True), faces=FACES):
    curves = evaluate_arrays([np.reshape(boxes, (-1, 4))], [scores], [faces], {"all": [np.array(keep, bool)]})
    return curves["all"].average_precision


MISS = [500, 500, 509, 509]


@pytest.mark.parametrize(
    ("boxes", "scores", "keep", "expected"),
    [
        ([FACES[0], FACES[1], FACES[2]], [0.9, 0.5, 0.1], (1, 1, 1), 1.0),
        ([FACES[0]], [0.9], (1, 1, 1), 1 / 3),
        ([MISS, FACES[0]], [0.9, 0.1], (1, 1, 1), 1 / 3 * 1 / 2),
        # Found at 0.9, again at 0.5 (a proposal that finds nothing), another at 0.1.
        ([FACES[0], FACES[0], FACES[1]], [0.9, 0.5, 0.1], (1, 1, 1), 1 / 3 + 1 / 3 * 2 / 3),
        # Claims on ignored faces leave the count, however many.
        ([FACES[1], FACES[1], FACES[0]], [0.9, 0.5, 0.1], (1, 0, 1), 1 / 2),
        ([MISS], [0.9], (1, 1, 1), 0.0),
        ([], [], (1, 1, 1), 0.0),
    ],
)
def test_average_precision_by_hand(boxes, scores, keep, expected):
    assert average(boxes, scores, keep) == pytest.approx(expected)


def test_a_setting_without_faces_is_nan():
    assert np.isnan(average([FACES[0]], [0.9], (False, False, False)))
    assert np.isnan(average([], [], [], np.empty((0, 4))))


def test_an_image_without_faces_is_skipped_with_its_false_alarms():
    curves = evaluate_arrays(
        [FACES, np.array([MISS])],
        [np.array([0.5, 0.6, 0.7]), np.array([0.9])],
        [FACES, np.empty((0, 4))],
        {"all": [np.ones(3, bool), np.ones(0, bool)]},
    )
    assert curves["all"].average_precision == 1.0


def test_overlap_counts_whole_pixels():
    # 10 x 10 pixels shifted by 5: 50 common of 150; boxes one pixel apart still share an edge.
    np.testing.assert_allclose(
        overlaps(FACES[:1], np.array([[5, 0, 14, 9], [9, 9, 20, 20], [10, 0, 19, 9]])),
        [[1 / 3, 1 / (100 + 144 - 1), 0]],
    )


def test_overlap_of_inverted_boxes_is_zero():
    assert overlaps(np.array([[5, 5, 2, 2], [5, 5, 4, 4]]), FACES[:1]).tolist() == [[0], [0]]


def test_average_precision_uses_the_envelope():
    # Recall 0.25 at 0.5, raised by 0.8 later; recall 0.5 at 0.8; nothing after.
    assert average_precision(np.array([0.25, 0.5]), np.array([0.5, 0.8])) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([FACES], [np.ones(3)], [FACES], {"all": [np.ones(3)]}, 0.0), "iou_thresh"),
        (([FACES], [np.ones(3)], [], {"all": []}), "one entry per image"),
        (([FACES], [np.ones(2)], [FACES], {"all": [np.ones(3)]}), "3 boxes but 2 scores"),
        (([FACES], [[1, 2, np.nan]], [FACES], {"all": [np.ones(3)]}), "NaN"),
    ],
)
def test_evaluate_arrays_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate_arrays(*arguments)


def test_folder_with_the_results_of_one_image(tmp_path):
    gt_dir = need("data/wider/wider_face_val.mat").parent
    truth = read_ground_truth(gt_dir)
    event, name = image = ("0--Parade", "0_Parade_marchingband_1_149")
    faces = truth.boxes[truth.images.index(image)]
    rows = np.column_stack([faces, np.linspace(0.9, 0.3, len(faces))])
    write_result(result_path(tmp_path, event, name), faces_of(rows))
    assert evaluate(tmp_path, gt_dir, allow_missing=True)["hard"] == pytest.approx(1.0)
    assert evaluate_curves(tmp_path, gt_dir, allow_missing=True)["hard"].faces <= len(faces)
    with pytest.raises(ValueError, match="3225 of 3226 images have no result, the first is 0--Par"):
        evaluate(tmp_path, gt_dir)


def test_folder_that_names_no_known_image(tmp_path):
    gt_dir = need("data/wider/wider_face_val.mat").parent
    write_result(result_path(tmp_path, "0--Parade", "holiday"), faces_of(np.empty((0, 5))))
    with pytest.raises(ValueError, match="no result names an image of the ground truth"):
        evaluate(tmp_path, gt_dir, allow_missing=True)


def test_folder_equals_arrays(tmp_path):
    gt_dir = need("data/wider/wider_face_val.mat").parent
    truth = official().select(range(30))
    boxes, scores = synthetic(truth.boxes)
    boxes, scores = [image.round(1) for image in boxes], [image.astype(np.float32) for image in scores]
    for (event, name), image, confidence in zip(truth.images, boxes, scores, strict=True):
        write_result(result_path(tmp_path, event, name), faces_of(np.column_stack([image, confidence])))
    expected = evaluate_arrays(boxes, scores, truth.boxes, truth.keep)
    found = evaluate(tmp_path, gt_dir, allow_missing=True)
    assert found == pytest.approx({setting: curve.average_precision for setting, curve in expected.items()}, abs=1e-9)
