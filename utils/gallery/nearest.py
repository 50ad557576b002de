"""Exact nearest neighbours among embeddings of unit length."""

import numpy as np

from utils.faces.embeddings import unit_rows

_PRODUCTS = 1 << 24  # of queries with rows at a time: 64 MB


def nearest(
    queries: np.ndarray, rows: np.ndarray, k: int, labels: np.ndarray | None = None, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the k rows that are nearest to each query.

    For unit vectors ||q - r||^2 = 2 - 2 q.r, so the candidates are those of the greatest products. Their distances are
    computed again in double precision.

    Args:
        queries: (Q, D) float32, unit length.
        rows: (N, D) float32, unit length.
        k: neighbours; fewer if there are fewer rows.
        labels: (N,) ints of the rows, to leave some out.
        own: (Q,) for each query the label whose rows it does not see; required with `labels`.

    Returns:
        Distances (Q, k) float32, Euclidean, 0 to 2, rising; infinite where no rows are left; and
        indices (Q, k) of the rows; of equally near ones the lower comes first.
    """
    k = max(0, min(k, len(rows)))
    distances = np.empty((len(queries), k), np.float32)
    indices = np.empty((len(queries), k), np.int64)
    step = max(1, _PRODUCTS // max(1, len(rows)))
    for start in range(0, len(queries) if k else 0, step):
        block = queries[start : start + step]
        products = block @ rows.T
        if labels is not None and own is not None:
            products[own[start : start + step, None] == labels] = -np.inf
        for number, (query, scores) in enumerate(zip(block, products, strict=True), start):
            distances[number], indices[number] = _ranked(query, rows, scores, k)
    return distances, indices


def _ranked(query: np.ndarray, rows: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns distances (k,) float64 and indices (k,) of the best rows, by all products (N,) with the query."""
    # Bounds the rounding of two float32 products of unit vectors: a row below it is farther than k others.
    rounding = (rows.shape[1] + 4) * np.finfo(np.float32).eps
    least = np.partition(scores, -k)[-k] - rounding
    candidates = np.flatnonzero(scores >= least)
    exact = np.linalg.norm(rows[candidates] - query.astype(np.float64), axis=1)
    exact[np.isneginf(scores[candidates])] = np.inf
    order = np.argsort(exact, kind="stable")[:k]
    return exact[order], candidates[order]


def group_means(rows: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Returns the mean direction of each group of unit vectors.

    Args:
        rows: (N, D) float32.
        groups: (N,) group of each row, 0 to count - 1.
        count: groups.

    Returns:
        (count, D) float32, unit length; zeros for a group without rows or direction.
    """
    sums = np.empty((count, rows.shape[1]))
    for number, column in enumerate(rows.T):
        sums[:, number] = np.bincount(groups, column, count)
    return unit_rows(sums).astype(np.float32)
