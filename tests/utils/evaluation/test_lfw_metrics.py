import time

import numpy as np
import pytest
from sklearn.model_selection import KFold

from utils.evaluation import lfw_metrics
from utils.evaluation.lfw_metrics import distance, evaluate, evaluate_embeddings

FARS = (0.0, 1e-3, 0.05, 0.29, 1.0)


def scores(pairs, seed, decimals=None, gap=0.6):
    """Overlapping distances of alternating same and different pairs; rounding makes ties."""
    rng = np.random.default_rng(seed)
    labels = rng.random(pairs) < 0.5
    labels[:2] = True, False
    distances = rng.normal(1.0 + gap * ~labels, 0.4)
    return (distances if decimals is None else distances.round(decimals)), labels


def midpoints(distances):
    values = np.unique(distances)
    return [values[0], *((values[1:] + values[:-1]) / 2), np.nextafter(values[-1], np.inf)]


def slow_accuracy_threshold(distances, labels):
    best, best_accuracy = None, -1.0
    for threshold in midpoints(distances):
        accuracy = np.mean((distances < threshold) == labels)
        if accuracy > best_accuracy + 1e-12:
            best, best_accuracy = threshold, accuracy
    return best


def slow_far_threshold(negatives, far):
    candidates = [*np.unique(negatives), np.inf]
    return max(t for t in candidates if np.count_nonzero(negatives < t) / len(negatives) <= far)


def slow_evaluate(distances, labels, nrof_folds, fars):
    accuracies, thresholds = [], []
    tars, realised = (np.full((nrof_folds, len(fars)), np.nan), np.full((nrof_folds, len(fars)), np.nan))
    splits = KFold(nrof_folds, shuffle=False).split(distances)
    for fold, (train, test) in enumerate(splits):
        thresholds.append(slow_accuracy_threshold(distances[train], labels[train]))
        accuracies.append(np.mean((distances[test] < thresholds[-1]) == labels[test]))
        negatives = distances[train][~labels[train]]
        if not len(negatives):
            continue
        for column, far in enumerate(fars):
            accepted = distances[test] < slow_far_threshold(negatives, far)
            if labels[test].any():
                tars[fold, column] = accepted[labels[test]].mean()
            if not labels[test].all():
                realised[fold, column] = accepted[~labels[test]].mean()
    return np.array(accuracies), np.array(thresholds), tars, realised


