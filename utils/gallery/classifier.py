"""A linear SVM on embeddings, which names faces among the people it was trained on.

It follows the classifier of FaceNet for TensorFlow: people with enough photos, split into training and test photos.
There is one hyperplane for each person (one against the rest), so that hundreds of people train in seconds. They are
kept as plain arrays; scikit-learn is needed only for training.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from utils.files.atomic_file import replacing
from utils.weights.cards import differences

FORMAT, VERSION = "faces classifier", 1
_FOLDS = 3  # of the cross-validation that measures `scale`
_SCALES = np.geomspace(0.25, 64, 65)


Labels = Sequence[str] | np.ndarray
"""Names of N faces, objects where they are an array."""


class ClassifierError(ValueError):
    """A classifier file that cannot be used; the message names the file."""


@dataclass(frozen=True, eq=False)
class FaceClassifier:
    """Hyperplanes of C people in the space of embeddings.

    Attributes:
        names: of C people.
        weights: (C, D) float64.
        biases: (C,) float64.
        scale: factor of the decisions in the softmax that gives probabilities.
        identity: JSON values that name the network of the embeddings, see `utils.weights.cards.model_identity`.
    """

    names: tuple[str, ...]
    weights: np.ndarray
    biases: np.ndarray
    scale: float = 1.0
    identity: Mapping[str, Any] = field(default_factory=dict)

    def decisions(self, embeddings: np.ndarray) -> np.ndarray:
        """Returns the signed distances (N, C) of embeddings (N, D) to the hyperplanes, in margins.

        Raises:
            ValueError: the embeddings have another shape.
        """
        embeddings = np.asarray(embeddings, np.float64)
        if embeddings.ndim != 2 or embeddings.shape[1] != self.weights.shape[1]:
            raise ValueError(f"embeddings must be (N, {self.weights.shape[1]}), got {embeddings.shape}")
        return embeddings @ self.weights.T + self.biases

    def predict(self, embeddings: np.ndarray) -> list[tuple[str, float]]:
        """Names faces.

        Args:
            embeddings: (N, D).

        Returns:
            For each face the person with the greatest decision, and the probability of that person among the C. A
            stranger gets a name, too.
        """
        probabilities = _softmax(self.scale * self.decisions(embeddings))
        best = probabilities.argmax(axis=1)
        sure = probabilities[np.arange(len(best)), best]
        return [(self.names[i], float(p)) for i, p in zip(best, sure, strict=True)]

    def accuracy(self, embeddings: np.ndarray, labels: Labels) -> float:
        """Returns the share of embeddings (N, D), N at least 1, that get the name of their label, 0 to 1."""
        best = self.decisions(embeddings).argmax(axis=1)
        return float(np.mean(np.array(self.names, object)[best] == np.asarray(labels, object)))

    def save(self, path: str | os.PathLike) -> None:
        """Writes the classifier to an HDF5 file, whole or not at all."""
        with replacing(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
            file.attrs["model"] = json.dumps(dict(self.identity))
            file.attrs["scale"] = self.scale
            file["names"] = np.array(self.names, h5py.string_dtype("utf-8"))
            for name in ("weights", "biases"):
                file.create_dataset(name, data=getattr(self, name), fletcher32=True)

    @classmethod
    def load(cls, path: str | os.PathLike, identity: Mapping[str, Any] | None = None) -> "FaceClassifier":
        """Reads what `save` wrote.

        Args:
            path: of the file.
            identity: of the network whose embeddings will be classified. None skips the check that the classifier was
                trained on embeddings of that network.

        Raises:
            ClassifierError: the file is missing, damaged, no classifier, of a newer version, or of another network.
        """
        path = Path(path)
        if not path.is_file():
            raise ClassifierError(f"{path}: no such classifier; train one first")
        try:
            with h5py.File(path, "r") as file:
                loaded = cls._read(file)
        except ClassifierError as error:
            raise ClassifierError(f"{path}: {error}") from error
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise ClassifierError(f"{path}: damaged, or not a classifier ({error})") from error
        if identity is not None and (text := differences(loaded.identity, identity)):
            raise ClassifierError(
                f"{path}: trained on embeddings of another network ({text}); use that network, or train it anew"
            )
        return loaded

    @classmethod
    def _read(cls, file: h5py.File) -> "FaceClassifier":
        if file.attrs.get("format") != FORMAT:
            raise ClassifierError("an HDF5 file, but not a classifier of this project")
        if file.attrs["version"] > VERSION:
            raise ClassifierError(f"layout {file.attrs['version']} is newer than this version")
        names = tuple(name.decode() for name in file["names"][:])
        weights, biases = file["weights"][:], file["biases"][:]
        if weights.ndim != 2 or not len(names) == len(weights) == len(biases):
            raise ValueError("its parts do not fit each other")
        identity = json.loads(file.attrs["model"])
        return cls(names, weights, biases, float(file.attrs["scale"]), identity)


def enough_images(labels: Labels, least: int) -> np.ndarray:
    """Returns the positions of the labels that occur `least` times or more."""
    _, classes, counts = _classes(labels)
    return np.flatnonzero(counts[classes] >= least)


def split(labels: Labels, train_images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draws a number of photos of each person to train on; the others are to test.

    Args:
        labels: N names.
        train_images: photos of each person to train on; of a person with no more than that, none are left to test.
        seed: of the draw.

    Returns:
        Positions of the training and of the test photos, each sorted.
    """
    names, classes, _ = _classes(labels)
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(classes == number))[:train_images] for number in range(len(names))]
    train = np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, int)
    return train, np.setdiff1d(np.arange(len(classes)), train)


