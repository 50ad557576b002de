"""Groups embeddings by person, by their distances alone."""

import numpy as np

METHODS = ("dbscan", "agglomerative")
NOISE = -1
"""Label of a face that is in no group."""


def cluster(embeddings: np.ndarray, threshold: float, method: str = "dbscan", least: int = 2) -> np.ndarray:
    """Groups embeddings by person.

    Args:
        embeddings: (N, D) of unit length.
        threshold: Euclidean distance, 0 to 2. "dbscan": faces within it belong together, and so do all that are
            connected by such steps, so it must be well below the threshold of verification (0.9 for the published
            MobileFaceNet). "agglomerative": groups are joined while the mean distance of their faces is below it (1.1
            to 1.15), which gathers more of the hard faces but takes N^2 numbers of memory, 3 GB for 20,000 faces.
        method: "dbscan" (Ester et al., 1996) or "agglomerative" (average linkage).
        least: faces that make a group. "dbscan" continues only from faces that have as many within the threshold,
            themselves included.

    Returns:
        (N,) ints: 0 for the largest group, 1 for the next, and so on; of groups of one size the one with the earliest
        face comes first. `NOISE`, -1, for a face that is in no group.

    Raises:
        ValueError: unknown method, threshold or least not positive, or embeddings of a wrong shape.
    """
    embeddings = np.asarray(embeddings)
    if method not in METHODS:
        raise ValueError(f"method {method!r} is not one of {', '.join(METHODS)}")
    if not threshold > 0 or least < 1:
        raise ValueError(f"threshold {threshold} and least {least} must be positive")
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be (N, D), got {embeddings.shape}")
    if not len(embeddings):
        return np.zeros(0, int)
    from sklearn.cluster import DBSCAN, AgglomerativeClustering

    if method == "dbscan":
        labels = DBSCAN(eps=threshold, min_samples=least).fit_predict(embeddings)
    elif len(embeddings) == 1:  # scikit-learn wants two or more
        labels = np.zeros(1, int)
    else:
        linked = AgglomerativeClustering(n_clusters=None, distance_threshold=threshold, linkage="average")
        labels = linked.fit_predict(embeddings)
    return _by_size(labels, least)


def _by_size(labels: np.ndarray, least: int) -> np.ndarray:
    """Numbers groups (N,) from the largest on; groups of fewer than `least` become `NOISE`."""
    groups, first, members, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    kept = (groups != NOISE) & (counts >= least)
    order = [group for group in np.lexsort((first, -counts)) if kept[group]]
    numbers = np.full(len(groups), NOISE)
    numbers[order] = np.arange(len(order))
    return numbers[members]
