"""Face verification metrics: LFW accuracy, TAR at FAR, ROC, AUC and EER.

A pair is accepted as the same person when its distance is **below** the threshold, as in FaceNet.
Every function takes `distances` (P,) (any finite scale, small means same) and `labels` (P,)
(bool or 0/1, true means same person).

FaceNet and its ports try 400 thresholds, 0 to 4 in steps of 0.01, and read TAR at FAR from an
interpolated curve. Here the distances are sorted instead, so each threshold that can change a
decision is tried once: the result does not depend on the scale of the distances, training-fold
accuracy is never lower than the grid's, and ties or flat curves are harmless.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from utils.evaluation.roc import (
    Roc,
    area,
    checked_fars,
    checked_pairs,
    equal_error,
    most_accurate,
    rate_below,
    roc,
    threshold_at_far,
)
from utils.faces.embeddings import unit_rows

METRICS = ("euclidean", "cosine")
DEFAULT_FARS = (1e-3, 1e-2)


@dataclass(frozen=True)
class VerificationResult:
    """Cross-validated verification figures of P pairs over K folds and F target FARs.

    Rates are 0 to 1; standard deviations are over the folds (population, as the protocol has it).
    A fold whose pairs cannot give a rate (no same or no different pairs where they are needed)
    is left out of that rate's mean; a mean over no fold is NaN.

    Attributes:
        accuracy_mean: mean accuracy of the test folds.
        accuracy_std: its standard deviation.
        accuracies: (K,) accuracy of each test fold.
        threshold: mean of the thresholds, in units of distance.
        thresholds: (K,) the most accurate threshold on each fold's training pairs.
        fars: (F,) target false accept rates.
        tar_mean: (F,) true accept (validation) rate on the test folds.
        tar_std: (F,) its standard deviation.
        far_mean: (F,) false accept rate that the test folds really saw.
        far_thresholds: (F,) mean over the folds of the threshold used for each target.
        auc: area under `roc`.
        eer: equal error rate of `roc`.
        roc: curve over all pairs, each with the distance it had as a test pair.
    """

    accuracy_mean: float
    accuracy_std: float
    accuracies: np.ndarray
    threshold: float
    thresholds: np.ndarray
    fars: np.ndarray
    tar_mean: np.ndarray
    tar_std: np.ndarray
    far_mean: np.ndarray
    far_thresholds: np.ndarray
    auc: float
    eer: float
    roc: Roc


def distance(embeddings_1: ArrayLike, embeddings_2: ArrayLike, metric: str = "euclidean") -> np.ndarray:
    """Returns the distances of embeddings, row by row, after L2 normalisation.

    Args:
        embeddings_1: (..., D) floats of any norm.
        embeddings_2: (..., D), same shape or one that broadcasts.
        metric: "euclidean": ||a - b||, 0 to 2. "cosine": arccos(a . b) / pi, the angle in half
            turns, 0 to 1, as in FaceNet for TensorFlow. Both order pairs alike.

    Returns:
        (...) float64.

    Raises:
        ValueError: unknown metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(METRICS)}")
    chord = np.linalg.norm(unit_rows(embeddings_1) - unit_rows(embeddings_2), axis=-1)
    if metric == "euclidean":
        return chord
    # The same angle as arccos(a . b), but exactly 0 for equal vectors and precise near 0.
    return 2.0 * np.arcsin(np.minimum(chord / 2.0, 1.0)) / np.pi


def evaluate(
    distances: ArrayLike,
    labels: ArrayLike,
    nrof_folds: int = 10,
    fars: Sequence[float] = DEFAULT_FARS,
    folds: ArrayLike | None = None,
) -> VerificationResult:
    """Scores pairs by LFW's protocol: thresholds chosen on the training folds, measured on the test fold.

    For each fold, the threshold that is most accurate on the other folds gives the fold's
    accuracy; among equally accurate thresholds the smallest is taken (fewest false accepts).
    The largest threshold whose FAR on the other folds is at most the target gives its TAR.
    Protocol: Huang et al., "Labeled Faces in the Wild", 2007; FAR: FaceNet (Schroff et al., 2015).

    Args:
        distances: (P,) finite floats.
        labels: (P,) bool or 0/1; both kinds must occur.
        nrof_folds: contiguous folds in the given order, unshuffled, sizes differing by at most
            one. The folds of pairs.txt when no pair is missing.
        fars: target false accept rates, 0 to 1.
        folds: (P,) integer fold of each pair; replaces `nrof_folds`. Use it when pairs of
            pairs.txt were skipped, so that the rest stay in their own fold.

    Returns:
        The figures; see VerificationResult.

    Raises:
        ValueError: shapes that differ, NaN, only one kind of pair, fewer pairs than folds,
            fewer than two folds, or a FAR outside [0, 1].
    """
    distances, labels = checked_pairs(distances, labels)
    folds = _checked_folds(folds, nrof_folds, len(labels))
    return _cross_validate(lambda _: distances, labels, folds, checked_fars(fars))


