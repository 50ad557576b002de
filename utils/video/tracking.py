"""Follows faces from frame to frame of a video."""

from itertools import count
from typing import Any

import lap
import numpy as np

from utils.faces.boxes import center_size, corners, iou
from utils.faces.detections import Detections

# Gains of the alpha-beta filter: the share of a detection's error that corrects place and speed.
_PLACE_GAIN, _SPEED_GAIN = 0.8, 0.4
_FURTHEST = 0.3  # seconds that a face is moved ahead without being seen
_LEAST_IOU = 0.25  # of a face and the track that it continues
_SMALLEST = 1e-3  # pixels; a box that shrinks between detections keeps at least this size


class Track:
    """One face, followed.

    Attributes:
        id: number of the track, from 1.
        box: (4,) float32 xyxy in pixels, smoothed; between detections where it should be by now.
        landmarks: (5, 2) float32 in pixels, moved with the box.
        score: of the last detection.
        hits: number of detections that saw it.
        missed: number of detections since then that did not see it.
        seen: seconds of the video when it was last detected.
        known: what the recogniser knows of the face; None before it was recognised.
    """

    known: Any = None

    def __init__(self, number: int, box: np.ndarray, points: np.ndarray, score: float, now: float):
        """Starts at rest, where a face was detected."""
        self.id, self.hits, self.missed, self.seen, self.score = number, 1, 0, now, float(score)
        self._place = center_size(np.asarray(box, np.float64))  # at the last detection
        self._speed = np.zeros(4)  # of the same, per second
        self._keep(box, points, now)

    def _keep(self, box: np.ndarray, points: np.ndarray, now: float) -> None:
        """Keeps the landmarks as fractions of the detected box, and moves the box there."""
        box = np.asarray(box, np.float64)
        self._points = (points - box[:2]) / np.maximum(box[2:] - box[:2], _SMALLEST)
        self.move(now)

    def _at(self, now: float) -> np.ndarray:
        """Returns centre and size at a time, (4,) float64."""
        place = self._place + self._speed * np.clip(now - self.seen, 0, _FURTHEST)
        place[2:] = np.maximum(place[2:], _SMALLEST)
        return place

    def move(self, now: float) -> None:
        """Moves the box to where it should be at a time."""
        box = corners(self._at(now))
        self.box = box.astype(np.float32)
        self.landmarks = (box[:2] + self._points * (box[2:] - box[:2])).astype(np.float32)

    def correct(self, box: np.ndarray, points: np.ndarray, score: float, now: float) -> None:
        """Learns place and speed from a detection."""
        expected, since = self._at(now), max(now - self.seen, 1e-3)
        error = center_size(np.asarray(box, np.float64)) - expected
        # The first step shows the speed; later ones only correct it.
        gain = 1.0 if self.hits == 1 else _SPEED_GAIN
        self._place = expected + _PLACE_GAIN * error
        self._speed = self._speed + gain * error / since
        self.hits, self.missed, self.seen, self.score = self.hits + 1, 0, now, float(score)
        self._keep(box, points, now)


class Tracker:
    """Tells which face of a frame is which face of the frames before.

    Faces go to the tracks whose boxes, moved on with their speed, they overlap most, taken together
    (Hungarian method on IoU, as in SORT, Bewley et al. 2016).
    """

    def __init__(self, memory: float = 1.0):
        """Starts without a track.

        Args:
            memory: seconds that a face may be out of sight and still be the same track.
        """
        self.tracks: list[Track] = []
        self._memory, self._numbers = memory, count(1)

    def update(self, faces: Detections, now: float) -> list[Track]:
        """Takes in the faces of a frame.

        Args:
            faces: N faces, in pixels.
            now: seconds of the video, rising.

        Returns:
            The track of each of the N faces, in their order; `tracks` has those out of sight, too.
        """
        # Drop tracks that were missed for longer than `memory`. A track that the last detection saw
        # stays, even if that detection was long ago (`detect_every`).
        self.tracks = [t for t in self.tracks if not t.missed or now - t.seen <= self._memory]
        self.move(now)
        continued = self._continued(faces)
        for track in self.tracks:
            track.missed += 1  # `correct` sets it to 0.
        chosen = []
        for i, seen in enumerate(zip(faces.boxes, faces.landmarks, faces.scores, strict=True)):
            track = continued.get(i) or Track(next(self._numbers), *seen, now)
            if i in continued:
                track.correct(*seen, now)
            else:
                self.tracks.append(track)
            chosen.append(track)
        return chosen

    def move(self, now: float) -> None:
        """Moves all tracks on to the time of a frame without detection."""
        for track in self.tracks:
            track.move(now)

    def renumber(self, track: Track) -> None:
        """Gives a track a new number, as somebody else is seen there now."""
        track.id = next(self._numbers)

    def _continued(self, faces: Detections) -> dict[int, Track]:
        """Returns, by the number of the face, the track of each face that continues one."""
        if not len(faces) or not self.tracks:
            return {}
        overlaps = iou(faces.boxes, np.stack([track.box for track in self.tracks]))
        # An overlap below the limit must not count, or it could break up a better pair.
        worth = np.where(overlaps >= _LEAST_IOU, overlaps, 0)
        _, columns, _ = lap.lapjv(1 - worth, extend_cost=True)  # of each face; -1 where faces outnumber tracks
        return {face: self.tracks[i] for face, i in enumerate(columns) if i >= 0 and worth[face, i] > 0}
