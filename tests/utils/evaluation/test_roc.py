import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from tests.utils.evaluation.test_lfw_metrics import scores, slow_far_threshold
from utils.evaluation.roc import area, best_threshold, equal_error_rate, roc, tar_at_far, threshold_at_far


@pytest.mark.parametrize("seed", range(3))
def test_training_accuracy_is_never_below_that_of_facenets_grid(seed):
    distances, labels = scores(300, seed)
    exact = np.mean((distances < best_threshold(distances, labels)) == labels)
    assert exact >= max(np.mean((distances < t) == labels) for t in np.arange(0, 4, 0.01))


@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("seed", range(3))
def test_roc_equals_scikit_learn(seed, decimals):
    distances, labels = scores(200, seed, decimals)
    curve = roc(distances, labels)
    far, tar, _ = roc_curve(labels, -distances, drop_intermediate=False)
    np.testing.assert_allclose(curve.far, far)
    np.testing.assert_allclose(curve.tar, tar)
    assert area(curve) == pytest.approx(roc_auc_score(labels, -distances))
    for point in range(len(curve.far)):
        accepted = distances < curve.thresholds[point]
        assert accepted[labels].mean() == pytest.approx(curve.tar[point])
        assert accepted[~labels].mean() == pytest.approx(curve.far[point])


@pytest.mark.parametrize(
    ("same", "different", "expected"),
    [
        ([1, 2], [3, 4], 0.0),
        ([3, 4], [1, 2], 1.0),
        ([1, 3], [2, 4], 0.5),
        ([1, 1], [1, 1], 0.5),
        ([1, 2, 3, 9], [4, 5, 6, 0], 0.25),
        # Between (FAR, TAR) = (0, 1/3) and (1/3, 1): t / 3 = 2/3 (1 - t), so t = 2/3.
        ([1, 2, 2], [2, 3, 3], 2 / 9),
    ],
)
def test_equal_error_rate_by_hand(same, different, expected):
    labels = [1] * len(same) + [0] * len(different)
    assert equal_error_rate(same + different, labels) == pytest.approx(expected)


def test_auc_counts_ties_half():
    assert area(roc([1, 2, 2, 3], [1, 1, 0, 0])) == pytest.approx(3.5 / 4)


@pytest.mark.parametrize(
    ("far", "expected"), [(0.0, 1.0), (0.19, 1.0), (0.2, 2.0), (0.4, 3.0), (0.6, 3.0), (0.8, 4.0), (1.0, np.inf)]
)
def test_threshold_at_far_by_hand(far, expected):
    assert threshold_at_far([4.0, 2.0, 3.0, 3.0, 1.0], far) == expected


def test_threshold_at_far_with_ties_never_exceeds_the_target():
    assert threshold_at_far([1.0, 1.0, 1.0, 2.0], 0.5) == 1.0
    assert threshold_at_far([1.0, 1.0, 1.0, 2.0], 0.75) == 2.0


def test_threshold_at_far_is_exact_where_far_times_count_rounds_down():
    negatives = np.arange(100.0)
    assert 0.29 * 100 < 29
    assert threshold_at_far(negatives, 0.29) == 29.0
    np.testing.assert_array_equal(threshold_at_far(negatives, [0.07, 0.29]), [7.0, 29.0])


@pytest.mark.parametrize("seed", range(3))
def test_threshold_at_far_equals_brute_force(seed):
    negatives = np.random.default_rng(seed).random(37).round(1)
    for far in np.linspace(0, 1, 75):
        assert threshold_at_far(negatives, far) == slow_far_threshold(negatives, far)


@pytest.mark.parametrize("negatives", [[], [0.1, np.nan]])
def test_threshold_at_far_refuses(negatives):
    with pytest.raises(ValueError, match="got none|NaN"):
        threshold_at_far(negatives, 0.1)


def test_tar_at_far_by_hand():
    distances = [0.1, 0.2, 0.35, 0.9, 0.3, 0.4, 0.5, 0.6]
    labels = [1, 1, 1, 1, 0, 0, 0, 0]
    np.testing.assert_allclose(tar_at_far(distances, labels, [0, 0.25, 1]), [0.5, 0.75, 1.0])


def test_best_threshold_takes_the_smallest_of_equals():
    assert best_threshold([1.0, 2.0, 3.0, 4.0], [1, 0, 1, 0]) == 1.5
    assert best_threshold([1.0, 2.0], [0, 0]) == 1.0  # accepts nothing
    assert best_threshold([1.0, 2.0], [1, 1]) == np.nextafter(2.0, 3.0)  # accepts everything


def test_adjacent_floats_are_told_apart():
    low = 1.0
    high = np.nextafter(low, 2.0)
    threshold = best_threshold([low, high], [1, 0])
    assert low < threshold <= high
