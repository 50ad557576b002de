"""Training lists of faces, lines `id;path`."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from utils.files.atomic_file import replacing

_MAX_LABEL = np.iinfo(np.int32).max


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
        ValueError: the file is missing or empty, a line is no `id;path`, the ids are not
            0..C-1 without a gap, or images are missing; with file and line.
    """
    path = Path(path)
    rows = [(number, *_parse_cls_line(line, f"{path}:{number}")) for number, line in numbered_lines(path)]
    if not rows:
        raise ValueError(f"{path}: no images are listed; write it with txt_annotation.py")
    numbers, ids, names = zip(*rows, strict=True)
    labels = np.array(ids, np.int32)
    _check_labels(labels, path)
    paths = np.array([resolve(name, str(path.parent)) for name in names], object)
    missing = [i for i, name in enumerate(paths) if not os.path.exists(name)] if check_images else []
    if missing:
        raise ValueError(
            f"{path}:{numbers[missing[0]]}: no image {paths[missing[0]]}; {len(missing)} of {len(paths)} "
            "listed images are missing: move them back or rewrite the list with txt_annotation.py"
        )
    return paths, labels


def numbered_lines(path: Path, advice: str = "write it with txt_annotation.py") -> Iterator[tuple[int, str]]:
    """Yields (line number from 1, line without its end) of the lines of a UTF-8 file that are not blank.

    Args:
        path: the file.
        advice: what to do if there is none.

    Raises:
        ValueError: the file is missing, cannot be read or is not UTF-8.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\n")
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file; {advice}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error})") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error


def _parse_cls_line(line: str, place: str) -> tuple[int, str]:
    label, separator, name = line.partition(";")
    if not separator or not name.strip():
        raise ValueError(f"{place}: 'id;path' expected, got {line!r}")
    label = label.strip()
    # ASCII digits only: int() also takes "1_000" and digits of other scripts.
    if not (label.isascii() and label.isdigit()) or int(label) > _MAX_LABEL:
        raise ValueError(f"{place}: class id {label!r} is not a whole number from 0 to {_MAX_LABEL}")
    return int(label), name


def _check_labels(labels: np.ndarray, path: Path) -> None:
    present = np.unique(labels)
    missing = int(present[-1]) + 1 - len(present)
    if missing:
        first = int(np.argmax(present != np.arange(len(present))))
        more = f" (and {missing - 1} more)" if missing > 1 else ""
        raise ValueError(f"{path}: class ids must be 0..C-1: {first} is missing{more}")


def resolve(name: str, folder: str) -> str:
    """Returns the path of a listed name, relative to the list's folder or else to the working folder."""
    if os.path.isabs(name):
        return name
    beside = os.path.join(folder, name)
    return name if os.path.exists(name) and not os.path.exists(beside) else beside


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
