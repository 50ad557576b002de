"""Who was seen in a video, and when: a table."""

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from utils.files.atomic_file import replacing
from utils.gallery.index import UNKNOWN
from utils.video.recognizer import SeenFace


@dataclass
class Sighting:
    """One track under one name.

    Attributes:
        track: number of the track.
        name: its name, `UNKNOWN` among them; None while it is not settled.
        first: seconds of the video when the track was first seen under this name.
        last: seconds of the video when it was last seen under this name.
        frames: number of frames.
        distance: the least distance to that name; infinite without a name.
    """

    track: int
    name: str | None
    first: float
    last: float
    frames: int = 0
    distance: float = float("inf")


class Sightings:
    """Counts the faces of all frames, in one row per track and name.

    Frames before a track's name was settled count for that name.

    Attributes:
        rows: the rows, in the order in which they were first seen.
    """

    def __init__(self, start: datetime | None = None):
        """Starts without a face.

        Args:
            start: local time of second 0, of a live picture; None for a file.
        """
        self._start = start
        self.rows: list[Sighting] = []
        self._current: dict[int, Sighting] = {}  # by track

    def add(self, faces: Iterable[SeenFace], seconds: float) -> None:
        """Counts the faces of the frame at that second."""
        for face in faces:
            row = self._current.get(face.track)
            if row is not None and row.name is None:
                row.name = face.name
            if row is None or row.name != face.name:
                row = Sighting(face.track, face.name, seconds, seconds)
                self._current[face.track] = row
                self.rows.append(row)
            row.last, row.frames = seconds, row.frames + 1
            row.distance = min(row.distance, face.distance)

    def write(self, path: str | os.PathLike, named: bool = True) -> None:
        """Writes a CSV: track, name, first and last (seconds), frames, distance, clock.

        `clock` is the local time of `first`, empty for a file.

        Args:
            path: of the CSV; it appears whole or not at all.
            named: whether faces were recognised; else the names stay empty.
        """
        with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("track", "name", "first", "last", "frames", "distance", "clock"))
            writer.writerows(self._cells(row, named) for row in self.rows)

    def _cells(self, row: Sighting, named: bool) -> tuple:
        distance = "" if row.distance == float("inf") else f"{row.distance:.5f}"
        seen = self._start and self._start + timedelta(seconds=row.first)
        clock = seen.isoformat(timespec="seconds") if seen else ""
        name = (row.name or UNKNOWN) if named else ""
        return row.track, name, f"{row.first:.3f}", f"{row.last:.3f}", row.frames, distance, clock
