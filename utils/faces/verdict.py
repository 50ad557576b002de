"""The answer to whether two faces are of the same person."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Says whether two faces are of the same person; its truth value is `same`.

    Attributes:
        same: whether `distance` is at most `threshold`.
        distance: Euclidean distance of the two embeddings, 0 to 2.
        threshold: largest distance of the same person's faces.
    """

    same: bool
    distance: float
    threshold: float

    def __bool__(self) -> bool:
        """Returns `same`."""
        return self.same
