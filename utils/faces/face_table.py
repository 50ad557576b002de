"""Tables of faces found in photos: CSV and JSON, an entry a face."""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from utils.faces.photo_stream import Photo
from utils.files.atomic_file import replacing

Record = dict[str, Any]

_COLUMNS = ("file", "face", "x1", "y1", "x2", "y2", "score")


def records(photo: Photo) -> list[Record]:
    """What is known of each face of a photo before it has a name.

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


def write_csv(
    path: str | os.PathLike, faces: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> None:
    """Writes a line a face, whole or not at all.

    Args:
        path: of the file.
        faces: records, with more keys perhaps.
        columns: those of the other keys that become columns; None is left empty.
    """
    with (
        replacing(path) as temporary,
        # a file name that is no valid text must not cost the table
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.DictWriter(file, [*_COLUMNS, *columns], extrasaction="ignore")
        writer.writeheader()
        for face in faces:
            corners = zip(("x1", "y1", "x2", "y2"), face["box"], strict=True)
            writer.writerow({**face, **dict(corners)})


def write_json(path: str | os.PathLike, faces: Sequence[Mapping[str, Any]]) -> None:
    """Writes a list of the records, whole or not at all."""
    text = json.dumps(faces, ensure_ascii=False, indent=1)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_detections_csv(path, rows):
    """Writes one line a face: file, box, score, five landmarks; pixels. Whole or not at all."""
    points = [f"{name}_{axis}" for name in "left_eye right_eye nose mouth_left mouth_right".split()
              for axis in "xy"]  # fmt: skip
    # a file name that is no valid text must not cost the table
    options = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}
    with replacing(path) as temporary, open(temporary, "w", **options) as file:
        writer = csv.writer(file)
        writer.writerow(["file", "x1", "y1", "x2", "y2", "score", *points])
        writer.writerows([name, *(f"{v:.3f}" for v in values)] for name, *values in rows)
