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

METRICS = ("euclidean", "cosine")
DEFAULT_FARS = (1e-3, 1e-2)


@dataclass(frozen=True)
class Roc:
    """All T operating points, from accepting nothing to accepting everything.

    Attributes:
        far: (T,) float64, share of different pairs accepted, 0 to 1, rising.
        tar: (T,) float64, share of same pairs accepted, 0 to 1, rising.
        thresholds: (T,) float64, rising; `distance < threshold` gives the point.
    """

    far: np.ndarray
    tar: np.ndarray
    thresholds: np.ndarray


@dataclass(frozen=True)
class VerificationResult:
    """Cross-validated verification figures of P pairs over K folds and F target FARs.

    Rates are 0 to 1; standard deviations are over the folds (population, as the protocol has it).
    A fold whose pairs cannot give a rate (no same or no different pairs where they are needed)
    is left out of that rate's mean; a mean over no fold is NaN.

    Attributes:
        accuracy_mean: Mean accuracy of the test folds.
        accuracy_std: Its standard deviation.
        accuracies: (K,) accuracy of each test fold.
        threshold: Mean of the thresholds, in units of distance.
        thresholds: (K,) the most accurate threshold on each fold's training pairs.
        fars: (F,) target false accept rates.
        tar_mean: (F,) true accept (validation) rate on the test folds.
        tar_std: (F,) its standard deviation.
        far_mean: (F,) false accept rate that the test folds really saw.
        far_thresholds: (F,) mean over the folds of the threshold used for each target.
        auc: Area under `roc`.
        eer: Equal error rate of `roc`.
        roc: Curve over all pairs, each with the distance it had as a test pair.
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


def distance(embeddings_1, embeddings_2, metric: str = "euclidean") -> np.ndarray:
    """Distance of embeddings, row by row, after L2 normalisation.

    Args:
        embeddings_1: (..., D) floats of any norm.
        embeddings_2: (..., D), same shape or one that broadcasts.
        metric: "euclidean": ||a - b||, 0 to 2. "cosine": arccos(a . b) / pi, the angle in half
            turns, 0 to 1, as in FaceNet for TensorFlow. Both order pairs alike.

    Returns:
        (...) float64.

    Raises:
        ValueError: Unknown metric.
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(METRICS)}")
    chord = np.linalg.norm(_normalized(embeddings_1) - _normalized(embeddings_2), axis=-1)
    if metric == "euclidean":
        return chord
    # The same angle as arccos(a . b), but exactly 0 for equal vectors and precise near 0.
    return 2.0 * np.arcsin(np.minimum(chord / 2.0, 1.0)) / np.pi


def evaluate(
    distances,
    labels,
    nrof_folds: int = 10,
    fars: Sequence[float] = DEFAULT_FARS,
    folds=None,
) -> VerificationResult:
    """LFW protocol: thresholds chosen on the training folds, measured on the test fold.

    For each fold, the threshold that is most accurate on the other folds gives the fold's
    accuracy; among equally accurate thresholds the smallest is taken (fewest false accepts).
    The largest threshold whose FAR on the other folds is at most the target gives its TAR.
    Protocol: Huang et al., "Labeled Faces in the Wild", 2007; FAR: FaceNet (Schroff et al., 2015).

    Args:
        distances: (P,) finite floats.
        labels: (P,) bool or 0/1; both kinds must occur.
        nrof_folds: Contiguous folds in the given order, unshuffled, sizes differing by at most
            one. The folds of pairs.txt when no pair is missing.
        fars: Target false accept rates, 0 to 1.
        folds: (P,) integer fold of each pair; replaces `nrof_folds`. Use it when pairs of
            pairs.txt were skipped, so that the rest stay in their own fold.

    Returns:
        The figures; see VerificationResult.

    Raises:
        ValueError: Shapes that differ, NaN, only one kind of pair, fewer pairs than folds,
            fewer than two folds, or a FAR outside [0, 1].
    """
    distances, labels = _checked(distances, labels)
    folds = _checked_folds(folds, nrof_folds, len(labels))
    return _cross_validate(lambda _: distances, labels, folds, _checked_fars(fars))


