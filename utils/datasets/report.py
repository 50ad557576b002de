"""The report of a dataset: a CSV that says what became of each photo, and tells an alignment what is done.

While an alignment runs, rows are appended as photos are finished; several processes may do so at
once. At the end the report is sorted. A run that was killed leaves its rows behind, at worst with
the last one cut short, which does not count.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from utils.files.atomic_file import replacing

KEPT = "kept"
UNREADABLE = "unreadable"
NO_FACE = "no face"
TOO_SMALL = "too small"
SEVERAL_FACES = "several faces"
DUPLICATE = "duplicate"
LABEL_CONFLICT = "label conflict"
BAD_NAME = "bad name"


class Row(NamedTuple):
    """What became of a photo; all values are text, "" where there is nothing to say.

    Attributes:
        file: of the portrait.
        person: of the portrait.
        result: `KEPT`, or why the photo was dropped.
        detail: more about that.
        crop: file of the crop, below the folder of the report.
        faces: how many were found.
        score: of the chosen face.
        x1: left edge of its box, pixels.
        y1: top edge.
        x2: right edge.
        y2: bottom edge.
        stamp: length and time of the photo's file, see `crops.file_stamp`.
        settings: name of the alignment's settings, see `crops.settings_name`.
    """

    file: str
    person: str
    result: str
    detail: str = ""
    crop: str = ""
    faces: str = ""
    score: str = ""
    x1: str = ""
    y1: str = ""
    x2: str = ""
    y2: str = ""
    stamp: str = ""
    settings: str = ""


def write_report(path: str | os.PathLike, rows: Iterable[Row]) -> None:
    """Writes a report with these rows, in their order, as a whole or not at all."""
    content = b"".join(map(_line, [Row._fields, *rows]))
    with replacing(path) as temporary:
        temporary.write_bytes(content)


class Report:
    """The rows of a report that is being written.

    Attributes:
        path: of the CSV.
        rows: {file: Row}, the last row of each photo, as last read.
        crops: files of all crops that were ever kept since the report was last sorted.
    """

    def __init__(self, path: str | os.PathLike):
        """Reads the report if there is one.

        Raises:
            ValueError: the file is no such report.
        """
        self.path = Path(path)
        self.rows: dict[str, Row] = {}
        self.crops: set[str] = set()
        self._read_to = 0
        self._inode: int | None = None
        self.refresh()

    def refresh(self) -> None:
        """Reads the rows that this process or another one has added since the last time."""
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._read_to:
                    self._inode, self._read_to = status.st_ino, 0  # another process sorted it
                file.seek(self._read_to)
                added = file.read()
        except FileNotFoundError:
            return
        whole = added[: added.rfind(b"\n") + 1]
        if self._read_to == 0 and whole and not whole.startswith(_line(Row._fields)):
            raise ValueError(f"{self.path}: not a report of an alignment; delete it or choose another folder")
        self._read_to += len(whole)
        for row in _parse(whole):
            self.rows[row.file] = row
            if row.result == KEPT:
                self.crops.add(row.crop)

    def append(self, rows: Iterable[Row]) -> None:
        """Adds rows in one write, and reads what other processes added."""
        content = b"".join(map(_line, rows))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab+", buffering=0) as file:
            file.write(_gap(file) + content)
        self.refresh()


def _gap(file: BinaryIO) -> bytes:
    """Returns what has to stand before new rows: the header, or the end of a line that was cut short."""
    end = file.seek(0, os.SEEK_END)
    if not end:
        return _line(Row._fields)
    file.seek(end - 1)
    return b"" if file.read(1) == b"\n" else b"\n"


def _line(values: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(" ".join(value.split("\n")) for value in values)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _parse(content: bytes) -> Iterator[Row]:
    """Yields the rows; headers and lines that were cut short are passed over."""
    # A line at a time: the open quote of one that was cut short must not swallow the next.
    for line in content.decode("utf-8", "replace").split("\n"):
        values = next(csv.reader([line]), ()) if line else ()
        if len(values) == len(Row._fields) and tuple(values) != Row._fields:
            yield Row(*values)
