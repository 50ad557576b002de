"""Photos of people on disk: who is in which file."""

import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from utils.datasets.cls_list import numbered_lines
from utils.images.image_files import IMAGE_SUFFIXES


class Portrait(NamedTuple):
    """A photo of a person.

    Attributes:
        path: where it lies.
        file: its path below the dataset's folder, with "/": its name in reports.
        person: name of the folder, or the identity.
    """

    path: Path
    file: str
    person: str


class Listing(NamedTuple):
    """The photos and people of a dataset.

    Attributes:
        portraits: sorted by person, then file.
        empty: people without photos, sorted.
        ignored: files that are no photo of a person, and listed files that are missing, sorted.
    """

    portraits: list[Portrait]
    empty: list[str]
    ignored: list[str]


def list_folders(root: str | os.PathLike) -> Listing:
    """Finds the photos of a dataset with one folder for each person; hidden files are passed over.

    A person's folder may have folders of its own. Files beside the people's folders are nobody's and are
    reported as ignored; a gallery's folder, `utils.gallery.folder.scan`, takes their person from their name.

    Raises:
        ValueError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder; put one folder of photos for each person there")
    portraits, empty, ignored = [], [], []
    for entry in sorted(path for path in root.iterdir() if not path.name.startswith(".")):
        if not entry.is_dir():
            ignored.append(entry.name)
            continue
        files = [f"{entry.name}/{name}" for name in _visible_files(entry)]
        photos = [file for file in files if os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES]
        ignored += sorted({*files} - {*photos})
        portraits += [Portrait(root / file, file, entry.name) for file in photos]
        if not photos:
            empty.append(entry.name)
    return Listing(portraits, empty, ignored)


def _visible_files(folder: Path) -> list[str]:
    """Returns the sorted names of the files below a folder, with "/"."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(parent).relative_to(folder)
        found += [(below / name).as_posix() for name in files if not name.startswith(".")]
    return sorted(found)


def list_identities(root: str | os.PathLike, identities: str | os.PathLike) -> Listing:
    """Finds the photos that a text file gives to people, with lines `file identity` such as CelebA's.

    Args:
        root: folder of the photos; files are relative to it and may contain spaces.
        identities: the text file, UTF-8.

    Returns:
        The listing, with people sorted by name, not by number: the same dataset with one folder for each
        person has the same order. Files that are missing are ignored.

    Raises:
        ValueError: a file or line that cannot be used, or one photo given to two people.
    """
    root, identities = Path(root), Path(identities)
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder; it should hold the photos of {identities}")
    people: dict[str, str] = {}
    for number, line in numbered_lines(identities, "lines 'file identity' expected"):
        place = f"{identities}:{number}"
        file, person = _parse_identity(line.strip(), place)
        if people.setdefault(file, person) != person:
            raise ValueError(f"{place}: {file} is given to {people[file]} already, now {person}")
    present = {file: person for file, person in people.items() if (root / file).is_file()}
    portraits = [Portrait(root / file, file, person) for file, person in present.items()]
    portraits.sort(key=lambda portrait: (portrait.person, portrait.file))
    empty = {*people.values()} - {*present.values()}
    return Listing(portraits, sorted(empty), sorted(people.keys() - present.keys()))


def _parse_identity(line: str, place: str) -> tuple[str, str]:
    words = line.rsplit(None, 1)
    if len(words) != 2:
        raise ValueError(f"{place}: 'file identity' expected, got {line!r}")
    file, person = words
    # Both become parts of a path that is written to.
    outside = {"..", "/"} & set(PurePosixPath(file).parts)
    if outside or person.startswith(".") or {"/", "\\"} & set(person):
        raise ValueError(f"{place}: {line!r} leads out of the folder")
    return file, person


def name_problem(file: str) -> str:
    """Returns why a file's name cannot stand in a UTF-8 list of one path per line; "" if it can."""
    if file.splitlines() != [file]:
        return "line break in the name; rename the file"
    try:
        file.encode()
    except UnicodeEncodeError:
        return "name is not valid UTF-8; rename the file"
    return ""