def evaluate_embeddings(
    embeddings_1,
    embeddings_2,
    labels,
    metric: str = "euclidean",
    subtract_mean: bool = False,
    nrof_folds: int = 10,
    fars: Sequence[float] = DEFAULT_FARS,
    folds=None,
) -> VerificationResult:
    """`evaluate` on the distances of P pairs of embeddings.

    Args:
        embeddings_1: (P, D) finite floats.
        embeddings_2: (P, D) finite floats.
        labels: (P,) as in `evaluate`.
        metric: As in `distance`.
        subtract_mean: Take the mean embedding of the training folds from all embeddings before
            they are normalised and compared, so distances differ from fold to fold. (FaceNet for
            TensorFlow does not normalise Euclidean pairs, which makes its own subtraction a
            no-op there; with "cosine" the two agree.)
        nrof_folds: As in `evaluate`.
        fars: As in `evaluate`.
        folds: As in `evaluate`.

    Returns:
        The figures; see VerificationResult.

    Raises:
        ValueError: As `evaluate`, and for embeddings whose shapes differ or that hold NaN.
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

    _, labels = _checked(np.zeros(len(first)), labels)
    folds = _checked_folds(folds, nrof_folds, len(labels))
    return _cross_validate(centred_distances, labels, folds, _checked_fars(fars))


def roc(distances, labels) -> Roc:
    """ROC curve with one point per distinct distance and the origin.

    Args:
        distances: (P,) finite floats.
        labels: (P,) bool or 0/1; both kinds must occur.

    Raises:
        ValueError: As `evaluate`.
    """
    thresholds, true_accepts, false_accepts = _sweep(*_checked(distances, labels))
    return Roc(
        far=false_accepts / false_accepts[-1],
        tar=true_accepts / true_accepts[-1],
        thresholds=thresholds,
    )


def auc(distances, labels) -> float:
    """Area under the ROC curve: the chance that a same pair is nearer than a different one.

    A tie counts half. Arguments and errors as `roc`.
    """
    return _area(roc(distances, labels))


def equal_error_rate(distances, labels) -> float:
    """Error rate where FAR equals 1 - TAR, linear between neighbouring points of the ROC curve.

    Arguments and errors as `roc`.
    """
    return _equal_error(roc(distances, labels))


def tar_at_far(distances, labels, fars: Sequence[float]) -> np.ndarray:
    """True accept rate at each target FAR, threshold and rate measured on the same pairs.

    Args:
        distances: (P,) finite floats.
        labels: (P,) bool or 0/1; both kinds must occur.
        fars: F targets, 0 to 1.

    Returns:
        (F,) float64, 0 to 1. For figures to report prefer `evaluate`, which cross-validates.

    Raises:
        ValueError: As `evaluate`.
    """
    distances, labels = _checked(distances, labels)
    return _rate_below(distances[labels], threshold_at_far(distances[~labels], fars))


def threshold_at_far(negative_distances, far):
    """The largest threshold whose false accept rate is at most `far`.

    With k = floor(far * N) false accepts allowed, it is the (k + 1)-th smallest distance: pairs
    strictly below it are accepted. A target below 1 / N therefore accepts none of the N.

    Args:
        negative_distances: (N,) distances of pairs of different people, N >= 1.
        far: Target false accept rate(s), 0 to 1; a number or (F,) array.

    Returns:
        float, or (F,) float64 for an array; infinite when `far` is 1.

    Raises:
        ValueError: No distances, NaN among them, or a target outside [0, 1].
    """
    negatives = np.sort(np.asarray(negative_distances, np.float64).ravel())
    if not negatives.size:
        raise ValueError("a threshold at FAR needs pairs of different people, got none")
    if not np.isfinite(negatives).all():
        raise ValueError("distances hold NaN or infinite values")
    targets = _checked_fars(far)
    # Searching the exact rates k / N avoids far * N rounding 29 down to 28.999...
    rates = np.arange(1, len(negatives) + 1) / len(negatives)
    allowed = np.searchsorted(rates, targets, side="right")
    thresholds = np.append(negatives, np.inf)[allowed]
    return thresholds if np.ndim(far) else float(thresholds[0])


def best_threshold(distances, labels) -> float:
    """The threshold with the highest accuracy; the smallest of them when several tie.

    It lies midway between two neighbouring distances (or at an end of their range).

    Args:
        distances: (P,) finite floats, P >= 1.
        labels: (P,) bool or 0/1; one kind alone is allowed.

    Raises:
        ValueError: No pairs, shapes that differ, or NaN.
    """
    return _most_accurate(*_checked(distances, labels, both_kinds=False))


def _most_accurate(distances: np.ndarray, labels: np.ndarray) -> float:
    thresholds, true_accepts, false_accepts = _sweep(distances, labels)
    return float(thresholds[np.argmax(true_accepts - false_accepts)])


def _sweep(distances: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every distinct decision: rising thresholds (T,) with true and false accept counts (T,)."""
    order = np.argsort(distances)
    ordered, same = distances[order], labels[order]
    last_of_tie = np.flatnonzero(np.diff(ordered, append=np.inf))
    values = ordered[last_of_tie]
    middle = values[:-1] + np.diff(values) / 2.0
    # Between adjacent floats the middle rounds down to the lower one, which `<` would exclude.
    middle = np.where(middle > values[:-1], middle, values[1:])
    thresholds = np.concatenate([values[:1], middle, np.nextafter(values[-1:], np.inf)])
    true_accepts = np.append(0, np.cumsum(same)[last_of_tie])
    false_accepts = np.append(0, np.cumsum(~same)[last_of_tie])
    return thresholds, true_accepts, false_accepts