def train(embeddings: np.ndarray, labels: Labels, identity: Mapping[str, Any] | None = None) -> FaceClassifier:
    """Trains a linear SVM, one person against the rest.

    Args:
        embeddings: (N, D).
        labels: N names.
        identity: of the network that made the embeddings.

    Returns:
        The classifier; its decisions are those of scikit-learn's LinearSVC.

    Raises:
        ValueError: there are fewer than two people, or the shapes do not fit.
    """
    names, classes, counts = _classes(labels)
    embeddings = np.asarray(embeddings, np.float64)
    if embeddings.ndim != 2 or len(embeddings) != len(classes):
        raise ValueError(f"embeddings {embeddings.shape} of {len(classes)} labels")
    if len(names) < 2:
        raise ValueError(f"a classifier needs photos of two people or more, there are {len(names)}")
    weights, biases = _hyperplanes(embeddings, classes)
    scale = _scale(embeddings, classes, int(counts.min()))
    return FaceClassifier(tuple(names), weights, biases, scale, dict(identity or {}))


def _classes(labels: Labels) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Returns the sorted names, the class of each label, and the number of labels of each class."""
    names, classes, counts = np.unique(np.array([*labels, None], object)[:-1], return_inverse=True, return_counts=True)
    return names.tolist(), classes, counts


def _hyperplanes(embeddings: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights (C, D) and biases (C,) of the SVM."""
    from sklearn.svm import LinearSVC

    svm = LinearSVC(random_state=0).fit(embeddings, classes)
    weights, biases = svm.coef_, svm.intercept_
    if len(svm.classes_) == 2:  # scikit-learn has one hyperplane for both, that of the second
        weights, biases = np.concatenate([-weights, weights]), np.concatenate([-biases, biases])
    return weights, biases


def _scale(embeddings: np.ndarray, classes: np.ndarray, fewest: int) -> float:
    """Returns the factor of decisions that makes their softmax likeliest, on photos that were held out.

    This is temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", 2017). The factor is 1 if
    somebody has a single photo (`fewest`), which cannot be held out.
    """
    if fewest < 2:
        return 1.0
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(min(_FOLDS, fewest), shuffle=True, random_state=0)
    decisions = np.empty((len(classes), classes.max() + 1))
    for fitted, held_out in folds.split(embeddings, classes):
        weights, biases = _hyperplanes(embeddings[fitted], classes[fitted])
        decisions[held_out] = embeddings[held_out] @ weights.T + biases
    own = np.arange(len(classes)), classes
    likelihoods = [np.log(_softmax(scale * decisions)[own]).mean() for scale in _SCALES]
    return float(_SCALES[np.argmax(likelihoods)])


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
