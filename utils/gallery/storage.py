"""The HDF5 layout of a gallery, and safe reading and editing of it.

Layout 1. Attributes: format, version, model (JSON, see `utils.weights.model_identity`), count. Datasets,
all resizable, in chunks with checksums:

    people      (P,) UTF-8    names; the row is the person's id; "" is free for the next one
    rows        (R,) ROW      of each embedding: whose it is, and the photo it is of
    embeddings  (R, D) float32, unit length
    rejected    (K,) REJECTED photos that no embedding was made of

The first `count` rows and embeddings are in use; what is behind them is zero, waiting for reuse.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from utils.files.file_lock import LockTimeout
from utils.files.journalled_file import JournalError, JournalledFile, discard_journal, sync_folder

FORMAT, VERSION = "faces gallery", 1
NAME_BYTES = 128
DIGEST_BYTES = 16
NO_PHOTO = bytes(DIGEST_BYTES)
"""Digest of what was added by hand."""

ROW = np.dtype(
    [
        ("person", "<i4"),  # id
        ("faces", "<u2"),  # that the photo shows; the embedding is of one of them
        ("digest", "u1", (DIGEST_BYTES,)),  # of the photo's file, or NO_PHOTO
    ]
)
REJECTED = np.dtype([("digest", "u1", (DIGEST_BYTES,)), ("faces", "<u2")])

# Rows a chunk. Small ones, as adding to a chunk writes it whole.
_CHUNKS = {"people": 64, "rows": 512, "embeddings": 128, "rejected": 128}
# Checksums of the metadata came with this version of the format.
_LIBVER = ("v110", "v110")
_HDF5_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError, EOFError)


class GalleryError(ValueError):
    """A gallery that cannot be read, written or used so; the message names it."""


class GalleryFile:
    """An open gallery; its methods read and change the HDF5 file at once."""

    def __init__(self, file: h5py.File):
        """Checks the layout.

        Raises:
            GalleryError: no gallery, or one of a newer version (without its name).
        """
        if file.attrs.get("format") != FORMAT:
            raise GalleryError("is an HDF5 file, but not a gallery of this project")
        version = int(file.attrs["version"])
        if version > VERSION:
            raise GalleryError(
                f"has layout {version}, this version knows layouts up to {VERSION}: update it"
            )
        self._file = file
        self.model: dict[str, Any] = json.loads(file.attrs["model"])
        self.count = int(file.attrs["count"])
        self._people, self._rows, self._embeddings, self._rejected = map(file.__getitem__, _CHUNKS)
        if not 0 <= self.count <= min(len(self._rows), len(self._embeddings)):
            raise ValueError("its parts do not fit each other")

    @classmethod
    def create(cls, file: h5py.File, model: Mapping[str, Any], width: int) -> "GalleryFile":
        """Lays out an empty gallery of embeddings (width,) in a new file."""
        text = h5py.string_dtype("utf-8", NAME_BYTES)
        kinds = {"people": text, "rows": ROW, "embeddings": np.dtype("<f4"), "rejected": REJECTED}
        for name, kind in kinds.items():
            tail = (width,) if name == "embeddings" else ()
            file.create_dataset(
                name,
                (0, *tail),
                kind,
                chunks=(_CHUNKS[name], *tail),
                maxshape=(None, *tail),
                fletcher32=True,
            )
        attributes = {"format": FORMAT, "version": VERSION, "model": json.dumps(dict(model))}
        for name, value in {**attributes, "count": 0}.items():
            file.attrs[name] = value
        return cls(file)

    @property
    def width(self) -> int:
        """Length of an embedding."""
        return self._embeddings.shape[1]

    def names(self) -> list[str]:
        """The names by id; "" where there is no person."""
        return [name.decode() for name in self._people[:]]

    def rows(self) -> np.ndarray:
        """(count,) ROW."""
        rows = self._rows[: self.count]
        if rows.size and not (
            0 <= rows["person"].min() <= rows["person"].max() < len(self._people)
        ):
            raise ValueError("it has embeddings of nobody")
        return rows

    def embeddings(self) -> np.ndarray:
        """(count, D) float32."""
        embeddings = np.empty((self.count, self.width), np.float32)
        if self.count:
            self._embeddings.read_direct(embeddings, np.s_[: self.count])
        return embeddings

    def rejected(self) -> dict[bytes, int]:
        """The number of faces by digest, of the photos that no embedding was made of."""
        records = self._rejected[:]
        return {row["digest"].tobytes(): int(row["faces"]) for row in records}

    def set_rejected(self, rejected: Mapping[bytes, int]) -> None:
        """Replaces what `rejected` gives."""
        records = np.zeros(len(rejected), REJECTED)
        records["digest"] = np.frombuffer(b"".join(rejected), np.uint8).reshape(-1, DIGEST_BYTES)
        records["faces"] = list(rejected.values())
        self._rejected.resize((len(records),))
        self._rejected[:] = records

    def set_names(self, names: Mapping[int, str]) -> None:
        """Sets the names of ids, new ones too; "" frees an id."""
        if not names:
            return
        if max(names) >= len(self._people):
            self._people.resize((max(names) + 1,))
        encoded = np.array([name.encode() for name in names.values()], self._people.dtype)
        _scatter(self._people, np.array(list(names)), encoded)

    def ids(self, people: Sequence[str]) -> np.ndarray:
        """The ids (n,) of names; people who are new get one."""
        names = self.names()
        ids = {name: number for number, name in enumerate(names) if name}
        free = itertools.chain(
            (number for number, name in enumerate(names) if not name), itertools.count(len(names))
        )
        new = {name: next(free) for name in dict.fromkeys(people) if name not in ids}
        self.set_names({number: name for name, number in new.items()})
        ids |= new
        return np.array([ids[name] for name in people], np.int32)

    def add(self, people: Sequence[str], rows: np.ndarray, embeddings: np.ndarray) -> None:
        """Adds n embeddings.

        Args:
            people: n names, of people who may be new.
            rows: (n,) ROW; the person is filled in here.
            embeddings: (n, D) of unit length.
        """
        rows = rows.copy()
        rows["person"] = self.ids(people)
        start, end = self.count, self.count + len(rows)
        for dataset, values in ((self._rows, rows), (self._embeddings, embeddings)):
            if end > len(dataset):
                dataset.resize((end, *dataset.shape[1:]))
            dataset[start:end] = values
        self._set_count(end)

    def drop_empty_people(self) -> None:
        """Frees the ids of people who have no embeddings left."""
        names = self.names()
        counts = np.bincount(self.rows()["person"], minlength=len(names))
        empty = [number for number, name in enumerate(names) if name and not counts[number]]
        self.set_names(dict.fromkeys(empty, ""))

    def set_people(self, indices: np.ndarray, people: np.ndarray) -> None:
        """Gives embeddings (indices of rows) to other people (their ids)."""
        rows = _gather(self._rows, indices)
        rows["person"] = people
        _scatter(self._rows, indices, rows)

    def delete(self, indices: np.ndarray) -> None:
        """Removes embeddings; rows from the end take their places, and what was there is erased."""
        if not len(indices):
            return
        holes, movers, end = _moves(self.count, indices)
        freed = np.arange(end, self.count)
        for dataset in (self._rows, self._embeddings):
            _scatter(dataset, holes, _gather(dataset, movers))
            _scatter(dataset, freed, np.zeros((len(freed), *dataset.shape[1:]), dataset.dtype))
        self._set_count(end)

    def _set_count(self, count: int) -> None:
        self.count = count
        self._file.attrs.modify("count", count)


def _moves(count: int, removed: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """How to keep rows gapless: holes to fill, rows from the end to fill them with, new count."""
    gone = np.zeros(count, bool)
    gone[removed] = True
    end = count - int(gone.sum())
    return np.flatnonzero(gone[:end]), end + np.flatnonzero(~gone[end:]), end


def _blocks(dataset: h5py.Dataset, indices: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The chunks that rows lie in: the chunk's slice, and positions in `indices` of its rows."""
    chunk = dataset.chunks[0]
    order = np.argsort(indices, kind="stable")
    numbers = np.asarray(indices)[order] // chunk
    for positions in np.split(order, np.flatnonzero(np.diff(numbers)) + 1):
        if positions.size:
            first = int(indices[positions[0]]) // chunk * chunk
            yield slice(first, min(first + chunk, len(dataset))), positions