def assert_equals_twin(distances, labels, nrof_folds):
    result = evaluate(distances, labels, nrof_folds, FARS)
    accuracies, thresholds, tars, realised = slow_evaluate(distances, labels, nrof_folds, FARS)
    np.testing.assert_allclose(result.accuracies, accuracies, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.thresholds, thresholds, rtol=1e-12)
    assert result.accuracy_mean == pytest.approx(accuracies.mean(), abs=1e-12)
    assert result.accuracy_std == pytest.approx(accuracies.std(), abs=1e-12)
    assert result.threshold == pytest.approx(thresholds.mean())
    for column in range(len(FARS)):
        known = tars[~np.isnan(tars[:, column]), column]
        assert result.tar_mean[column] == pytest.approx(known.mean(), abs=1e-12)
        assert result.tar_std[column] == pytest.approx(known.std(), abs=1e-12)
        known = realised[~np.isnan(realised[:, column]), column]
        assert result.far_mean[column] == pytest.approx(known.mean(), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize(("pairs", "nrof_folds"), [(11, 2), (60, 10), (137, 10), (25, 25)])
def test_evaluate_equals_brute_force(pairs, nrof_folds, decimals, seed):
    distances, labels = scores(pairs, seed, decimals)
    assert_equals_twin(distances, labels, nrof_folds)


def test_evaluate_equals_brute_force_on_constant_distances():
    assert_equals_twin(np.ones(20), np.arange(20) % 2 == 0, 5)


def test_evaluate_equals_brute_force_on_folds_of_one_kind():
    labels = np.repeat([True, False], 20)
    distances, _ = scores(40, 3)
    assert_equals_twin(distances, labels, 4)


def test_hand_worked_evaluation():
    # Two folds of two same and two different pairs.
    distances = [0.1, 0.5, 0.7, 0.9, 0.2, 0.8, 0.6, 1.0]
    labels = [1, 1, 0, 0, 1, 1, 0, 0]
    result = evaluate(distances, labels, nrof_folds=2, fars=(0.0, 0.5))
    # Fold 0 trains on the second half: 0.2 | 0.6 0.8 1.0; cutting at 0.4 or 0.9 errs once each,
    # the smaller wins. It accepts only 0.1 in the test fold. Fold 1 trains on the first half:
    # 0.6 errs not at all, and in its test fold rejects the same pair at 0.8.
    np.testing.assert_allclose(result.thresholds, [0.4, 0.6])
    np.testing.assert_allclose(result.accuracies, [0.75, 0.75])
    assert result.accuracy_std == 0
    # FAR 0: below 0.6, then below 0.7. FAR 0.5 (one of two): below 1.0, then below 0.9.
    np.testing.assert_allclose(result.tar_mean, [(1.0 + 0.5) / 2, 1.0])
    np.testing.assert_allclose(result.tar_std, [0.25, 0.0])
    np.testing.assert_allclose(result.far_mean, [0.25, (1.0 + 0.5) / 2])
    np.testing.assert_allclose(result.far_thresholds, [0.65, 0.95])


def test_perfect_separation():
    distances, labels = scores(200, 0, gap=50.0)
    result = evaluate(distances, labels)
    assert (result.accuracy_mean, result.accuracy_std) == (1.0, 0.0)
    assert (result.auc, result.eer) == (1.0, 0.0)
    assert result.tar_mean.tolist() == [1.0, 1.0]


def test_given_folds_replace_contiguous_ones():
    distances, labels = scores(50, 5)
    folds = np.repeat(np.arange(5), 10)
    order = np.random.default_rng(0).permutation(50)
    expected = evaluate(distances, labels, 5)
    shuffled = evaluate(distances[order], labels[order], folds=folds[order])
    np.testing.assert_array_equal(shuffled.accuracies, expected.accuracies)
    np.testing.assert_array_equal(shuffled.tar_mean, expected.tar_mean)
    assert shuffled.auc == pytest.approx(expected.auc)


def test_scale_of_distances_does_not_matter():
    distances, labels = scores(300, 8)
    result, scaled = evaluate(distances, labels), evaluate(distances * 1000, labels)
    np.testing.assert_array_equal(scaled.accuracies, result.accuracies)
    np.testing.assert_allclose(scaled.thresholds, result.thresholds * 1000)


@pytest.mark.parametrize(
    ("distances", "labels", "options", "message"),
    [
        ([], [], {}, "no pairs"),
        ([0.1, 0.2], [1], {}, "two \\(P,\\) arrays"),
        ([[0.1], [0.2]], [[1], [0]], {}, "two \\(P,\\) arrays"),
        ([0.1, np.nan, 0.2], [1, 0, 1], {"nrof_folds": 2}, "1 distances are NaN.*pair 1"),
        ([0.1, np.inf], [1, 0], {"nrof_folds": 2}, "NaN or infinite"),
        ([0.1, 0.2], [1, 2], {"nrof_folds": 2}, "labels must be"),
        ([0.1, 0.2], [1, 1], {"nrof_folds": 2}, "2 same and 0 different"),
        ([0.1, 0.2], [0, 0], {"nrof_folds": 2}, "0 same and 2 different"),
        ([0.1, 0.2, 0.3], [1, 0, 1], {}, "cannot make 10 folds of 3 pairs"),
        ([0.1, 0.2, 0.3], [1, 0, 1], {"nrof_folds": 1}, "cannot make 1 folds"),
        ([0.1, 0.2], [1, 0], {"folds": [0]}, "one per pair"),
        ([0.1, 0.2], [1, 0], {"folds": [3, 3]}, "at least 2 folds"),
        ([0.1, 0.2], [1, 0], {"nrof_folds": 2, "fars": (1.5,)}, "must be 0 to 1"),
        ([0.1, 0.2], [1, 0], {"nrof_folds": 2, "fars": (np.nan,)}, "must be 0 to 1"),
    ],
)
def test_evaluate_refuses(distances, labels, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(distances, labels, **options)


def test_rates_that_no_fold_can_give_are_nan():
    result = evaluate([0.1, 0.2], [1, 0], nrof_folds=2, fars=(0.5,))
    # Fold 0 tests the same pair against the only negative; fold 1 trains without negatives.
    assert result.tar_mean.tolist() == [1.0]
    assert np.isnan(result.far_mean).all()


def test_distance_by_hand():
    first, second = (np.array([[1.0, 0], [3, 0], [1, 0], [1, 0]]), np.array([[0, 2.0], [1, 0], [-1, 0], [1, 1]]))
    np.testing.assert_allclose(distance(first, second), [2**0.5, 0, 2, (2 - 2**0.5) ** 0.5], atol=1e-12)
    np.testing.assert_allclose(distance(first, second, "cosine"), [0.5, 0, 1, 0.25], atol=1e-12)


def test_distance_of_a_zero_vector_is_finite():
    assert distance(np.zeros(3), np.array([0, 1.0, 0])) == 1.0


def test_distance_refuses_an_unknown_metric():
    with pytest.raises(ValueError, match="'l1' is not one of euclidean, cosine"):
        distance(np.ones(2), np.ones(2), "l1")


def embeddings(pairs=80, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(pairs) % 2 == 0
    first = rng.normal(size=(pairs, 8)) + 2.0
    second = np.where(labels[:, None], first + rng.normal(0, 0.9, first.shape), 2.0)
    return first, second + rng.normal(0, 0.5, first.shape), labels


@pytest.mark.parametrize("metric", lfw_metrics.METRICS)
def test_evaluate_embeddings_without_mean_is_evaluate(metric):
    first, second, labels = embeddings()
    result = evaluate_embeddings(first, second, labels, metric)
    expected = evaluate(distance(first, second, metric), labels)
    np.testing.assert_array_equal(result.accuracies, expected.accuracies)
    assert result.auc == expected.auc


def test_subtract_mean_uses_the_training_folds_only():
    first, second, labels = embeddings()
    result = evaluate_embeddings(first, second, labels, "cosine", subtract_mean=True, nrof_folds=4)
    accuracies, plain = [], evaluate_embeddings(first, second, labels, "cosine", nrof_folds=4)
    for train, test in KFold(4).split(first):
        mean = np.mean(np.concatenate([first[train], second[train]]), axis=0)
        a, b = first - mean, second - mean
        cosine = np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        angles = np.arccos(cosine) / np.pi
        threshold = slow_accuracy_threshold(angles[train], labels[train])
        accuracies.append(np.mean((angles[test] < threshold) == labels[test]))
    np.testing.assert_allclose(result.accuracies, accuracies)
    assert not np.array_equal(result.thresholds, plain.thresholds)


@pytest.mark.parametrize(("second", "message"), [(np.ones((3, 2)), "two \\(P, D\\)"), (np.full((4, 2), np.nan), "NaN")])
def test_evaluate_embeddings_refuses(second, message):
    with pytest.raises(ValueError, match=message):
        evaluate_embeddings(np.ones((4, 2)), second, [1, 0, 1, 0], nrof_folds=2)


def test_six_thousand_pairs_take_under_a_fifth_of_a_second():
    distances, labels = scores(6000, 1)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        evaluate(distances, labels, fars=(1e-4, 1e-3, 1e-2, 1e-1))
        times.append(time.perf_counter() - start)
    print(f"evaluate of 6,000 pairs: {min(times) * 1000:.1f} ms")
    assert min(times) < 0.2