def evaluate_embeddings(
    embeddings_1: ArrayLike,
    embeddings_2: ArrayLike,
    labels: ArrayLike,
    metric: str = "euclidean",
    subtract_mean: bool = False,
    nrof_folds: int = 10,
    fars: Sequence[float] = DEFAULT_FARS,
    folds: ArrayLike | None = None,
) -> VerificationResult:
    """Scores P pairs of embeddings by LFW's protocol, see `evaluate`.

    Args:
        embeddings_1: (P, D) finite floats.
        embeddings_2: (P, D) finite floats.
        labels: (P,) as in `evaluate`.
        metric: as in `distance`.
        subtract_mean: subtract the mean embedding of the training folds from all embeddings before
            they are normalised and compared, so distances differ from fold to fold. (FaceNet for
            TensorFlow does not normalise Euclidean pairs, which makes its own subtraction a
            no-op there; with "cosine" the two agree.)
        nrof_folds: as in `evaluate`.
        fars: as in `evaluate`.
        folds: as in `evaluate`.

    Returns:
        The figures; see VerificationResult.

    Raises:
        ValueError: as `evaluate`, and for embeddings whose shapes differ or that hold NaN.
    """
    first = np.asarray(embeddings_1, np.float64)
    second = np.asarray(embeddings_2, np.float64)
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"embeddings must be two (P, D) arrays, got {first.shape}, {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("embeddings hold NaN or infinite values")
    if not subtract_mean:
        return evaluate(distance(first, second, metric), labels, nrof_folds, fars, folds)

    def centred_distances(train: np.ndarray) -> np.ndarray:
        mean = (first[train].mean(axis=0) + second[train].mean(axis=0)) / 2.0
        return distance(first - mean, second - mean, metric)

    _, labels = checked_pairs(np.zeros(len(first)), labels)
    folds = _checked_folds(folds, nrof_folds, len(labels))
    return _cross_validate(centred_distances, labels, folds, checked_fars(fars))


def _cross_validate(
    distances_of: Callable[[np.ndarray], np.ndarray], labels: np.ndarray, folds: np.ndarray, fars: np.ndarray
) -> VerificationResult:
    """Scores each fold; `distances_of(mask of training pairs)` returns the distances of all pairs."""
    pooled = np.empty(len(labels))
    rows = []
    for fold in np.unique(folds):
        test = folds == fold
        distances = distances_of(~test)
        pooled[test] = distances[test]
        rows.append(_score_fold(distances, labels, test, fars))
    thresholds, accuracies, far_thresholds, tars, realised = map(np.array, zip(*rows, strict=True))
    curve = roc(pooled, labels)
    return VerificationResult(
        accuracy_mean=float(accuracies.mean()),
        accuracy_std=float(accuracies.std()),
        accuracies=accuracies,
        threshold=float(thresholds.mean()),
        thresholds=thresholds,
        fars=fars,
        tar_mean=_known(np.mean, tars),
        tar_std=_known(np.std, tars),
        far_mean=_known(np.mean, realised),
        far_thresholds=_known(np.mean, far_thresholds),
        auc=area(curve),
        eer=equal_error(curve),
        roc=curve,
    )


def _score_fold(
    distances: np.ndarray, labels: np.ndarray, test: np.ndarray, fars: np.ndarray
) -> tuple[float, np.floating, np.ndarray, np.ndarray, np.ndarray]:
    """Returns (threshold, accuracy, threshold (F,), TAR (F,), FAR (F,)) of one fold."""
    threshold = most_accurate(distances[~test], labels[~test])
    accuracy = np.mean((distances[test] < threshold) == labels[test])
    negatives = distances[~test & ~labels]
    at_far = threshold_at_far(negatives, fars) if negatives.size else np.full(len(fars), np.nan)
    tar = rate_below(distances[test & labels], at_far)
    far = rate_below(distances[test & ~labels], at_far)
    return threshold, accuracy, at_far, tar, far


def _known(statistic: Callable[[np.ndarray], np.floating], values: np.ndarray) -> np.ndarray:
    """Returns the statistic of each column of (K, F) over its entries that are not NaN."""
    columns = (column[~np.isnan(column)] for column in values.T)
    return np.array([statistic(column) if column.size else np.nan for column in columns])


def _checked_folds(folds: ArrayLike | None, nrof_folds: int, pairs: int) -> np.ndarray:
    if folds is None:
        if not 2 <= nrof_folds <= pairs:
            raise ValueError(f"cannot make {nrof_folds} folds of {pairs} pairs (2 to {pairs})")
        # Ragged split as scikit-learn's KFold: the first folds take the remainder.
        sizes = [len(part) for part in np.array_split(np.empty(pairs), nrof_folds)]
        return np.repeat(np.arange(nrof_folds), sizes)
    folds = np.asarray(folds)
    if folds.shape != (pairs,):
        raise ValueError(f"folds must be ({pairs},), one per pair, got {folds.shape}")
    if len(np.unique(folds)) < 2:
        raise ValueError("cross-validation needs pairs in at least 2 folds")
    return folds
