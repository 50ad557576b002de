"""Compares faces with the embeddings of known people: who is nearest, who is unknown, at which threshold."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from utils.evaluation.roc import threshold_at_far
from utils.faces.embeddings import unit_embeddings, unit_rows
from utils.gallery.nearest import group_means, nearest

UNKNOWN = "unknown"
"""Name given to a face that matches nobody in the gallery. Reserved: no person may have it."""

SCORINGS = ("nearest", "mean")
_MOST_PROBES = 2000  # faces that `calibrate` tries
FEW_PEOPLE, FEW_ACCEPTS = 20, 5
"""A threshold measured on fewer people, or with fewer expected false accepts, is rough."""


@dataclass(frozen=True)
class Matches:
    """The k nearest embeddings to each of Q queries.

    Attributes:
        distances: (Q, k) float32, Euclidean, 0 to 2, rising.
        names: (Q, k) objects: whose embeddings they are.
    """

    distances: np.ndarray
    names: np.ndarray


@dataclass(frozen=True)
class Identity:
    """Who a face is.

    Attributes:
        name: of the person, or `UNKNOWN`.
        distance: to the nearest person, 0 to 2; infinite if the gallery is empty.
        nearest: name of the nearest person at any distance; `UNKNOWN` if the gallery is empty.
    """

    name: str
    distance: float
    nearest: str


@dataclass(frozen=True)
class Calibration:
    """A threshold, and what it does on the faces it was measured on.

    Attributes:
        threshold: faces below this distance are accepted.
        false_accepts: share of faces that were named although their person was left out, 0 to 1.
        true_accepts: share of faces that got their own name by the person's other photos, 0 to 1;
            NaN if nobody has two photos.
        probes: number of faces that were tried.
        people: number of known people.
        note: why the figures are rough, "" if they are not.
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
        people: (N,) ints: position in `names` of each embedding's person.
        embeddings: (N, D) float32, unit length.
    """

    names: np.ndarray
    people: np.ndarray
    embeddings: np.ndarray

    @classmethod
    def empty(cls) -> "FaceIndex":
        """Returns an index without people."""
        return cls(np.zeros(0, object), np.zeros(0, np.int32), np.zeros((0, 0), np.float32))

    def search(self, embeddings: ArrayLike, k: int = 1) -> Matches:
        """Finds the k nearest embeddings, exactly.

        Args:
            embeddings: (Q, D) floats, scaled to unit length here.
            k: neighbours of each; fewer if the index has fewer.

        Raises:
            ValueError: the embeddings have another shape, or are zero or not finite.
        """
        queries = self._queries(embeddings)
        distances, indices = nearest(queries, self.embeddings, k)
        return Matches(distances, self.names[self.people[indices]])

    def identify(self, embeddings: ArrayLike, threshold: float, scoring: str = "nearest") -> list[Identity]:
        """Names faces.

        Args:
            embeddings: (Q, D) floats, scaled to unit length here.
            threshold: distance, 0 to 2, from which on a face is `UNKNOWN`; see `calibrate`.
            scoring: what the distance to a person is measured to: the "nearest" of the person's embeddings, or their
                "mean" direction.

        Returns:
            Q identities.

        Raises:
            ValueError: as for `search`, or unknown scoring.
        """
        queries = self._queries(embeddings)
        people, templates = self._templates(scoring)
        if not len(templates):
            return [Identity(UNKNOWN, float("inf"), UNKNOWN)] * len(queries)
        distances, indices = nearest(queries, templates, 1)
        names = self.names[people[indices[:, 0]]]
        return [
            Identity(name if distance < threshold else UNKNOWN, float(distance), name)
            for name, distance in zip(names, distances[:, 0], strict=True)
        ]

    def calibrate(self, far: float = 0.01, scoring: str = "nearest") -> Calibration:
        """Measures the threshold that few strangers pass, on the known faces themselves.

        Each face is compared with all other people, as if it were a stranger's; at most a share `far` of the faces gets
        a name. That is the rate at which a stranger is taken for anybody in the gallery. The rate at which two given
        people are confused is lower, about by the number of people.

        Args:
            far: share of strangers that may be accepted, 0 to 1.
            scoring: as for `identify`.

        Raises:
            ValueError: there are fewer than two people, the rate is outside [0, 1], or unknown scoring.
        """
        people, templates = self._templates(scoring)
        count = len(np.unique(people))
        if count < 2:
            raise ValueError(f"a threshold needs photos of two people or more, there are {count}")
        probes = np.arange(len(self.people))
        if len(probes) > _MOST_PROBES:
            probes = np.sort(np.random.default_rng(0).choice(probes, _MOST_PROBES, replace=False))
        strangers = nearest(self.embeddings[probes], templates, 1, people, self.people[probes])[0][:, 0]
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

    def _queries(self, embeddings: ArrayLike) -> np.ndarray:
        queries, width = unit_embeddings(embeddings), self.embeddings.shape[1]
        if width and queries.shape[1] != width:
            raise ValueError(f"embeddings of length {queries.shape[1]}, {width} expected")
        return queries

    def _templates(self, scoring: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns what faces are compared with: people (T,) as in `people`, and unit vectors (T, D)."""
        if scoring not in SCORINGS:
            raise ValueError(f"scoring {scoring!r} is not one of {', '.join(SCORINGS)}")
        return self._means if scoring == "mean" else (self.people, self.embeddings)

    @cached_property
    def _means(self) -> tuple[np.ndarray, np.ndarray]:
        ids, groups = np.unique(self.people, return_inverse=True)
        return ids, group_means(self.embeddings, groups, len(ids))

    def _genuine(self, probes: np.ndarray, scoring: str) -> np.ndarray:
        """Returns distances (B,) of faces to the other faces of their person, infinite if there are none."""
        distances = np.full(len(probes), np.inf)
        for person in np.unique(self.people[probes]):
            members = np.flatnonzero(self.people == person)
            if len(members) > 1:
                asked = np.flatnonzero(self.people[probes] == person)
                positions = np.searchsorted(members, probes[asked])
                distances[asked] = _to_others(self.embeddings[members], positions, scoring)
        return distances


def _to_others(faces: np.ndarray, positions: np.ndarray, scoring: str) -> np.ndarray:
    """Returns the distances of some of a person's faces (n, D) to the rest of them."""
    faces = faces.astype(np.float64)
    if scoring == "mean":
        rest = faces.sum(axis=0) - faces[positions]
        return np.linalg.norm(faces[positions] - unit_rows(rest), axis=1)
    products = faces[positions] @ faces.T
    products[np.arange(len(positions)), positions] = -1.0
    return np.sqrt(np.maximum(2.0 - 2.0 * products.max(axis=1), 0.0))


def _roughness(people: int, probes: int, far: float) -> str:
    if people >= FEW_PEOPLE and probes * far >= FEW_ACCEPTS:
        return ""
    return (
        f"rough: measured on {probes} photos of {people} people; a rate of {far:g} takes about "
        f"{max(FEW_PEOPLE, round(FEW_ACCEPTS / max(far, 1e-9))):,} photos of {FEW_PEOPLE} people "
        "or more"
    )
