"""Training lists of a dataset: which photos and people get into them, and what is said about it."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from utils.datasets.cls_list import write_cls_txt
from utils.datasets.folders import Listing, Portrait, list_folders, list_identities, name_problem
from utils.datasets.report import KEPT, LABEL_CONFLICT, UNREADABLE, Row, write_report
from utils.datasets.splits import chart, split_classes
from utils.engine.devices import cores
from utils.faces.photo_stream import read_ahead
from utils.images.image_files import read_image

_NAMED = 5  # files or people named on the screen


def list_photos(datasets_path: str | os.PathLike, identities_path: str | os.PathLike | None = None) -> Listing:
    """Returns the photos of a dataset, and prints what was passed over.

    Args:
        datasets_path: folder of <person>/*.jpg, or of the files that `identities_path` names.
        identities_path: text file of lines `file identity`, such as CelebA's; None: the folders are the people.

    Raises:
        ValueError: there are no photos, or the folder or text file cannot be used.
    """
    if identities_path is None:
        listing, ignored = list_folders(datasets_path), "files that are no photo in a person's folder"
    else:
        listing, ignored = list_identities(datasets_path, identities_path), "listed files that are missing"
    if not listing.portraits:
        raise ValueError(f"{datasets_path}: no photos; {datasets_path}/<person>/*.jpg expected")
    if listing.ignored:
        print(f"passed over {named(listing.ignored, ignored)}")
    return listing


def named(names: Sequence[str], what: str) -> str:
    """Returns how many names there are, of what, and the first of them.

    Example:
        >>> named(["anna", "bob"], "people without photos")
        '2 people without photos: anna, bob'
    """
    shown = ", ".join(ascii(name) if name_problem(name) else name for name in names[:_NAMED])
    return f"{len(names):,} {what}: {shown}{', ...' if len(names) > _NAMED else ''}"


def read_all(
    portraits: Sequence[Portrait], dropped: Iterable[Row], report_path: str | os.PathLike, check_images: bool
) -> list[Row]:
    """Decodes all photos if asked to, writes the report and returns its rows, sorted by person and file.

    Args:
        portraits: the photos.
        dropped: rows of photos that are out already; they go into the report, too.
        report_path: of the CSV.
        check_images: decode each photo; one that cannot be read is dropped.
    """
    rows = [*dropped]
    if check_images:
        photos = read_ahead(portraits, lambda portrait: read_image(portrait.path), cores())
        for photo in tqdm(photos, total=len(portraits), unit="photo"):
            result = UNREADABLE if photo.error else KEPT
            rows.append(Row(photo.source.file, photo.source.person, result, photo.error))
    else:
        rows += [Row(portrait.file, portrait.person, KEPT) for portrait in portraits]
    rows.sort(key=lambda row: (row.person, row.file))
    write_report(report_path, rows)
    return rows


def print_left_out(rows: Sequence[Row], report_path: str | os.PathLike) -> None:
    """Prints how many photos were dropped, why, and in which report that can be read."""
    reasons = Counter(row.result for row in rows if row.result != KEPT)
    text = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    print(f"{len(rows) - reasons.total():,} of {len(rows):,} photos kept; dropped: {text or 'none'}")
    for row in [row for row in rows if row.result == LABEL_CONFLICT][:_NAMED]:
        print(f"  label conflict: {row.file}: {row.detail}")
    print(f"report: {report_path}")


def count_people(kept: Iterable[Row], people: Collection[str], min_images: int) -> dict[str, int]:
    """Counts each person's photos, and prints the people who get no class id.

    Args:
        kept: rows of the photos that are kept.
        people: all that the dataset names.
        min_images: least number of photos of a person who gets an id.

    Returns:
        {person: photos}, sorted by person.

    Raises:
        ValueError: nobody is left.
    """
    counts = Counter(row.person for row in kept)
    without = sorted(set(people) - set(counts))
    few = sorted(person for person, count in counts.items() if count < min_images)
    if without:
        print(f"no id for {named(without, 'people without photos')}")
    if few:
        print(f"no id for {named(few, f'people of fewer than {min_images} photos')}")
    left = {person: count for person, count in sorted(counts.items()) if count >= min_images}
    if not left:
        raise ValueError("no photos are left; the report says why they were dropped")
    return left


def write_lists(paths: Sequence[str | os.PathLike], people: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Writes the training list and, if a share is held out, the validation list.

    Args:
        paths: N images.
        people: who is on each of them.
        settings: those of txt_annotation.py; of them cls_train_path, cls_val_path, absolute_paths (see `listed`), and
            val_share, val_split and seed (see `splits.split_classes`).

    Raises:
        ValueError: share is out of range, or too few people are there to split.
    """
    sides = split_classes(people, settings["val_share"], settings["val_split"], settings["seed"])
    targets = [settings["cls_train_path"], *([settings["cls_val_path"]] if settings["val_share"] else [])]
    for target, (indices, labels) in zip(targets, sides, strict=False):
        names = [listed(paths[i], Path(target).parent, settings["absolute_paths"]) for i in indices]
        write_cls_txt(target, names, labels)
        print(f"{target}: {len(indices):,} images of {len(np.unique(labels)):,} people")


def listed(path: str | os.PathLike, folder: str | os.PathLike, absolute: bool) -> str:
    """Returns an image's path as a list has it.

    Args:
        path: the image.
        folder: where the list's relative paths start.
        absolute: write an absolute path; otherwise one relative to `folder`, with "/".
    """
    if absolute:
        return os.path.abspath(path)
    return Path(os.path.relpath(path, folder)).as_posix()


def draw_chart(counts: Mapping[str, int], path: str | os.PathLike) -> None:
    """Draws how many images the people have.

    Args:
        counts: {person: photos}, at least one person.
        path: of the picture.
    """
    from utils.pictures.plots import save_bars

    bars, x_label, y_label = chart(counts)
    save_bars(path, bars, "Images per person", x_label, y_label)
    print(f"chart: {path}")


def beside_list(list_path: str | os.PathLike, name: str) -> Path:
    """Returns the path of a file that belongs to a list.

    Example:
        >>> beside_list("lists/cls_train.txt", "report.csv").as_posix()
        'lists/cls_train_report.csv'
    """
    path = Path(list_path)
    return path.with_name(f"{path.stem}_{name}")