def _gather(dataset: h5py.Dataset, indices: np.ndarray) -> np.ndarray:
    """Rows of a dataset, in the order of the indices."""
    result = np.empty((len(indices), *dataset.shape[1:]), dataset.dtype)
    for block, positions in _blocks(dataset, indices):
        result[positions] = dataset[block][indices[positions] - block.start]
    return result


def _scatter(dataset: h5py.Dataset, indices: np.ndarray, values: np.ndarray) -> None:
    """Sets rows of a dataset, reading and writing each touched chunk once."""
    for block, positions in _blocks(dataset, indices):
        rows = dataset[block]
        rows[indices[positions] - block.start] = values[positions]
        dataset[block] = rows


@contextlib.contextmanager
def reading(path: str | os.PathLike, timeout: float = 10.0) -> Iterator[GalleryFile]:
    """Opens a gallery, in the state of its last complete change, while no other can change it.

    Raises:
        GalleryError: missing, damaged, no gallery, of a newer version, or in use for `timeout`
            seconds; also for such errors while it is open.
    """
    with (
        _explained(path),
        JournalledFile(path, timeout=timeout) as raw,
        h5py.File(raw, "r") as file,
    ):
        yield GalleryFile(file)


@contextlib.contextmanager
def editing(
    path: str | os.PathLike, model: Mapping[str, Any], width: int, timeout: float = 10.0
) -> Iterator[GalleryFile]:
    """Opens a gallery for changes, which take effect together when left without an error.

    The caller keeps other writers out. A gallery that is not there is created.

    Args:
        path: of the gallery.
        model: identity, of a new gallery.
        width: D, of a new gallery.
        timeout: seconds to wait for readers.

    Raises:
        GalleryError: as for `reading`, or it cannot be written.
    """
    path = Path(path)
    if not path.exists():
        with _creating(path, model, width) as gallery:
            yield gallery
        return
    with _explained(path), JournalledFile(path, writable=True, timeout=timeout) as raw:
        with h5py.File(raw, "r+", libver=_LIBVER) as file:
            yield GalleryFile(file)
        with _writing_explained(path):
            raw.commit()


