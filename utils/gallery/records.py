"""What a gallery holds, as arrays: people, the embeddings of their photos, and the photos that were rejected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

NAME_BYTES = 128
DIGEST_BYTES = 16
NO_PHOTO = bytes(DIGEST_BYTES)
"""Digest that stands for an embedding that was added by hand."""

ROW = np.dtype(
    [
        ("person", "<i4"),  # position in `names`
        ("faces", "<u2"),  # that the photo shows; the embedding is of one of them
        ("digest", "u1", (DIGEST_BYTES,)),  # of the photo's file, or NO_PHOTO
    ]
)


@dataclass(frozen=True, eq=False)
class Records:
    """N embeddings, and whose they are. A change returns new records, or the same object if nothing changes.

    Attributes:
        identity: JSON values that name the network, see `utils.weights.cards.model_identity`.
        names: of people; some may have no embeddings (left).
        rows: (N,) of dtype `ROW`: the person and the photo of each embedding.
        embeddings: (N, D) float32, unit length.
        rejected: digest -> number of faces, of the photos that no embedding was made of.
    """

    identity: Mapping[str, Any]
    names: Sequence[str] = ()
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, ROW))
    embeddings: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    rejected: Mapping[bytes, int] = field(default_factory=dict)

    def of(self, person: str) -> np.ndarray:
        """Returns the positions of a person's embeddings, none for somebody who is not there."""
        if person not in self.names:
            return np.zeros(0, np.intp)
        return np.flatnonzero(self.rows["person"] == self.names.index(person))

    def added(self, people: Sequence[str], rows: np.ndarray, embeddings: np.ndarray) -> "Records":
        """Returns the records with n more embeddings.

        Args:
            people: n names, of people who may be new.
            rows: (n,) of dtype `ROW`; the person is filled in here.
            embeddings: (n, D) float32, unit length.
        """
        rows = rows.copy()
        names, rows["person"] = self._numbered(people)
        if len(self.rows):
            rows, embeddings = np.concatenate([self.rows, rows]), np.concatenate([self.embeddings, embeddings])
        return replace(self, names=names, rows=rows, embeddings=embeddings)

    def without(self, positions: np.ndarray) -> "Records":
        """Returns the records without the embeddings at these positions."""
        if not len(positions):
            return self
        kept = np.ones(len(self.rows), bool)
        kept[positions] = False
        return replace(self, rows=self.rows[kept], embeddings=self.embeddings[kept])

    def given_to(self, people: Sequence[str], positions: np.ndarray) -> "Records":
        """Returns the records with the embeddings at n positions given to other people.

        Args:
            people: n names, of people who may be new.
            positions: (n,) ints.
        """
        names, numbers = self._numbered(people)
        if np.array_equal(self.rows["person"][positions], numbers):
            return self
        rows = self.rows.copy()
        rows["person"][positions] = numbers
        return replace(self, names=names, rows=rows)

    def with_rejected(self, rejected: Mapping[bytes, int]) -> "Records":
        """Returns the records with these rejected photos instead of theirs."""
        return self if rejected == self.rejected else replace(self, rejected=dict(rejected))

    def compact(self) -> "Records":
        """Returns the records without the names of people who have no embeddings."""
        used, numbers = np.unique(self.rows["person"], return_inverse=True)
        if len(used) == len(self.names):
            return self
        rows = self.rows.copy()
        rows["person"] = numbers
        return replace(self, names=[self.names[number] for number in used], rows=rows)

    def _numbered(self, people: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """Returns all names, new ones among them, and the positions (n,) of `people` in them."""
        numbers = {name: number for number, name in enumerate(self.names)}
        for name in people:
            numbers.setdefault(name, len(numbers))
        return list(numbers), np.array([numbers[name] for name in people], np.int32)


def count_people(names: Sequence[str], rows: np.ndarray) -> dict[str, int]:
    """Returns the number of embeddings of each person who has any, by name, sorted.

    Args:
        names: of people.
        rows: (N,) of dtype `ROW`.
    """
    counts = np.bincount(rows["person"], minlength=len(names)).tolist()
    return dict(sorted((name, count) for name, count in zip(names, counts, strict=True) if count))
