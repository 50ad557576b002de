"""Which photos a script works on, and what becomes of its pictures.

Photos come from the command line; without any they are asked for at a prompt, and where nobody can
answer (CI, a pipe) the sample photos are taken.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.files.project import beside_project

if TYPE_CHECKING:
    import numpy as np

Paths = Sequence[str | os.PathLike]


def sample(path: str | os.PathLike) -> Path:
    """Returns a sample's path, such as "img/group.jpg": from the working directory, else from the project's folder."""
    return Path(path) if Path(path).exists() else beside_project(path)


def photo_groups(given: Paths, count: int, samples: Paths, owner: str, repeat: bool = True) -> Iterator[list[Path]]:
    """Yields lists of `count` paths: those given, or asked for, or the samples.

    At a prompt a bad path is asked for again. An empty answer to the first question takes the
    samples in the first round, and ends the questions in a later one.

    Args:
        given: paths of the command line.
        count: photos that belong together.
        samples: paths to take where there is no answer, see `sample`.
        owner: who wants the photos, such as "mode verify", for the error message.
        repeat: whether to ask again after the first round.

    Raises:
        ValueError: the number of paths is no multiple of `count`.
    """
    if given and len(given) % count:
        raise ValueError(f"{owner} takes {count} photos, {len(given)} given")
    if given:
        yield from (list(map(Path, given[i : i + count])) for i in range(0, len(given), count))
        return
    usual = [sample(path) for path in samples]
    names = list(map(str, usual))
    if os.environ.get("CI") or not sys.stdin.isatty():
        print(f"no photos given: {', '.join(names)}")
        yield usual
        return
    yield ask(count, f"Enter for {' '.join(names)}") or usual
    while repeat and (asked := ask(count, "Enter to end")):
        yield asked


def ask(count: int, empty: str) -> list[Path] | None:
    """Asks for photos until each of them can be read.

    Args:
        count: how many.
        empty: what an empty answer to the first question means; shown with the question.

    Returns:
        Their paths; None for an empty first answer.

    Raises:
        ValueError: the input ends after some of the photos.
    """
    from utils.images.image_files import ImageError, read_image

    answers: list[Path] = []
    while len(answers) < count:
        number = f" {len(answers) + 1}" if count > 1 else ""
        try:
            text = input(f"Photo{number}{'' if answers else f' ({empty})'}: ").strip().strip("'\"")
        except EOFError:
            if answers:
                raise ValueError(f"{count} photos needed, {len(answers)} given") from None
            return None
        if not text and not answers:
            return None
        try:
            read_image(text)
        except ImageError as error:
            print(error)
            continue
        answers.append(Path(text))
    return answers


def one_folder(given: Paths, default: str | os.PathLike, owner: str) -> Path:
    """Returns the folder of the command line, or the default without one.

    Args:
        given: paths of the command line.
        default: the folder of the settings.
        owner: who wants the folder, such as "mode encode", for the error message.

    Raises:
        ValueError: more than one is given.
    """
    if len(given) > 1:
        raise ValueError(f"{owner} takes one folder, {len(given)} given")
    return Path(given[0] if given else default)


def finish(picture: "np.ndarray", name: str, folder: str | os.PathLike, show: bool = True) -> None:
    """Saves a picture, says where, and shows it where there is a display.

    Args:
        picture: (H, W, 3) uint8 RGB.
        name: of the file.
        folder: where it goes.
        show: no: do not open a window.

    Raises:
        OSError: the file cannot be written.
    """
    from utils.images.image_files import save_image

    path = Path(folder) / name
    save_image(path, picture)
    print(f"  picture: {path}")
    display = sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY")
    if show and display and not os.environ.get("CI"):
        from PIL import Image

        Image.fromarray(picture).show(title=name)