@contextlib.contextmanager
def _creating(path: Path, model: Mapping[str, Any], width: int) -> Iterator[GalleryFile]:
    # The name is fixed, so that what a killed process leaves is overwritten by the next one.
    unfinished = path.with_name(f"{path.name}.new")
    try:
        with _writing_explained(path):
            discard_journal(path)
            with h5py.File(unfinished, "w", libver=_LIBVER) as file:
                yield GalleryFile.create(file, model, width)
            with open(unfinished, "r+b") as file:
                os.fsync(file.fileno())
            os.replace(unfinished, path)
            sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def _explained(path: str | os.PathLike) -> Iterator[None]:
    """Turns what HDF5 raises on damaged files, and what else goes wrong, into a GalleryError."""
    try:
        yield
    except GalleryError as error:
        text = str(error)
        named = text if text.startswith(f"{path}:") else f"{path}: {text}"
        raise GalleryError(named) from error
    except JournalError as error:
        raise GalleryError(str(error)) from error
    except LockTimeout as error:
        raise GalleryError(f"{path}: in use ({error})") from error
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise GalleryError(f"{path}: cannot be opened ({error.strerror})") from error
    except _HDF5_ERRORS as error:
        raise GalleryError(
            f"{path}: damaged, or not a gallery ({error}); restore a copy, or encode it anew"
        ) from error


@contextlib.contextmanager
def _writing_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except LockTimeout as error:
        raise GalleryError(f"{path}: not written, it is being read ({error})") from error
    except OSError as error:
        raise GalleryError(f"{path}: cannot be written ({error})") from error
