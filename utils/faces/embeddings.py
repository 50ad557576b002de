"""Embeddings of faces: what an embedder offers, and the scaling to unit length."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from utils.faces.detections import Detections


class Embedder(Protocol):
    """Detector and recognition network, as `Facenet` has both.

    Attributes:
        identity: JSON values that decide its embeddings, see `utils.weights.cards.model_identity`.
        detector: name of the detector; None if photos are face crops already. Then `face_crops` cuts them, otherwise
            `detect_batch` and `align` do.
        threshold: distance, 0 to 2, below which two faces are taken for one person's.
    """

    identity: Mapping[str, Any]
    detector: str | None
    threshold: float

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Returns all faces of each image."""

    def align(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Returns the crop of the face with these landmarks (5, 2)."""

    def face_crops(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns the crops of images that show nothing but a face."""

    def embed_crops(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the embeddings (N, D) float32 of N crops, of unit length."""


def unit_rows(embeddings: ArrayLike) -> np.ndarray:
    """Returns embeddings scaled to unit length.

    Args:
        embeddings: (..., D) floats of any length.

    Returns:
        (..., D) float64; a row of zeros stays as it is.

    Example:
        >>> unit_rows([[3, 4], [0, 0]]).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    # In double precision: squares of 1e-30 would vanish in single.
    embeddings = np.asarray(embeddings, np.float64)
    norms = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return embeddings / np.maximum(norms, np.finfo(np.float64).tiny)


def unit_embeddings(embeddings: ArrayLike) -> np.ndarray:
    """Checks embeddings and returns them scaled to unit length.

    Args:
        embeddings: (N, D) floats of any length but zero.

    Returns:
        (N, D) float32.

    Raises:
        ValueError: the shape is not (N, D), or a row is zero or not finite.
    """
    embeddings = np.asarray(embeddings, np.float32)
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be (N, D), got {embeddings.shape}")
    bad = np.flatnonzero(~(np.isfinite(embeddings).all(axis=1) & embeddings.any(axis=1)))
    if bad.size:
        raise ValueError(f"embedding {bad[0]} is zero or not finite")
    return unit_rows(embeddings).astype(np.float32)
