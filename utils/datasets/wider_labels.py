"""Lists of labelled images: `cls_train.txt` (whose face it is), WIDER labels (where faces are)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.files.atomic_file import replacing

_MAX_LABEL = np.iinfo(np.int32).max
_BOX_NUMBERS = 4
_LANDMARK_NUMBERS = 15
# x y w h; with five (x, y, visible); with the blur after them.
_FACE_LINE_LENGTHS = (4, 19, 20)


class AnnotationError(ValueError):
    """A label file that cannot be used; the message names the file and line."""


def read_cls_txt(
    path: str | os.PathLike, check_images: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Reads a training list of recognition: a line `id;path` an image, UTF-8.

    A relative path is looked for in the folder of the list, then in the current one. A path may
    contain semicolons and spaces. Empty lines are ignored.

    Args:
        path: The list, as `txt_annotation.py` writes it.
        check_images: Whether an image that does not exist is an error.

    Returns:
        paths (N,) object array of str, and labels (N,) int32 in 0..C-1, in the order of the file.

    Raises:
        AnnotationError: The file is missing or empty, a line is no `id;path`, the ids are not
            0..C-1 without a gap, or images are missing; with file and line.
    """
    path = Path(path)
    numbers, labels, names = [], [], []
    for number, line in _lines(path):
        label, name = _parse_cls_line(line, path, number)
        numbers.append(number)
        labels.append(label)
        names.append(name)
    if not names:
        raise AnnotationError(f"{path}: no images are listed; write it with txt_annotation.py")
    labels = np.array(labels, np.int32)
    _check_labels(labels, path)
    folder = str(path.parent)
    paths = np.array([_resolve(name, folder) for name in names], object)
    if check_images:
        _check_images(paths, numbers, path)
    return paths, labels


def _lines(path: Path) -> Iterable[tuple[int, str]]:
    """Yields (line number from 1, line without its end) of the lines that are not blank."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\n")
    except FileNotFoundError as error:
        raise AnnotationError(f"{path}: no such file; write it with txt_annotation.py") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: not UTF-8 text ({error})") from error
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error})") from error


def _parse_cls_line(line: str, path: Path, number: int) -> tuple[int, str]:
    label, separator, name = line.partition(";")
    if not separator or not name.strip():
        raise AnnotationError(f"{path}:{number}: 'id;path' expected, got {line!r}")
    label = label.strip()
    # ASCII digits only: int() also takes "1_000" and digits of other scripts.
    if not (label.isascii() and label.isdigit()) or int(label) > _MAX_LABEL:
        raise AnnotationError(
            f"{path}:{number}: class id {label!r} is not a whole number from 0 to {_MAX_LABEL}"
        )
    return int(label), name


def _check_labels(labels: np.ndarray, path: Path) -> None:
    present = np.unique(labels)
    count = int(present[-1]) + 1
    missing = count - len(present)
    if missing:
        first = int(np.argmax(present != np.arange(len(present))))
        more = f" (and {missing - 1} more)" if missing > 1 else ""
        raise AnnotationError(f"{path}: class ids must be 0..C-1: {first} is missing{more}")


def _resolve(name: str, folder: str) -> str:
    if os.path.isabs(name):
        return name
    beside = os.path.join(folder, name)
    return name if os.path.exists(name) and not os.path.exists(beside) else beside


def _check_images(paths: np.ndarray, numbers: Sequence[int], path: Path) -> None:
    missing = [i for i, name in enumerate(paths) if not os.path.exists(name)]
    if missing:
        first = missing[0]
        raise AnnotationError(
            f"{path}:{numbers[first]}: no image {paths[first]}; {len(missing)} of {len(paths)} "
            "listed images are missing: move them back or rewrite the list with txt_annotation.py"
        )


def write_cls_txt(
    path: str | os.PathLike, paths: Iterable[str | os.PathLike], labels: Iterable[int]
) -> None:
    """Writes a list that `read_cls_txt` reads back; whole or not at all.

    Args:
        path: The list; its folder is made.
        paths: N image paths, written as they are.
        labels: N class ids.

    Raises:
        ValueError: The lengths differ, or a path contains a line break.
    """
    rows = zip(labels, map(os.fspath, paths), strict=True)
    _write_lines(path, [f"{int(label)};{_one_line(name)}" for label, name in rows])


def _one_line(name: str) -> str:
    if not name.strip() or "\n" in name or "\r" in name:
        raise ValueError(f"image path {name!r} is empty or has a line break; rename the file")
    return name


def _write_lines(path: str | os.PathLike, lines: Iterable[str]) -> None:
    with (
        replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="\n") as file,
    ):
        file.writelines(f"{line}\n" for line in lines)


class LabelledImage(NamedTuple):
    """A photo and its faces.

    path str; boxes (N, 4) float32 xyxy pixels; landmarks (N, 5, 2) float32 pixels, zeros where they
    are not labelled; has_landmarks (N,) bool.
    """

    path: str
    boxes: np.ndarray
    landmarks: np.ndarray
    has_landmarks: np.ndarray


def read_wider_labels(
    path: str | os.PathLike,
    image_root: str | os.PathLike | None = None,
    problems: list[str] | None = None,
) -> list[LabelledImage]:
    """Reads a WIDER FACE label file with RetinaFace's landmarks.

    `# relative/path.jpg`, then a line a face: `x y w h  x1 y1 v1 ... x5 y5 v5  blur`, or without
    the blur, or only `x y w h`. A landmark coordinate of -1 says that the face's landmarks are not
    labelled. The visibility flags and the blur are not kept.

    Args:
        path: The label file.
        image_root: Folder of the relative paths; without it, `images` beside the label file, or
            the label file's folder if there is none.
        problems: A list that takes the messages of impossible boxes, which are then left out;
            without it the first such box is an error.

    Returns:
        A `LabelledImage` a photo, in the order of the file; N is 0 where no face is listed.

    Raises:
        AnnotationError: The file is missing or empty, a line is no face, or a box has a width or
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
    """Returns the folder at which the relative paths of a label file start."""
    images = path.parent / "images"
    return images if images.is_dir() else path.parent


