"""Finds photos that cannot be used, before any detection: bad names, duplicates, one photo of two people."""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from utils.datasets.folders import Portrait, name_problem
from utils.datasets.report import BAD_NAME, DUPLICATE, LABEL_CONFLICT, Row
from utils.engine.devices import cores
from utils.files.digests import digest


def screen(portraits: Sequence[Portrait], drop_duplicates: bool) -> tuple[list[Portrait], list[Row]]:
    """Drops photos whose names cannot stand in a list, and copies of other photos.

    Args:
        portraits: in the order of a listing.
        drop_duplicates: drop what `find_copies` finds.

    Returns:
        The photos that stay, and the rows of the dropped ones, where names that cannot be listed are escaped.
    """
    problems = {p.file: problem for p in portraits if (problem := name_problem(p.file))}
    rows = [Row(ascii(p.file), p.person, BAD_NAME, problems[p.file]) for p in portraits if p.file in problems]
    portraits = [p for p in portraits if p.file not in problems]
    copies = find_copies(portraits) if drop_duplicates else {}
    rows += [Row(p.file, p.person, *copies[p.file]) for p in portraits if p.file in copies]
    return [p for p in portraits if p.file not in copies], rows


def find_copies(portraits: Sequence[Portrait]) -> dict[str, tuple[str, str]]:
    """Finds photos whose files are equal, byte for byte.

    Only files of equal length are read.

    Args:
        portraits: in the order of a listing. Files that cannot be read are passed over.

    Returns:
        {file: (result, detail)} of the photos to drop: `DUPLICATE` and the earlier file of the same person that it
        equals; or `LABEL_CONFLICT` and the files that it equals, if two people have it: one of the names is wrong,
        and nothing tells which.
    """
    found = {}
    for group in _equal_files(portraits):
        files = [portrait.file for portrait in group]
        if len({portrait.person for portrait in group}) > 1:
            for file in files:
                found[file] = LABEL_CONFLICT, f"equal to {', '.join(other for other in files if other != file)}"
        else:
            found |= {file: (DUPLICATE, f"of {files[0]}") for file in files[1:]}
    return found


def _equal_files(portraits: Sequence[Portrait]) -> list[list[Portrait]]:
    """Returns groups of two or more portraits of equal content, each in the order given."""
    equal = [[*portraits]]
    with ThreadPoolExecutor(cores()) as pool:
        for measure in (os.path.getsize, digest):
            portraits = [portrait for group in equal for portrait in group]
            groups = defaultdict(list)
            for portrait, value in zip(portraits, pool.map(partial(_measured, measure), portraits), strict=True):
                groups[value].append(portrait)
            equal = [group for value, group in groups.items() if value is not None and len(group) > 1]
    return equal


def _measured(measure: Callable[[Path], Any], portrait: Portrait) -> Any:
    """Returns what a function says of a portrait's file, None if the file cannot be read."""
    try:
        return measure(portrait.path)
    except OSError:
        return None
