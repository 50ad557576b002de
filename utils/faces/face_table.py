"""Tables of the faces of photos: CSV and JSON, one entry per face."""

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from utils.faces.photo_stream import Photo
from utils.files.atomic_file import replacing

Record = dict[str, Any]

_BOX = ("x1", "y1", "x2", "y2")
_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
_LANDMARKS = tuple(f"{point}_{axis}" for point in _POINTS for axis in "xy")


def records(photo: Photo) -> list[Record]:
    """Returns what is known of each face of a photo before it has a name.

    Returns:
        Dicts of file, face (its number, from 1, best score first), box (x1, y1, x2, y2 in pixels)
        and score.
    """
    boxes = np.round(photo.faces.boxes.astype(float), 2).tolist()
    scores = np.round(photo.faces.scores.astype(float), 4).tolist()
    return [
        {"file": str(photo.source), "face": number, "box": box, "score": score}
        for number, (box, score) in enumerate(zip(boxes, scores, strict=True), 1)
    ]


def write_csv(path: str | os.PathLike, faces: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Writes the table of named faces, one line per face: file, face, box, score, more columns.

    The file is written whole or not at all.

    Args:
        path: where to write.
        faces: records, which may have more keys than the table.
        columns: the other keys that become columns; None is left empty.

    Raises:
        OSError: the file cannot be written.
    """
    header = ["file", "face", *_BOX, "score", *columns]
    flat = ({**face, **dict(zip(_BOX, face["box"], strict=True))} for face in faces)
    _write_table(path, header, ([face.get(column) for column in header] for face in flat))


def write_detections_csv(path: str | os.PathLike, rows: Iterable[Sequence[Any]]) -> None:
    """Writes the table of detections, one line per face: file, box, score, landmarks; pixels.

    The file is written whole or not at all.

    Args:
        path: where to write.
        rows: of each face its file, x1, y1, x2, y2, score, and x, y of the five landmarks.

    Raises:
        OSError: the file cannot be written.
    """
    header = ["file", *_BOX, "score", *_LANDMARKS]
    _write_table(path, header, ([name, *(f"{v:.3f}" for v in values)] for name, *values in rows))


def _write_table(path: str | os.PathLike, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with (
        replacing(path) as temporary,
        # A file name that is not valid text must not cost the table.
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_json(path: str | os.PathLike, faces: Sequence[Mapping[str, Any]]) -> None:
    """Writes a list of the records, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps(faces, ensure_ascii=False, indent=1)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
