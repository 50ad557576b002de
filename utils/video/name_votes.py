"""Votes on the name of a face that is followed, so that the name does not flicker."""

from collections import deque

import numpy as np

from utils.faces.embeddings import unit_rows
from utils.gallery.index import UNKNOWN, Identity

_WINDOW = 30  # votes that count
_SETTLE = 2  # votes that settle a name
_SETTLE_UNKNOWN = 8  # votes in a row, while the face looks the same, that settle that nobody knows it
_CHANGE = 6  # votes that must be there before a settled name may change
_SHARE = 2 / 3  # share of those votes that the new name must have
_CLEAR = 0.8  # times the threshold: a vote at a smaller distance is clear
_CLEAR_ENOUGH, _PLAIN_ENOUGH = 2, 5  # clear votes, or votes of any kind, in a row that name an unknown face
_STRANGER = 1.1  # times the threshold: a face at this distance from the track's earlier ones is somebody else's
_STRANGE = 3  # such faces in a row end the track
_KEEP = 1.15  # times the threshold: below it a vote still counts for the name that the face has
_GAIN, _CHANGED_GAIN = 0.2, 0.5  # least weight of the latest look in the mean: usually, and after a change
_ANCHOR_GAIN = 0.02  # the same in the slow mean, which tells strangers


class TrackName:
    """Votes on one track.

    Each look at the face goes into a mean embedding, which is steadier than that of one frame. The
    mean is recognised, and each result is a vote. A vote is clear below 0.8 times the threshold.

    - No name -> a name: 2 votes, or 1 clear vote.
    - No name -> unknown: 8 votes in a row while the face looks the same, as a face that comes into
      sight is often blurred at first.
    - Unknown -> a name: 2 clear votes or 5 votes of any kind in a row.
    - A name -> another name: two thirds of at least 6 votes.
    - A name -> unknown: two thirds of 30 votes, since a known face that turns away is still there.
      A vote below 1.15 times the threshold still counts for the name.
    - Somebody else: 3 looks in a row that differ by 1.1 times the threshold or more from what the
      track has shown for long. Then the track has to start again.

    Example:
        >>> name = TrackName(threshold=1.1)
        >>> if name.see(embedding):
        ...     name.vote(gallery.identify(name.embedding[None], 1.1)[0])

    Attributes:
        name: the settled name, which may be `UNKNOWN`; None before.
        distance: distance of the last vote for that name; infinite before.
        changes: how often a settled name has changed.
        strange: looks in a row that did not fit the mean.
    """

    def __init__(self, threshold: float):
        """Starts without a name.

        Args:
            threshold: distance, 0 to 2, from which on a face is not the person.
        """
        self.name: str | None = None
        self.distance, self.changes = float("inf"), 0
        self._threshold = threshold
        self._votes: deque[str] = deque(maxlen=_WINDOW)
        self._mean = self._anchor = np.zeros(1)  # (D,) from the first look on
        self._looks = self.strange = self._row = self._clear = 0

    @property
    def open(self) -> bool:
        """Whether the next look matters: unsettled, or the last vote was for somebody else."""
        if self.name is None or self.strange:
            return True
        return bool(self._votes) and self._votes[-1] not in (self.name, UNKNOWN)

    @property
    def embedding(self) -> np.ndarray:
        """Mean of the looks at the face, (D,) of unit length."""
        return unit_rows(self._mean)

    @property
    def is_another(self) -> bool:
        """Whether the face is somebody else's by now."""
        return self.strange >= _STRANGE

    def see(self, embedding: np.ndarray, changed: bool = False) -> bool:
        """Adds a look at the face to the mean.

        Args:
            embedding: (D,) of unit length.
            changed: whether the face looks otherwise than it did (turned, lit, faded).

        Returns:
            Whether it looks like the same face, so that `embedding` has changed.
        """
        if self._looks:
            distance = np.linalg.norm(unit_rows(self._anchor) - embedding)
            if distance >= _STRANGER * self._threshold:
                self.strange += 1
                return False
        self.strange, self._looks = 0, self._looks + 1
        gain = max(_CHANGED_GAIN if changed else _GAIN, 1 / self._looks)
        self._mean = self._mean + gain * (embedding - self._mean)
        gain = max(_ANCHOR_GAIN, 1 / self._looks)
        self._anchor = self._anchor + gain * (embedding - self._anchor)
        if changed:
            self._row = self._clear = 0
        return True

    def vote(self, identity: Identity) -> None:
        """Counts a vote: the person that `embedding` was recognised as."""
        near = identity.distance < _KEEP * self._threshold
        if identity.name == UNKNOWN and identity.nearest == self.name and near:
            identity = Identity(self.name, identity.distance, identity.nearest)
        self._votes.append(identity.name)
        self._count_row(identity)
        chosen = self._elected(identity)
        if chosen not in (None, self.name):
            if self.name is not None:
                self.changes += 1
                self._votes.clear()  # The old votes would change the name back.
            self.name, self.distance = chosen, float("inf")
        if identity.name == self.name:
            self.distance = identity.distance

    def _count_row(self, identity: Identity) -> None:
        """Counts the votes, and the clear ones, that name the same person without a break."""
        if len(self._votes) < 2 or self._votes[-2] != identity.name:
            self._row = self._clear = 0
        self._row += 1
        clear = identity.name != UNKNOWN and identity.distance < _CLEAR * self._threshold
        self._clear = self._clear + 1 if clear else 0

    def _elected(self, identity: Identity) -> str | None:
        """Returns the name of the latest vote if its votes are enough, else None."""
        if self.name is None and self._clear:
            return identity.name
        if self.name == UNKNOWN and (self._clear >= _CLEAR_ENOUGH or self._row >= _PLAIN_ENOUGH):
            return identity.name
        votes, count = self._votes.count(identity.name), len(self._votes)
        if self.name is None:
            unknown = identity.name == UNKNOWN
            enough = self._row >= _SETTLE_UNKNOWN if unknown else votes >= _SETTLE
        else:
            least = _WINDOW if identity.name == UNKNOWN else _CHANGE
            enough = count >= least and votes >= _SHARE * count
        return identity.name if enough else None
