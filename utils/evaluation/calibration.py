"""The threshold of a recognition network: the distance at which few different people pass."""

from typing import Any

import numpy as np

from utils.evaluation.roc import threshold_at_far

_BINS = 40


def all_pairs(embeddings: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the (P,) distances of all pairs, 0 to 2, and (P,) bool, true for one person's pairs.

    Args:
        embeddings: (N, D) floats, rows of unit length.
        labels: (N,) people.

    Raises:
        ValueError: there is no pair of one person, or none of two.
    """
    first, second = np.triu_indices(len(labels), 1)
    same = labels[first] == labels[second]
    if same.all() or not same.any():
        raise ValueError("the list needs two people or more, and one of them twice")
    cosines = (embeddings @ embeddings.T)[first, second]
    return np.sqrt(np.maximum(2 - 2 * cosines, 0)), same


def calibrate(distances: np.ndarray, same: np.ndarray, false_accept_rate: float) -> dict[str, Any]:
    """Returns the threshold of a false accept rate, with the rates and the histogram behind it.

    Args:
        distances: (P,) floats, 0 to 2.
        same: (P,) bool, true for one person's pairs; both kinds occur.
        false_accept_rate: share of different people's pairs that may be at most so near, 0 to 1.

    Returns:
        JSON values: threshold; false_accept_rate and true_accept_rate at it; histogram, a dict of
        edges, 0 to 2, and of the shares of the `same` and of the `different` pairs between them.
    """
    limit = threshold_at_far(distances[~same], false_accept_rate)
    # The wrappers accept a distance equal to the threshold, the rate counts those below it.
    threshold = float(np.floor(1e4 * np.nextafter(limit, 0)) / 1e4)
    edges = np.linspace(0, 2, _BINS + 1)
    kinds = {"same": distances[same], "different": distances[~same]}
    shares = {kind: (np.histogram(part, edges)[0] / len(part)).round(6).tolist() for kind, part in kinds.items()}
    return {
        "threshold": threshold,
        "false_accept_rate": float(np.mean(distances[~same] <= threshold)),
        "true_accept_rate": float(np.mean(distances[same] <= threshold)),
        "histogram": {"edges": edges.round(4).tolist(), **shares},
    }