def _wider_blocks(path: Path) -> Iterable[tuple[str, list[tuple[int, str]]]]:
    """Yields (image name, [(line number, face line)]) an image."""
    name, faces = None, []
    for number, line in _lines(path):
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


def _keep_possible(
    rows: list[list[float]], places: Sequence[str], problems: list[str]
) -> np.ndarray:
    """Returns the (N, 19) float64 faces that can exist; appends a message for each other one."""
    faces = np.array(rows, np.float64).reshape(-1, _BOX_NUMBERS + _LANDMARK_NUMBERS)
    possible = np.isfinite(faces).all(axis=1) & (faces[:, 2:4] > 0).all(axis=1)
    for i in np.flatnonzero(~possible):
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
    path: str | os.PathLike,
    items: Iterable[tuple[str, np.ndarray, np.ndarray, np.ndarray]],
) -> None:
    """Writes a label file that `read_wider_labels` reads back exactly; whole or not at all.

    Args:
        path: The label file; its folder is made.
        items: (image path, boxes, landmarks, has_landmarks) an image, as `LabelledImage`; paths
            are written as they are, so give them relative to the image folder. Visibility and
            blur are written as 0.
    """
    lines = []
    for name, *arrays in items:
        lines.append(f"# {_one_line(os.fspath(name))}")
        # Differences of float32 numbers taken in float64 add up to the same float32 again.
        boxes, landmarks = (np.asarray(array, np.float64) for array in arrays[:2])
        faces = zip(boxes.reshape(-1, 4), landmarks.reshape(-1, 5, 2), arrays[2], strict=True)
        lines += [_format_face(*face) for face in faces]
    _write_lines(path, lines)


def _format_face(box: np.ndarray, landmarks: np.ndarray, has_landmarks: bool) -> str:
    if has_landmarks:
        points = np.concatenate([landmarks, np.zeros((5, 1))], axis=1)
    else:
        points = np.full((5, 3), -1.0)
    numbers = [*box[:2], *(box[2:] - box[:2]), *points.ravel(), 0.0]
    return " ".join(repr(float(number)).removesuffix(".0") for number in numbers)


def split_by_identity(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits images so that no person is on both sides: tests people never trained on.

    Args:
        labels: (N,) integer class ids.
        share: Of the people to hold out, 0 <= share < 1; at least one person stays on each side
            where share is positive.
        seed: Of the choice.

    Returns:
        Indices of the images kept and held out, int64, each ascending.

    Raises:
        ValueError: share is out of range, or positive with fewer than two people.
    """
    _check_share(share)
    people, person = np.unique(np.asarray(labels), return_inverse=True)
    held = np.zeros(len(people), bool)
    if share > 0:
        if len(people) < 2:
            raise ValueError(f"cannot hold out people of {len(people)}: two are needed")
        count = int(np.clip(round(share * len(people)), 1, len(people) - 1))
        held[np.random.default_rng(seed).permutation(len(people))[:count]] = True
    return _sides(held[person])


def split_by_image(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits each person's images: tests unseen photos of people trained on.

    A person of n images gives n * share of them, rounded up or down at random so that the mean is
    exact for small n too, but keeps at least one.

    Args:
        labels: (N,) integer class ids.
        share: Of the images to hold out, 0 <= share < 1.
        seed: Of the choice.

    Returns:
        Indices of the images kept and held out, int64, each ascending.

    Raises:
        ValueError: share is out of range.
    """
    _check_share(share)
    rng = np.random.default_rng(seed)
    _, person, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(person))
    by_person = shuffled[np.argsort(person[shuffled], kind="stable")]
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.empty(len(person), np.int64)
    rank[by_person] = np.arange(len(person)) - starts
    # Of n ranks, those with (rank + u) / n >= 1 - share are n * share on average over u in [0, 1).
    fraction = (rank + rng.random(len(counts))[person]) / counts[person]
    return _sides((fraction >= 1 - share) & (rank > 0))


def _check_share(share: float) -> None:
    if not 0 <= share < 1:
        raise ValueError(f"share {share}: 0 <= share < 1 expected")


def _sides(held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.flatnonzero(~held), np.flatnonzero(held)
