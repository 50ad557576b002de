"""Verification of faces while a network is trained."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from utils.evaluation.lfw_metrics import distance, evaluate


class Verification(keras.callbacks.Callback):
    """Verifies pairs of faces after some epochs, with the averaged weights if there are any.

    Adds `<name>_accuracy` (10-fold), `<name>_auc` and `<name>_tar` (at a FAR of 0.01) to the logs.
    """

    def __init__(
        self, name: str, dataset: Iterable[dict[str, Any]], pairs: np.ndarray, same: np.ndarray, every: int = 1
    ) -> None:
        """Says what is verified.

        Args:
            name: prefix of the figures.
            dataset: dicts with image (B, H, W, 3), 0..255, and index (B,), to which pairs refer.
            pairs: (P, 2) indices of images.
            same: (P,) bool, whether a pair is of one person.
            every: epochs from one evaluation to the next.
        """
        super().__init__()
        self.name, self.every = name, every
        self._dataset, self._pairs, self._same = dataset, np.asarray(pairs), np.asarray(same)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds the figures to `logs`."""
        if (epoch + 1) % self.every:
            return
        with self.model.averaged():
            rows: dict[int, np.ndarray] = {}
            for batch in self._dataset:
                found = self.model.embed(batch["image"]).numpy()
                rows.update(zip(batch["index"].numpy().tolist(), found, strict=True))
        usable = np.array([a in rows and b in rows for a, b in self._pairs.tolist()])
        sides = self._pairs[usable].T.tolist()
        first, second = (np.stack([rows[i] for i in side]) for side in sides)
        result = evaluate(distance(first, second, "euclidean"), self._same[usable], fars=(0.01,))
        figures = {"accuracy": result.accuracy_mean, "auc": result.auc, "tar": float(result.tar_mean[0])}
        logs.update({f"{self.name}_{figure}": value for figure, value in figures.items()})


def sample_pairs(labels: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns random pairs for `Verification`: half of one person, half of two people.

    Args:
        labels: (N,) integers, the person on each image.
        count: largest number of pairs of each kind.
        rng: NumPy generator.

    Returns:
        pairs (P, 2) int64 in random order and same (P,) bool; empty where labels have no pair of
        a kind.
    """
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    pairs = np.concatenate([group[np.stack(np.triu_indices(len(group), 1), axis=1)] for group in groups])
    same = rng.permutation(pairs.astype(np.int64))[:count]
    different = rng.integers(0, len(labels), (4 * len(same), 2))
    different = different[labels[different[:, 0]] != labels[different[:, 1]]][: len(same)]
    pairs = np.concatenate([same, different])
    shuffled = rng.permutation(len(pairs))
    return pairs[shuffled], (np.arange(len(pairs)) < len(same))[shuffled]
