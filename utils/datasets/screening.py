"""Finds photos that cannot be used, before any detection: bad names, duplicates, one photo of two people."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from utils.datasets.folders import Portrait, name_problem
from utils.datasets.report import BAD_NAME, DUPLICATE, KEPT, LABEL_CONFLICT, UNREADABLE, Row
from utils.faces.photo_stream import read_ahead
from utils.files.digests import digest
from utils.images.image_files import read_image


def screen(
    portraits: Sequence[Portrait], drop_duplicates: bool = True, threads: int = 2
) -> tuple[list[Portrait], list[Row]]:
    """Drops photos whose names cannot stand in a list, and copies of other photos.

    Args:
        portraits: in the order of a listing.
        drop_duplicates: drop what `find_copies` finds.
        threads: that read.

    Returns:
        The photos that stay, and the rows of the dropped ones, where names that cannot be listed are escaped.
    """
    problems = {p.file: problem for p in portraits if (problem := name_problem(p.file))}
    rows = [Row(ascii(p.file), p.person, BAD_NAME, problems[p.file]) for p in portraits if p.file in problems]
    portraits = [p for p in portraits if p.file not in problems]
    if not drop_duplicates:
        return portraits, rows
    copies, conflicts = find_copies(portraits, threads)
    reasons = {file: (DUPLICATE, f"of {first}") for file, first in copies.items()}
    reasons |= {file: (LABEL_CONFLICT, f"equal to {', '.join(others)}") for file, others in conflicts.items()}
    rows += [Row(p.file, p.person, *reasons[p.file]) for p in portraits if p.file in reasons]
    return [p for p in portraits if p.file not in reasons], rows


def check_readable(portraits: Iterable[Portrait], threads: int = 2) -> Iterator[Row]:
    """Decodes the photos; yields the row of each: kept, or unreadable and why."""
    for photo in read_ahead(portraits, lambda portrait: read_image(portrait.path), threads):
        result = UNREADABLE if photo.error else KEPT
        yield Row(photo.source.file, photo.source.person, result, photo.error)


def find_copies(portraits: Sequence[Portrait], threads: int = 2) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Finds photos whose files are equal, byte for byte.

    Only files of equal length are read.

    Args:
        portraits: in the order of a listing. Files that cannot be read are passed over.
        threads: that read.

    Returns:
        Two dicts without a common key. Copies: {file: the earlier file of the same person that it equals}.
        Conflicts: {file: the files that it equals}, where a file belongs to two people; one of the names is
        wrong, and nothing tells which.
    """
    copies: dict[str, str] = {}
    conflicts: dict[str, list[str]] = {}
    for group in _equal_files(portraits, threads):
        if len({portrait.person for portrait in group}) > 1:
            files = [portrait.file for portrait in group]
            conflicts |= {file: [other for other in files if other != file] for file in files}
        else:
            copies |= {portrait.file: group[0].file for portrait in group[1:]}
    return copies, conflicts


def _equal_files(portraits: Sequence[Portrait], threads: int) -> list[list[Portrait]]:
    """Returns groups of two or more portraits of equal content, each in the order given."""

    def or_none(function: Callable[[Path], Any], path: Path) -> Any:
        try:
            return function(path)
        except OSError:
            return None

    with ThreadPoolExecutor(threads) as pool:
        lengths = pool.map(lambda p: or_none(os.path.getsize, p.path), portraits)
        same_length = [p for group in _groups(portraits, lengths) for p in group]
        digests = pool.map(lambda p: or_none(digest, p.path), same_length)
        return _groups(same_length, digests)


def _groups(items: Iterable, keys: Iterable) -> list[list]:
    """Returns groups of two or more items whose keys are equal and not None."""
    groups = defaultdict(list)
    for item, key in zip(items, keys, strict=True):
        if key is not None:
            groups[key].append(item)
    return [group for group in groups.values() if len(group) > 1]
