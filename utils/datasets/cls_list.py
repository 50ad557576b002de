"""Training lists of faces, lines `id;path`."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from utils.files.atomic_file import replacing

_MAX_LABEL = np.iinfo(np.int32).max


class AnnotationError(ValueError):
    """A label file that cannot be used; the message names the file and line."""


def read_cls_txt(path: str | os.PathLike, check_images: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Reads a training list of recognition: UTF-8, with a line `id;path` for each image.

    A relative path is looked for in the folder of the list, then in the current one. A path may
    contain semicolons and spaces. Empty lines are ignored.

    Args:
        path: the list, as `txt_annotation.py` writes it.
        check_images: whether an image that does not exist is an error.

    Returns:
        paths (N,) object array of str, and labels (N,) int32 in 0..C-1, in the order of the file.

    Raises:
        AnnotationError: the file is missing or empty, a line is no `id;path`, the ids are not
            0..C-1 without a gap, or images are missing; with file and line.
    """
    path = Path(path)
    numbers, ids, names = [], [], []
    for number, line in numbered_lines(path):
        label, name = _parse_cls_line(line, path, number)
        numbers.append(number)
        ids.append(label)
        names.append(name)
    if not names:
        raise AnnotationError(f"{path}: no images are listed; write it with txt_annotation.py")
    labels = np.array(ids, np.int32)
    _check_labels(labels, path)
    folder = str(path.parent)
    paths = np.array([resolve(name, folder) for name in names], object)
    if check_images:
        _check_images(paths, numbers, path)
    return paths, labels


def numbered_lines(path: Path) -> Iterable[tuple[int, str]]:
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
        raise AnnotationError(f"{path}:{number}: class id {label!r} is not a whole number from 0 to {_MAX_LABEL}")
    return int(label), name


def _check_labels(labels: np.ndarray, path: Path) -> None:
    present = np.unique(labels)
    count = int(present[-1]) + 1
    missing = count - len(present)
    if missing:
        first = int(np.argmax(present != np.arange(len(present))))
        more = f" (and {missing - 1} more)" if missing > 1 else ""
        raise AnnotationError(f"{path}: class ids must be 0..C-1: {first} is missing{more}")


def resolve(name: str, folder: str) -> str:
    """Returns the path of a listed name, relative to the list's folder or else to the working folder."""
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


def write_cls_txt(path: str | os.PathLike, paths: Iterable[str | os.PathLike], labels: Iterable[int]) -> None:
    """Writes a list that `read_cls_txt` reads back, as a whole or not at all.

    Args:
        path: the list; its folder is made.
        paths: N image paths, written as they are.
        labels: N class ids.

    Raises:
        ValueError: the lengths differ, or a path contains a line break.
    """
    rows = zip(labels, paths, strict=True)
    write_lines(path, [f"{int(label)};{one_line(os.fspath(name))}" for label, name in rows])


def one_line(name: str) -> str:
    """Returns a name that fits on one line of a list; ValueError if it does not."""
    if not name.strip() or "\n" in name or "\r" in name:
        raise ValueError(f"image path {name!r} is empty or has a line break; rename the file")
    return name


def write_lines(path: str | os.PathLike, lines: Iterable[str]) -> None:
    """Writes lines of text as a UTF-8 file, as a whole or not at all."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)
