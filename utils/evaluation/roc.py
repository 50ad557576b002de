"""The ROC curve of pairs of faces: TAR at FAR, AUC, EER, thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Roc:
    """All T operating points of a verifier, from accepting nothing to accepting everything.

    Attributes:
        far: (T,) float64, share of different pairs accepted, 0 to 1, rising.
        tar: (T,) float64, share of same pairs accepted, 0 to 1, rising.
        thresholds: (T,) float64, rising; `distance < threshold` gives the point.
    """

    far: np.ndarray
    tar: np.ndarray
    thresholds: np.ndarray


def roc(distances: ArrayLike, labels: ArrayLike) -> Roc:
    """Returns the ROC curve with one point per distinct distance, and the origin.

    Args:
        distances: (P,) finite floats.
        labels: (P,) bool or 0/1; both kinds must occur.

    Raises:
        ValueError: shapes that differ, NaN, no pairs, or only one kind of pair.
    """
    thresholds, true_accepts, false_accepts = _sweep(*checked_pairs(distances, labels))
    return Roc(far=false_accepts / false_accepts[-1], tar=true_accepts / true_accepts[-1], thresholds=thresholds)


def equal_error_rate(distances: ArrayLike, labels: ArrayLike) -> float:
    """Returns the error rate where FAR equals 1 - TAR, linear between neighbouring points of the ROC curve.

    Arguments and errors are those of `roc`.

    Example:
        >>> equal_error_rate([0.2, 0.4, 0.9, 0.3, 1.1, 1.4], [1, 1, 1, 0, 0, 0])
        0.3333333333333333
    """
    return equal_error(roc(distances, labels))


def tar_at_far(distances: ArrayLike, labels: ArrayLike, fars: Sequence[float]) -> np.ndarray:
    """Returns the true accept rate at each target FAR, threshold and rate measured on the same pairs.

    Args:
        distances: (P,) finite floats.
        labels: (P,) bool or 0/1; both kinds must occur.
        fars: F targets, 0 to 1.

    Returns:
        (F,) float64, 0 to 1. For figures to report prefer `lfw_metrics.evaluate`, which cross-validates.

    Raises:
        ValueError: as for `roc`, and for a FAR outside [0, 1].
    """
    distances, labels = checked_pairs(distances, labels)
    return rate_below(distances[labels], threshold_at_far(distances[~labels], fars))


def threshold_at_far(negative_distances: ArrayLike, far: ArrayLike) -> Any:
    """Returns the largest threshold whose false accept rate is at most `far`.

    With k = floor(far * N) false accepts allowed, it is the (k + 1)-th smallest distance: pairs
    strictly below it are accepted. A target below 1 / N therefore accepts none of the N.

    Args:
        negative_distances: (N,) distances of pairs of different people, N >= 1.
        far: target false accept rate(s), 0 to 1; a number or (F,) array.

    Returns:
        float, or (F,) float64 for an array; infinite when `far` is 1.

    Raises:
        ValueError: no distances, NaN among them, or a target outside [0, 1].
    """
    negatives = np.sort(np.asarray(negative_distances, np.float64).ravel())
    if not negatives.size:
        raise ValueError("a threshold at FAR needs pairs of different people, got none")
    if not np.isfinite(negatives).all():
        raise ValueError("distances hold NaN or infinite values")
    targets = checked_fars(far)
    # Searching the exact rates k / N avoids far * N rounding 29 down to 28.999...
    rates = np.arange(1, len(negatives) + 1) / len(negatives)
    allowed = np.searchsorted(rates, targets, side="right")
    thresholds = np.append(negatives, np.inf)[allowed]
    return thresholds if np.ndim(far) else float(thresholds[0])


def best_threshold(distances: ArrayLike, labels: ArrayLike) -> float:
    """Returns the threshold with the highest accuracy, the smallest of them when several tie.

    It lies midway between two neighbouring distances (or at an end of their range).

    Args:
        distances: (P,) finite floats, P >= 1.
        labels: (P,) bool or 0/1; one kind alone is allowed.

    Raises:
        ValueError: no pairs, shapes that differ, or NaN.
    """
    return most_accurate(*checked_pairs(distances, labels, both_kinds=False))


def most_accurate(distances: np.ndarray, labels: np.ndarray) -> float:
    """Returns the threshold of the highest accuracy for checked pairs."""
    thresholds, true_accepts, false_accepts = _sweep(distances, labels)
    return float(thresholds[np.argmax(true_accepts - false_accepts)])


def _sweep(distances: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns every distinct decision: rising thresholds (T,) with true and false accept counts (T,)."""
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


def rate_below(distances: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Returns the (F,) share of `distances` below each threshold; NaN if there is nothing to compare."""
    if not distances.size:
        return np.full(len(thresholds), np.nan)
    below = np.searchsorted(np.sort(distances), thresholds, side="left")
    return np.where(np.isnan(thresholds), np.nan, below / len(distances))


def area(curve: Roc) -> float:
    """Returns the area under a ROC curve, 0 to 1: the chance that a same pair is nearer than a different one.

    A tie counts half.
    """
    return float(np.trapezoid(curve.tar, curve.far))


def equal_error(curve: Roc) -> float:
    """Returns the rate at which false accepts and false rejects are equal, 0 to 1."""
    excess = curve.far - (1.0 - curve.tar)  # rises from -1 to 1
    after = int(np.argmax(excess >= 0.0))
    pair = slice(after - 1, after + 1)
    return float(np.interp(0.0, excess[pair], curve.far[pair]))


def checked_pairs(distances: ArrayLike, labels: ArrayLike, both_kinds: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Returns distances (P,) float64 and labels (P,) bool; ValueError if they cannot be scored."""
    distances, labels = np.asarray(distances, np.float64), np.asarray(labels)
    if distances.ndim != 1 or distances.shape != labels.shape:
        raise ValueError(f"distances and labels must be two (P,) arrays, got {distances.shape}, {labels.shape}")
    if not distances.size:
        raise ValueError("no pairs to score")
    bad = np.flatnonzero(~np.isfinite(distances))
    if bad.size:
        raise ValueError(f"{len(bad)} distances are NaN or infinite, the first is pair {bad[0]}")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be booleans or 0 (different) and 1 (same)")
    labels = labels.astype(bool)
    same = np.count_nonzero(labels)
    if both_kinds and same in (0, len(labels)):
        raise ValueError(
            f"need pairs of the same and of different people, got {same} same and {len(labels) - same} different"
        )
    return distances, labels


def checked_fars(fars: ArrayLike) -> np.ndarray:
    """Returns false accept rates (F,) float64; ValueError if one is not 0 to 1."""
    fars = np.atleast_1d(np.asarray(fars, np.float64))
    if not ((fars >= 0.0) & (fars <= 1.0)).all():
        raise ValueError(f"a false accept rate must be 0 to 1, got {fars.tolist()}")
    return fars