def _cross_validate(
    distances_of: Callable[[np.ndarray], np.ndarray],
    labels: np.ndarray,
    folds: np.ndarray,
    fars: np.ndarray,
) -> VerificationResult:
    """Scores each fold; `distances_of(train mask)` gives the distances of all pairs."""
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
        auc=_area(curve),
        eer=_equal_error(curve),
        roc=curve,
    )


def _score_fold(distances: np.ndarray, labels: np.ndarray, test: np.ndarray, fars: np.ndarray):
    """(threshold, accuracy, threshold (F,), TAR (F,), FAR (F,)) of one fold."""
    threshold = _most_accurate(distances[~test], labels[~test])
    accuracy = np.mean((distances[test] < threshold) == labels[test])
    negatives = distances[~test & ~labels]
    at_far = threshold_at_far(negatives, fars) if negatives.size else np.full(len(fars), np.nan)
    tar = _rate_below(distances[test & labels], at_far)
    far = _rate_below(distances[test & ~labels], at_far)
    return threshold, accuracy, at_far, tar, far


def _rate_below(distances: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(F,) share of `distances` below each threshold; NaN if there is nothing to compare."""
    if not distances.size:
        return np.full(len(thresholds), np.nan)
    below = np.searchsorted(np.sort(distances), thresholds, side="left")
    return np.where(np.isnan(thresholds), np.nan, below / len(distances))


def _known(statistic, values: np.ndarray) -> np.ndarray:
    """The statistic of each column of (K, F) over its entries that are not NaN."""
    columns = (column[~np.isnan(column)] for column in values.T)
    return np.array([statistic(column) if column.size else np.nan for column in columns])


def _area(curve: Roc) -> float:
    return float(np.trapezoid(curve.tar, curve.far))


def _equal_error(curve: Roc) -> float:
    excess = curve.far - (1.0 - curve.tar)  # rises from -1 to 1
    after = int(np.argmax(excess >= 0.0))
    before = after - 1
    fraction = -excess[before] / (excess[after] - excess[before])
    return float(curve.far[before] + fraction * (curve.far[after] - curve.far[before]))


def _normalized(embeddings) -> np.ndarray:
    embeddings = np.asarray(embeddings, np.float64)
    norms = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return embeddings / np.maximum(norms, np.finfo(np.float64).tiny)


def _checked(distances, labels, both_kinds: bool = True) -> tuple[np.ndarray, np.ndarray]:
    distances, labels = np.asarray(distances, np.float64), np.asarray(labels)
    if distances.ndim != 1 or distances.shape != labels.shape:
        raise ValueError(
            f"distances and labels must be two (P,) arrays, got {distances.shape}, {labels.shape}"
        )
    if not distances.size:
        raise ValueError("no pairs to score")
    if not np.isfinite(distances).all():
        bad = np.flatnonzero(~np.isfinite(distances))
        raise ValueError(f"{len(bad)} distances are NaN or infinite, the first is pair {bad[0]}")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be booleans or 0 (different) and 1 (same)")
    labels = labels.astype(bool)
    same = np.count_nonzero(labels)
    if both_kinds and same in (0, len(labels)):
        raise ValueError(
            f"need pairs of the same and of different people, got {same} same "
            f"and {len(labels) - same} different"
        )
    return distances, labels


def _checked_folds(folds, nrof_folds: int, pairs: int) -> np.ndarray:
    if folds is None:
        if not 2 <= nrof_folds <= pairs:
            raise ValueError(f"cannot make {nrof_folds} folds of {pairs} pairs (2 to {pairs})")
        # Ragged split as scikit-learn's KFold: the first folds take the remainder.
        sizes = np.full(nrof_folds, pairs // nrof_folds)
        sizes[: pairs % nrof_folds] += 1
        return np.repeat(np.arange(nrof_folds), sizes)
    folds = np.asarray(folds)
    if folds.shape != (pairs,):
        raise ValueError(f"folds must be ({pairs},), one per pair, got {folds.shape}")
    if len(np.unique(folds)) < 2:
        raise ValueError("cross-validation needs pairs in at least 2 folds")
    return folds


def _checked_fars(fars) -> np.ndarray:
    fars = np.atleast_1d(np.asarray(fars, np.float64))
    if not ((fars >= 0.0) & (fars <= 1.0)).all():
        raise ValueError(f"a false accept rate must be 0 to 1, got {fars.tolist()}")
    return fars
