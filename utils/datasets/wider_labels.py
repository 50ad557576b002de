"""Label files in WIDER FACE's format: where the faces of each image are."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.datasets.cls_list import AnnotationError, numbered_lines, one_line, write_lines

_BOX_NUMBERS = 4
_LANDMARK_NUMBERS = 15
# x y w h; with five (x, y, visible); with the blur after them.
_FACE_LINE_LENGTHS = (4, 19, 20)


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


def read_wider_labels(
    path: str | os.PathLike, image_root: str | os.PathLike | None = None, problems: list[str] | None = None
) -> list[LabelledImage]:
    """Reads a WIDER FACE label file with RetinaFace's landmarks.

    A line `# relative/path.jpg`, then one line for each face: `x y w h  x1 y1 v1 ... x5 y5 v5  blur`, or
    without the blur, or only `x y w h`. A landmark coordinate of -1 says that the face's landmarks are not
    labelled. The visibility flags and the blur are not kept.

    Args:
        path: the label file.
        image_root: folder of the relative paths; None takes `label_root`.
        problems: a list that takes the messages of impossible boxes, which are then left out;
            without it the first such box is an error.

    Returns:
        A `LabelledImage` for each photo, in the order of the file; N is 0 where no face is listed.

    Raises:
        AnnotationError: the file is missing or empty, a line is no face, or a box has a width or
            height that is not positive or a number that is not finite; with file and line.
    """
    path = Path(path)
    root = label_root(path) if image_root is None else Path(image_root)
    collected: list[str] = [] if problems is None else problems
    images = []
    for name, numbered in _wider_blocks(path):
        rows = [_parse_face(line, f"{path}:{number}") for number, line in numbered]
        faces = _keep_possible(rows, [f"{path}:{number}" for number, _ in numbered], collected)
        if problems is None and collected:
            raise AnnotationError(collected[0])
        images.append(_labelled_image(str(root / name), faces))
    if not images:
        raise AnnotationError(f"{path}: no images are listed; '# relative/path.jpg' lines expected")
    return images


def label_root(path: Path) -> Path:
    """Returns the folder where relative paths of a label file start: `images` beside it, else its own."""
    images = path.parent / "images"
    return images if images.is_dir() else path.parent


def _wider_blocks(path: Path) -> Iterable[tuple[str, list[tuple[int, str]]]]:
    """Yields (image name, [(line number, face line)]) for each image."""
    name: str | None = None
    faces: list[tuple[int, str]] = []
    for number, line in numbered_lines(path):
        if line.startswith("#"):
            if name is not None:
                yield name, faces
            name, faces = line[1:].strip(), []
            if not name:
                raise AnnotationError(f"{path}:{number}: '# relative/path.jpg' expected")
        elif name is None:
            raise AnnotationError(f"{path}:{number}: a face before any '# relative/path.jpg'")
        else:
            faces.append((number, line))
    if name is not None:
        yield name, faces


def _parse_face(line: str, place: str) -> list[float]:
    """Returns x y w h and five (x, y, visible), -1 where the line has no landmarks."""
    words = line.split()
    if len(words) not in _FACE_LINE_LENGTHS:
        raise AnnotationError(f"{place}: {len(words)} numbers; 4, 19 or 20 expected for a face")
    try:
        numbers = [float(word) for word in words[: _BOX_NUMBERS + _LANDMARK_NUMBERS]]
    except ValueError as error:
        raise AnnotationError(f"{place}: not a number ({error})") from error
    return numbers + [-1.0] * (_BOX_NUMBERS + _LANDMARK_NUMBERS - len(numbers))


def _keep_possible(rows: list[list[float]], places: Sequence[str], problems: list[str]) -> np.ndarray:
    """Returns the (N, 19) float64 faces that can exist; appends a message for each other one."""
    faces = np.array(rows, np.float64).reshape(-1, _BOX_NUMBERS + _LANDMARK_NUMBERS)
    possible = np.isfinite(faces).all(axis=1) & (faces[:, 2:4] > 0).all(axis=1)
    for i in np.flatnonzero(~possible).tolist():
        box = " ".join(f"{value:g}" for value in faces[i, :4])
        problems.append(
            f"{places[i]}: impossible face box x y w h = {box}: width and height must be positive "
            "and every number finite; correct or delete the line"
        )
    return faces[possible]


def _labelled_image(path: str, faces: np.ndarray) -> LabelledImage:
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
        items: (image path, boxes, landmarks, has_landmarks) of each image, as in `LabelledImage`; paths
            are written as they are, so give them relative to the image folder. Visibility and
            blur are written as 0.
    """
    lines = []
    for name, *arrays in items:
        lines.append(f"# {one_line(os.fspath(name))}")
        # Differences of float32 numbers taken in float64 add up to the same float32 again.
        boxes, landmarks = (np.asarray(array, np.float64) for array in arrays[:2])
        faces = zip(boxes.reshape(-1, 4), landmarks.reshape(-1, 5, 2), arrays[2], strict=True)
        lines += [_format_face(*face) for face in faces]
    write_lines(path, lines)


def _format_face(box: np.ndarray, landmarks: np.ndarray, has_landmarks: bool) -> str:
    if has_landmarks:
        points = np.concatenate([landmarks, np.zeros((5, 1))], axis=1)
    else:
        points = np.full((5, 3), -1.0)
    numbers = [*box[:2], *(box[2:] - box[:2]), *points.ravel(), 0.0]
    return " ".join(repr(float(number)).removesuffix(".0") for number in numbers)
