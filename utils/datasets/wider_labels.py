"""Label files in WIDER FACE's format: where the faces of each image are."""

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.datasets.cls_list import numbered_lines, one_line, write_lines

# x y w h; with five (x, y, visible); with the blur after them.
_FACE_LINE_LENGTHS = (4, 19, 20)
_NO_LANDMARKS = [-1.0] * 15


class LabelledImage(NamedTuple):
    """A photo and its N faces.

    Attributes:
        path: of the image.
        boxes: (N, 4) float32, xyxy pixels.
        landmarks: (N, 5, 2) float32, pixels; zeros where they are not labelled.
        has_landmarks: (N,) bool.
    """

    path: str
    boxes: np.ndarray
    landmarks: np.ndarray
    has_landmarks: np.ndarray


def read_wider_labels(path: str | os.PathLike, problems: list[str] | None = None) -> list[LabelledImage]:
    """Reads a WIDER FACE label file with RetinaFace's landmarks.

    A line `# relative/path.jpg`, then one line for each face: `x y w h  x1 y1 v1 ... x5 y5 v5  blur`, or
    without the blur, or only `x y w h`. A landmark coordinate of -1 says that the face's landmarks are not
    labelled. The visibility flags and the blur are not kept.

    Args:
        path: the label file; relative paths in it start at its `label_root`.
        problems: a list that takes the messages of impossible boxes, which are then left out;
            without it the first such box is an error.

    Returns:
        A `LabelledImage` for each photo, in the order of the file; N is 0 where no face is listed.

    Raises:
        ValueError: the file is missing or empty, a line is no face, or a box has a width or
            height that is not positive or a number that is not finite; with file and line.
    """
    path = Path(path)
    images: list[tuple[str, list[np.ndarray]]] = []
    for number, line in numbered_lines(path):
        place = f"{path}:{number}"
        if line.startswith("#"):
            images.append((line[1:].strip(), []))
            if not images[-1][0]:
                raise ValueError(f"{place}: '# relative/path.jpg' expected")
        elif not images:
            raise ValueError(f"{place}: a face before any '# relative/path.jpg'")
        else:
            face = _parse_face(line, place)
            if not (problem := _problem(face, place)):
                images[-1][1].append(np.array(face))
            elif problems is None:
                raise ValueError(problem)
            else:
                problems.append(problem)
    if not images:
        raise ValueError(f"{path}: no images are listed; '# relative/path.jpg' lines expected")
    root = label_root(path)
    return [_labelled_image(str(root / name), faces) for name, faces in images]


def label_root(path: Path) -> Path:
    """Returns the folder where relative paths of a label file start: `images` beside it, else its own."""
    images = path.parent / "images"
    return images if images.is_dir() else path.parent


def _parse_face(line: str, place: str) -> list[float]:
    """Returns x y w h and five (x, y, visible), -1 where the line has no landmarks."""
    words = line.split()
    if len(words) not in _FACE_LINE_LENGTHS:
        raise ValueError(f"{place}: {len(words)} numbers; 4, 19 or 20 expected for a face")
    try:
        return [*map(float, words[:4]), *(map(float, words[4:19]) if len(words) > 4 else _NO_LANDMARKS)]
    except ValueError as error:
        raise ValueError(f"{place}: not a number ({error})") from error


def _problem(face: list[float], place: str) -> str:
    """Returns why there can be no such face, or ""."""
    if all(map(math.isfinite, face)) and min(face[2:4]) > 0:
        return ""
    return (
        f"{place}: impossible face box x y w h = {' '.join(f'{value:g}' for value in face[:4])}: width and height must "
        "be positive and every number finite; correct or delete the line"
    )


def _labelled_image(path: str, rows: list[np.ndarray]) -> LabelledImage:
    faces = np.reshape(rows, (-1, 19))
    corner = faces[:, :2]
    boxes = np.concatenate([corner, corner + faces[:, 2:4]], axis=1).astype(np.float32)
    landmarks = faces[:, 4:].reshape(-1, 5, 3)[..., :2].astype(np.float32)
    has_landmarks = (landmarks != -1).all(axis=(1, 2))
    landmarks[~has_landmarks] = 0
    return LabelledImage(path, boxes, landmarks, has_landmarks)


def write_wider_labels(
    path: str | os.PathLike, items: Iterable[tuple[str, np.ndarray, np.ndarray, np.ndarray]]
) -> None:
    """Writes a label file that `read_wider_labels` reads back exactly, as a whole or not at all.

    Args:
        path: the label file; its folder is made.
        items: (image path, boxes, landmarks, has_landmarks) of each image, as in `LabelledImage`; paths are written
            as they are, so give them relative to the image folder. Visibility and blur are written as 0.
    """
    lines = []
    for name, boxes, landmarks, has_landmarks in items:
        # Differences of float32 numbers taken in float64 add up to the same float32 again.
        faces = zip(np.asarray(boxes, np.float64), np.asarray(landmarks, np.float64), has_landmarks, strict=True)
        lines += [f"# {one_line(os.fspath(name))}", *(_format_face(*face) for face in faces)]
    write_lines(path, lines)


def _format_face(box: np.ndarray, landmarks: np.ndarray, has_landmarks: bool) -> str:
    if has_landmarks:
        points = np.concatenate([landmarks, np.zeros((5, 1))], axis=1)
    else:
        points = np.full((5, 3), -1.0)
    numbers = [*box[:2], *(box[2:] - box[:2]), *points.ravel(), 0.0]
    return " ".join(repr(float(number)).removesuffix(".0") for number in numbers)
