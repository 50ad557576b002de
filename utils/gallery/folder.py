"""A folder of photos of known people: whose photo each file is, and what is new in it.

A photo in a subfolder belongs to the person whom that is named after, `<person>/**/*.jpg`. A photo right in the folder
belongs to the person in its own name: `<person>_<number>.jpg` or `<person>.jpg`.
"""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from utils.gallery.index import UNKNOWN
from utils.images.image_files import list_images

FolderPhoto = tuple[Path, str, bytes]
"""Path, person and digest of a photo."""

Known = Mapping[bytes, tuple[str | None, int]]
"""What a gallery holds of photos: digest -> person and number of faces. None: no embedding was made of the photo."""


@dataclass(frozen=True)
class Problem:
    """A photo that no embedding is made of.

    Attributes:
        source: path of the photo, or its position among photos given as arrays.
        reason: what is wrong, for people to read.
        faces: number of faces found; -1 if the reason has nothing to do with faces.
    """

    source: str | Path | int
    reason: str
    faces: int = -1

    def __str__(self) -> str:
        """Returns one line."""
        return f"{self.source}: {self.reason}"


@dataclass(frozen=True)
class Plan:
    """What has to be done so that a gallery holds the photos of a folder.

    Attributes:
        new: (path, person, digest) of photos to embed.
        kept: digests of photos with an embedding that may stay.
        moved: digest -> person, of those photos in `kept` that are another person's now.
        rejected: digest -> number of faces, of photos that were looked at before and are not used.
        problems: one for each photo that is not used.
        seen: digests of all photos of the folder.
    """

    new: list[FolderPhoto] = field(default_factory=list)
    kept: set[bytes] = field(default_factory=set)
    moved: dict[bytes, str] = field(default_factory=dict)
    rejected: dict[bytes, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)


def clean_name(name: str, limit: int = 128) -> str:
    """Returns a person's name as galleries keep it: in composed Unicode (NFC), without spaces around it.

    Args:
        name: in any script. Some systems decompose the letters of file names, keyboards do not.
        limit: longest name, in bytes of UTF-8.

    Raises:
        ValueError: the name is empty, too long, no valid text, has control characters, or is `UNKNOWN`.
    """
    clean = unicodedata.normalize("NFC", name).strip()
    try:
        size = len(clean.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the name {name!r} is not valid text") from None
    if not clean or any(unicodedata.category(letter) == "Cc" for letter in clean):
        raise ValueError(f"the name {name!r} is empty or has control characters")
    if size > limit:
        raise ValueError(f"the name {clean!r} takes {size} bytes, {limit} is the most")
    if clean == UNKNOWN:
        raise ValueError(f"nobody can be called {UNKNOWN!r}, that is what strangers are called")
    return clean


def person_of(path: Path) -> str:
    """Returns the person that a photo shows, by its path relative to the gallery's folder.

    Example:
        >>> person_of(Path("Ann/1.jpg")), person_of(Path("Ann_Lee_2.jpg"))
        ('Ann', 'Ann_Lee')
    """
    return path.parts[0] if len(path.parts) > 1 else re.sub(r"_\d+$", "", path.stem)


def scan(folder: str | os.PathLike) -> tuple[list[tuple[Path, str]], list[Problem]]:
    """Lists the photos of a gallery's folder.

    The layout is that of a dataset, `utils.datasets.folders.list_folders`, with two differences: photos right in the
    folder count, too (`<person>_1.jpg`), and a name that no gallery takes makes a problem. Files that are no images are
    passed over silently, where a dataset reports them.

    A photo right in the folder counts, too, for the person of its name; `utils.datasets.folders.list_folders`
    ignores such files, because a training set has one folder for each person.

    Returns:
        (path, person) of each photo, sorted by path; and a problem for each photo whose person cannot be called so.

    Raises:
        ImageError: there is no such folder.
        ValueError: it has no photos.
    """
    photos, problems = [], []
    for path in list_images(folder):
        try:
            photos.append((path, clean_name(person_of(path.relative_to(folder)))))
        except ValueError as error:
            problems.append(Problem(path, str(error)))
    if not photos and not problems:
        raise ValueError(f"{folder}: no photos; put them in as <person>/<photo>.jpg or <person>_1.jpg")
    return photos, problems


def make_plan(photos: Sequence[FolderPhoto], known: Known, take_largest: bool = False, retry: bool = False) -> Plan:
    """Compares the photos of a folder with those of a gallery, by their content.

    Args:
        photos: (path, person, digest) of each.
        known: what the gallery holds.
        take_largest: use photos with several faces.
        retry: look again at the photos that were rejected before.

    Returns:
        The plan. A photo that two people have is used for neither. Of a photo that a person has twice, the first copy
        is used.
    """
    people: dict[bytes, set[str]] = {}
    for _, person, digest in photos:
        people.setdefault(digest, set()).add(person)
    plan = Plan(seen=set(people))
    first: dict[bytes, Path] = {}
    for photo in photos:
        path, _, digest = photo
        if len(people[digest]) > 1:
            names = ", ".join(sorted(people[digest]))
            plan.problems.append(Problem(path, f"the same photo is of several people: {names}"))
        elif digest in first:
            plan.problems.append(Problem(path, f"the same photo as {first[digest]}, used once"))
        else:
            first[digest] = path
            _plan_photo(plan, photo, known, take_largest, retry)
    return plan


def _plan_photo(plan: Plan, photo: FolderPhoto, known: Known, take_largest: bool, retry: bool) -> None:
    """Enters a photo into the plan."""
    path, person, digest = photo
    owner, faces = known.get(digest, (None, 1))
    reason = rejection(faces, take_largest)
    if reason and not retry:
        plan.rejected[digest] = faces
        plan.problems.append(Problem(path, reason, faces))
    elif reason or owner is None:
        plan.new.append(photo)
    else:
        plan.kept.add(digest)
        if owner != person:
            plan.moved[digest] = person


def rejection(faces: int, take_largest: bool) -> str:
    """Returns why a photo with that many faces is not used, "" if it is used."""
    if faces == 0:
        return "no face found"
    if faces > 1 and not take_largest:
        return f"{faces} faces found, cannot tell whose photo it is"
    return ""
