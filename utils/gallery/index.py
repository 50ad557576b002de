"""Embeddings of known people in memory: who is nearest, who is unknown, and at which threshold."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from utils.evaluation.roc import threshold_at_far
from utils.gallery.nearest import group_means, nearest, normalized

UNKNOWN = "unknown"
"""What somebody is called who is not known; so nobody who is can be called so."""

SCORINGS = ("nearest", "mean")
FEW_PEOPLE, FEW_ACCEPTS = 20, 5
"""Fewer people, or fewer false accepts than this at the chosen rate, make a threshold rough."""


@dataclass(frozen=True)
class Matches:
    """The k nearest embeddings to each of Q queries.

    Attributes:
        distances: (Q, k) float32, Euclidean, 0 to 2, rising.
        names: (Q, k) objects: whose they are.
    """

    distances: np.ndarray
    names: np.ndarray


@dataclass(frozen=True)
class Identity:
    """Who a face is.

    Attributes:
        name: of the person, or `UNKNOWN`.
        distance: to the nearest person, 0 to 2; infinite if nobody is known.
        nearest: that person, whatever the distance; `UNKNOWN` if nobody is known.
    """

    name: str
    distance: float
    nearest: str


@dataclass(frozen=True)
class Calibration:
    """A threshold, and what it does on the faces it was measured on.

    Attributes:
        threshold: faces below this distance are accepted.
        false_accepts: share of faces that were named though their person was left out, 0 to 1.
        true_accepts: share of faces that got their own name by the person's other photos, 0 to 1;
            NaN if nobody has two photos.
        probes: faces the shares are of.
        people: who are known.
        note: why the figures are rough, else "".
    """

    threshold: float
    false_accepts: float
    true_accepts: float
    probes: int
    people: int
    note: str


@dataclass(frozen=True)
class FaceIndex:
    """N embeddings and whose they are.

    Attributes:
        names: (P,) objects.
        people: (N,) ints: index of the name of each embedding.
        embeddings: (N, D) float32, unit length.
        engine: of the search, see `utils.gallery.nearest`.
    """

    names: np.ndarray
    people: np.ndarray
    embeddings: np.ndarray
    engine: str = "numpy"

    @classmethod
    def empty(cls) -> "FaceIndex":
        """Nobody."""
        return cls(np.zeros(0, object), np.zeros(0, np.int32), np.zeros((0, 0), np.float32))

    def search(self, embeddings: np.ndarray, k: int = 1) -> Matches:
        """Finds the k nearest embeddings, exactly.

        Args:
            embeddings: (Q, D) floats, scaled to unit length here.
            k: neighbours of each; fewer if there are no more.

        Raises:
            ValueError: embeddings of another shape, or zero or not finite.
        """
        queries = self._queries(embeddings)
        distances, indices = nearest(queries, self.embeddings, k, engine=self.engine)
        return Matches(distances, self.names[self.people[indices]])

    def identify(
        self, embeddings: np.ndarray, threshold: float, scoring: str = "nearest"
    ) -> list[Identity]:
        """Names faces.

        Args:
            embeddings: (Q, D) floats, scaled to unit length here.
            threshold: a face at this distance or beyond is `UNKNOWN`; see `calibrate`.
            scoring: distance to a person: to the "nearest" of the photos, or to their "mean"
                direction.

        Returns:
            Q identities.

        Raises:
            ValueError: as for `search`, or unknown scoring.
        """
        queries = self._queries(embeddings)
        people, templates = self._templates(scoring)
        if not len(templates):
            return [Identity(UNKNOWN, float("inf"), UNKNOWN)] * len(queries)
        distances, indices = nearest(queries, templates, 1, engine=self.engine)
        names = self.names[people[indices[:, 0]]]
        return [
            Identity(name if distance < threshold else UNKNOWN, float(distance), name)
            for name, distance in zip(names, distances[:, 0], strict=True)
        ]

    def calibrate(
        self, far: float = 0.01, scoring: str = "nearest", max_probes: int = 2000, seed: int = 0
    ) -> Calibration:
        """Measures the threshold that few strangers pass, on the known faces themselves.

        Each face plays the stranger to all other people: a share `far` of them at most gets a
        name. That is the rate at which a stranger is named by anybody here; the rate of single
        pairs that are confused is lower by about the number of people.

        Args:
            far: share of strangers that may be accepted, 0 to 1.
            scoring: as for `identify`.
            max_probes: faces that are tried; of more, that many are drawn.
            seed: of the draw.

        Raises:
            ValueError: fewer than two people, a rate outside [0, 1], or unknown scoring.
        """
        people, templates = self._templates(scoring)
        count = len(np.unique(people))
        if count < 2:
            raise ValueError(f"a threshold needs photos of two people or more, there are {count}")
        probes = _draw(len(self.people), max_probes, seed)
        own = self.people[probes]
        strangers = nearest(self.embeddings[probes], templates, 1, people, own)[0][:, 0]
        threshold = threshold_at_far(strangers, far)
        genuine = self._genuine(probes, scoring)
        known = np.isfinite(genuine)
        named = (genuine < threshold) & (genuine < strangers)
        return Calibration(
            threshold=threshold,
            false_accepts=float(np.mean(strangers < threshold)),
            true_accepts=float(named[known].mean()) if known.any() else float("nan"),
            probes=len(probes),
            people=count,
            note=_roughness(count, len(probes), far),
        )

    def _queries(self, embeddings: np.ndarray) -> np.ndarray:
        queries, width = normalized(embeddings), self.embeddings.shape[1]
        if width and queries.shape[1] != width:
            raise ValueError(f"embeddings of length {queries.shape[1]}, {width} expected")
        return queries

    def _templates(self, scoring: str) -> tuple[np.ndarray, np.ndarray]:
        """What faces are compared with: index of the person (T,), and unit vectors (T, D)."""
        if scoring not in SCORINGS:
            raise ValueError(f"scoring {scoring!r} is not one of {', '.join(SCORINGS)}")
        return self._means if scoring == "mean" else (self.people, self.embeddings)

    @cached_property
    def _means(self) -> tuple[np.ndarray, np.ndarray]:
        ids, groups = np.unique(self.people, return_inverse=True)
        return ids, group_means(self.embeddings, groups, len(ids))

    def _genuine(self, probes: np.ndarray, scoring: str) -> np.ndarray:
        """Distances (B,) of faces to the other faces of their person; infinite without such."""
        distances = np.full(len(probes), np.inf)
        order = np.argsort(self.people, kind="stable")
        ordered = self.people[order]
        for person in np.unique(self.people[probes]):
            start, end = np.searchsorted(ordered, [person, person + 1])
            members = order[start:end]
            if len(members) > 1:
                asked = np.flatnonzero(self.people[probes] == person)
                positions = np.searchsorted(members, probes[asked])
                distances[asked] = _to_others(self.embeddings[members], positions, scoring)
        return distances


def _to_others(faces: np.ndarray, positions: np.ndarray, scoring: str) -> np.ndarray:
    """Distances of some of a person's faces (n, D) to the rest of them."""
    faces = faces.astype(np.float64)
    if scoring == "mean":
        rest = faces.sum(axis=0) - faces[positions]
        rest /= np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-12)
        return np.linalg.norm(faces[positions] - rest, axis=1)
    products = faces[positions] @ faces.T
    products[np.arange(len(positions)), positions] = -1.0
    return np.sqrt(np.maximum(2.0 - 2.0 * products.max(axis=1), 0.0))


def _draw(count: int, most: int, seed: int) -> np.ndarray:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _roughness(people: int, probes: int, far: float) -> str:
    if people >= FEW_PEOPLE and probes * far >= FEW_ACCEPTS:
        return ""
    return (
        f"rough: measured on {probes} photos of {people} people; a rate of {far:g} takes about "
        f"{max(FEW_PEOPLE, round(FEW_ACCEPTS / max(far, 1e-9))):,} photos of {FEW_PEOPLE} people "
        "or more"
    )
