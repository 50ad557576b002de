"""Face crops of a whole dataset, written to a second folder that mirrors the first.

    alignment = DatasetAlignment("aligned", CropRules(size=112), {"detector": "mtcnn"})
    rows = alignment.align(portraits, [], lambda: detector.detect_batch, {"batch_size": 32, "random_order": False})

An alignment can be killed at any time, and the next run goes on where it stopped: a crop is written as a whole or not
at all, then noted in the report. Several processes may work on one folder if each takes the photos in another order;
one that finds a photo in the report passes it over.
"""

import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from tqdm import tqdm

from utils.datasets.crop_rules import CropRules
from utils.datasets.folders import Portrait
from utils.datasets.report import KEPT, NO_FACE, SEVERAL_FACES, TOO_SMALL, UNREADABLE, Report, Row, write_report
from utils.engine.devices import cores
from utils.faces.photo_stream import Photo, detect_faces, face_stream
from utils.files.atomic_file import save_json
from utils.images.image_files import read_image, save_image

_VERSION = 1  # of detection and crop rules; another number makes every crop anew
_FINAL = (KEPT, NO_FACE, TOO_SMALL, SEVERAL_FACES)  # an unreadable photo is tried again


def settings_name(decisive: Mapping) -> str:
    """Returns 16 digits that name JSON values; equal only if those are."""
    text = json.dumps({**decisive, "version": _VERSION}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def file_stamp(path: str | Path) -> str:
    """Returns text that changes when a file does; empty if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def crop_files(portraits: Iterable[Portrait], format: str) -> dict[str, str]:
    """Names the crop of each photo: its person's folder, its name, the ending of the format.

    Photos that differ in their endings alone (a.jpg, a.png) keep them: a.jpg, a.png.jpg.

    Args:
        portraits: in the order of a listing; the first of such photos has the short name.
        format: "jpg" or "png".

    Returns:
        {file of the portrait: file of the crop, with "/"}.

    Raises:
        ValueError: two photos remain alike.
    """
    files, taken = {}, set()
    for portrait in portraits:
        path = PurePosixPath(portrait.file)
        if path.parts[0] != portrait.person:
            path = portrait.person / path
        names = (path.with_suffix(f".{format}"), path.with_name(f"{path.name}.{format}"))
        # Case is not told apart by every file system.
        name = next((str(n) for n in names if str(n).casefold() not in taken), None)
        if name is None:
            raise ValueError(f"{portrait.path}: its crop has the name of another's; rename it")
        taken.add(name.casefold())
        files[portrait.file] = name
    return files


def crop_folder(datasets_path: str | os.PathLike, aligned_path: str | os.PathLike | None = None) -> Path:
    """Returns the folder for the crops of a dataset.

    Args:
        datasets_path: folder of the dataset.
        aligned_path: the folder asked for; None takes datasets_path with _aligned behind it.

    Raises:
        ValueError: the folder lies in the dataset's own, where it would count as a person.
    """
    source = Path(datasets_path).resolve()
    if aligned_path is None:
        return Path(f"{os.path.abspath(datasets_path)}_aligned")
    target = Path(aligned_path).resolve()
    if target == source or source in target.parents:
        raise ValueError(f"aligned_path {target} lies in datasets_path: it would count as a person")
    return Path(aligned_path)


class DatasetAlignment:
    """The alignment of a dataset into a folder, from its start to its end, in one or more runs."""

    def __init__(self, folder: str | Path, rules: CropRules, decisive: Mapping) -> None:
        """Reads what earlier runs have done.

        Args:
            folder: of the crops; its report.csv is read and written, its alignment.json says how they are made.
            rules: of the crops.
            decisive: JSON values of all that decides the crops besides the rules: the detector, its
                weights and settings. When they change, every photo is done anew.

        Raises:
            ValueError: a report.csv that is none of an alignment.
        """
        self.folder = Path(folder)
        self.rules = rules
        self.report = Report(self.folder / "report.csv")
        self._decisive = {**decisive, **vars(rules)}
        if rules.mode == "warp":
            self._decisive.pop("margin")
        self._settings = settings_name(self._decisive)
        self._wanted: dict[str, Row] = {}

    def align(
        self, portraits: Sequence[Portrait], dropped: Iterable[Row], detect_batch: Callable, settings: Mapping[str, Any]
    ) -> list[Row]:
        """Aligns the photos that are not aligned yet, with a progress bar; returns the rows of all photos.

        Args:
            portraits: all photos that should have a crop, in the order of a listing.
            dropped: rows of photos that were not to be aligned.
            detect_batch: returns the detector's function, list of images -> list of Detections; called only if a
                photo is left to align.
            settings: those of txt_annotation.py; of them batch_size and random_order (take the photos in an order of
                this process's own, so that several can share the work).
        """
        todo = self.unfinished(portraits)
        print(f"{len(portraits) - len(todo):,} of {len(portraits):,} photos are done already")
        if todo:
            if settings["random_order"]:  # no seed: each process must draw another order
                todo = [todo[i] for i in np.random.default_rng().permutation(len(todo))]
            counts, start = self.run(todo, detect_batch(), settings["batch_size"]), time.perf_counter()
            with tqdm(total=len(todo), unit="photo") as bar:
                for count in counts:
                    bar.update(count)
            seconds = time.perf_counter() - start
            print(f"{bar.n:,} photos in {seconds:.1f} s, {bar.n / seconds:.1f} photos/s")
        return self.finish(portraits, dropped)

    def unfinished(self, portraits: Sequence[Portrait]) -> list[Portrait]:
        """Tells the photos that have to be worked on: new, changed, or done with other settings.

        Args:
            portraits: all that should have a crop, in the order of a listing.
        """
        crops = crop_files(portraits, self.rules.format)
        self._wanted = {
            p.file: Row(p.file, p.person, KEPT, crop=crops[p.file], stamp=file_stamp(p.path), settings=self._settings)
            for p in portraits
        }
        return [portrait for portrait in portraits if not self._is_done(portrait)]

    def _is_done(self, portrait: Portrait) -> bool:
        row, wanted = self.report.rows.get(portrait.file), self._wanted[portrait.file]
        if row is None or row.result not in _FINAL:
            return False
        if (row.person, row.stamp, row.settings) != (wanted.person, wanted.stamp, wanted.settings):
            return False
        return row.result != KEPT or (row.crop == wanted.crop and (self.folder / row.crop).is_file())

    def run(self, todo: Sequence[Portrait], detect_batch: Callable, chunk: int) -> Iterator[int]:
        """Detects, cuts and writes; threads decode the next photos while the networks run.

        Args:
            todo: from `unfinished`, in any order.
            detect_batch: list of images -> list of Detections.
            chunk: photos in work at once.

        Yields:
            How many photos were finished since the last time.
        """
        save_json(self.folder / "alignment.json", self._decisive)
        photos = face_stream(
            (portrait for portrait in todo if not self._is_done(portrait)),
            [partial(detect_faces, detect_batch=detect_batch)],
            chunk,
            read=lambda portrait: read_image(portrait.path),
            threads=cores(),
        )
        with ThreadPoolExecutor(cores()) as pool:
            while group := list(itertools.islice(photos, chunk)):
                self.report.append(pool.map(self._settle, group))
                yield len(group)

    def _settle(self, photo: Photo) -> Row:
        """Writes the crop of a photo if it has a face; returns its row."""
        row = self._wanted[photo.source.file]
        dropped = row._replace(crop="")
        if photo.image is None:
            return dropped._replace(result=UNREADABLE, detail=photo.error)
        result, index = self.rules.choose(photo.faces, photo.image.shape[:2])
        dropped = dropped._replace(result=result, faces=str(len(photo.faces)))
        if result != KEPT:
            return dropped
        face = photo.faces[index]
        try:
            pixels = self.rules.cut(photo.image, face)
        except ValueError as error:
            return dropped._replace(result=NO_FACE, detail=str(error))
        save_image(self.folder / row.crop, pixels)
        x1, y1, x2, y2 = (f"{value:.1f}" for value in face.boxes[0])
        return dropped._replace(crop=row.crop, score=f"{face.scores[0]:.4f}", x1=x1, y1=y1, x2=x2, y2=y2)

    def finish(self, portraits: Sequence[Portrait], dropped: Iterable[Row] = ()) -> list[Row]:
        """Sorts the report, and deletes crops of earlier runs that no row is about any more.

        Args:
            portraits: as given to `unfinished`.
            dropped: rows of photos that were not to be aligned.

        Returns:
            All rows, sorted by person and file.
        """
        rows = [self.report.rows[portrait.file] for portrait in portraits]
        rows = sorted([*rows, *dropped], key=lambda row: (row.person, row.file))
        stale = self.report.crops - {row.crop for row in rows if row.result == KEPT}
        write_report(self.report.path, rows)
        for name in sorted(stale):
            self._delete(PurePosixPath(name))
        return rows

    def _delete(self, name: PurePosixPath) -> None:
        """Deletes a crop, and its folder if that is empty then."""
        if name.is_absolute() or ".." in name.parts or name.suffix not in (".jpg", ".png"):
            return  # no name that this module gives
        path = self.folder / name
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
