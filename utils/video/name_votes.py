"""The name of a face that is followed: voted, so that it does not flicker."""

from __future__ import annotations

from collections import deque

import numpy as np

from utils.gallery.index import UNKNOWN, Identity

_WINDOW = 30  # votes that count
_SETTLE = 2  # votes that settle a name, _SETTLE_UNKNOWN that settle that nobody is known
_SETTLE_UNKNOWN = 8  # in a row, of one look of the face
_CHANGE = 6  # votes that must be there before a name is changed
_SHARE = 2 / 3  # of the votes that the new name must have then
_CLEAR = 0.8  # of the threshold: a vote at a distance below is clear
_CLEAR_ENOUGH, _PLAIN_ENOUGH = 2, 5  # clear, or any, votes in a row that name an unknown face
_STRANGER = 1.1  # of the threshold: so far from its own earlier faces a face is somebody else's
_STRANGE = 3  # such faces in a row
_KEEP = 1.15  # of the threshold: up to here a face that has a name keeps it
_GAIN, _CHANGED_GAIN = 0.2, 0.5  # least weight of the latest look in the mean; if it has changed
_ANCHOR_GAIN = 0.02  # the same of the mean that strangers are told by


class TrackName:
    """Votes on one track.

    Each look at the face goes into a mean embedding, which is what is recognised and voted on: it
    is steadier than a single frame's. A name is settled by two votes, or by a clear one;
    "unknown" by eight in a row while the face looks the same, as one that comes into sight is often
    blurred at first. A name that is settled is lost only well beyond the threshold, and only to two
    thirds of the latest thirty votes: to another name when there are six or more, to "unknown" when
    there are thirty, since a known face that turns away is still there. Who was unknown is named by
    two clear votes or any five in a row. A face that differs three times in a row from what the
    track has shown for long is somebody else's: then the track has to start anew.

    Example:
        >>> name = TrackName(threshold=1.1)
        >>> if name.see(embedding):
        ...     name.vote(gallery.identify(name.embedding[None], 1.1)[0])

    Attributes:
        name: settled, `UNKNOWN` among them; None before.
        distance: of the last vote for that name, infinite before.
        changes: how often a settled name was changed.
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
        self._mean = self._anchor = np.float64(0.0)  # (D,) from the first look on
        self._looks = self.strange = self._row = self._clear = 0

    @property
    def open(self) -> bool:
        """Whether the next look matters: unsettled, or the last vote was for somebody else."""
        if self.name is None or self.strange:
            return True
        return bool(self._votes) and self._votes[-1] not in (self.name, UNKNOWN)

    @property
    def embedding(self) -> np.ndarray:
        """(D,) of unit length: the mean of what was seen."""
        return _unit(self._mean)

    @property
    def is_another(self) -> bool:
        """Whether somebody else is seen in this place."""
        return self.strange >= _STRANGE

    def see(self, embedding: np.ndarray, changed: bool = False) -> bool:
        """Takes in a look at the face.

        Args:
            embedding: (D,) of unit length.
            changed: whether the face looks otherwise than it did (turned, lit, faded).

        Returns:
            Whether it looks like the same face, so that `embedding` has changed.
        """
        if self._looks:
            distance = np.linalg.norm(_unit(self._anchor) - embedding)
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
        """Counts who `embedding` was recognised to be."""
        near = identity.distance < _KEEP * self._threshold
        if identity.name == UNKNOWN and identity.nearest == self.name and near:
            identity = Identity(self.name, identity.distance, identity.nearest)
        self._votes.append(identity.name)
        self._count_row(identity)
        chosen = self._elected(identity)
        if chosen not in (None, self.name):
            if self.name is not None:
                self.changes += 1
                self._votes.clear()  # or the old ones would take the name back
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
        """The name just voted for if the votes are enough for it, else None."""
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


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(np.linalg.norm(vector), 1e-12)
