"""The HDF5 file of a gallery: it is read whole, and replaced whole.

A change is written to a temporary file, which takes the place of the old one once it is on the disk. So a writer that
is killed leaves the old gallery, readers need no lock, and what is removed from a gallery is not in its new file.
Writers keep each other out by `<gallery>.lock`.

Layout 1. Attributes: format, version, model (JSON, the identity of the network), count. Datasets, in chunks with
checksums:

    people      (P,) UTF-8    names; the position is the person's number
    rows        (R,) ROW      of each embedding: whose it is, and the photo it is of
    embeddings  (R, D) float32, unit length
    rejected    (K,) REJECTED photos that no embedding was made of

The first `count` rows and embeddings are in use. Earlier releases changed the file in place: theirs may have more rows,
of zeros, and people without a name, whose numbers are free.
"""

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from filelock import FileLock, Timeout

from utils.files.atomic_file import remove_leftovers, replacing
from utils.gallery.records import DIGEST_BYTES, NAME_BYTES, ROW, Records, count_people

FORMAT, VERSION = "faces gallery", 1

_REJECTED = np.dtype([("digest", "u1", (DIGEST_BYTES,)), ("faces", "<u2")])
_TEXT = h5py.string_dtype("utf-8", NAME_BYTES)
_CHUNK = 256  # rows
# Checksums of the metadata came with this version of the format.
_LIBVER = ("v110", "v110")
_HDF5_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError, EOFError)


class GalleryError(ValueError):
    """A gallery that cannot be read, written or used so; the message names it."""


def read(path: str | os.PathLike) -> Records:
    """Reads a gallery.

    Raises:
        GalleryError: the file is missing, damaged, no gallery, or of a newer version.
    """
    with _opened(path) as file:
        names, rows = _people(file)
        embeddings = np.empty((len(rows), file["embeddings"].shape[1]), np.float32)
        if len(rows):
            file["embeddings"].read_direct(embeddings, np.s_[: len(rows)])
        rejected = {photo["digest"].tobytes(): int(photo["faces"]) for photo in file["rejected"][:]}
        return Records(json.loads(file.attrs["model"]), names, rows, embeddings, rejected).compact()


def read_people(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, int]]:
    """Reads who is in a gallery, without the embeddings, so that a large one takes little time.

    Returns:
        The identity of the network, and the number of embeddings of each person by name, sorted.

    Raises:
        GalleryError: as for `read`.
    """
    with _opened(path) as file:
        return json.loads(file.attrs["model"]), count_people(*_people(file))


def write(path: str | os.PathLike, records: Records) -> None:
    """Replaces the file of a gallery; when this returns, the new one is on the disk.

    Only for a caller within `writing`.

    Raises:
        GalleryError: it cannot be written, for example as the disk is full; the old file is as it was.
    """
    # HDF5 builds the file in memory, as it does not recover from a disk that is full.
    image = _image(records.compact())
    try:
        remove_leftovers(path)
        with replacing(path, sync=True) as temporary:
            temporary.write_bytes(image)
    except OSError as error:
        raise _not_written(path, error) from error


@contextlib.contextmanager
def writing(path: str | os.PathLike, timeout: float) -> Iterator[None]:
    """Keeps other writers of a gallery out, also those of other processes.

    Args:
        path: of the gallery; its folder is made if it does not exist.
        timeout: seconds to wait for another writer.

    Raises:
        GalleryError: somebody else was writing all that time, or the folder cannot be written to.
    """
    lock_path = Path(f"{os.fspath(path)}.lock")
    lock = FileLock(lock_path, timeout=timeout)
    try:
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise GalleryError(
            f"{path}: another process is writing to it; waited {timeout:g} s, try again later"
        ) from error
    except OSError as error:
        raise _not_written(path, error) from error
    try:
        yield
    finally:
        if os.name != "nt":  # Windows cannot remove an open file; there the library does it
            lock_path.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[h5py.File]:
    """Opens a gallery's file and checks its layout; errors, also later ones, become a GalleryError."""
    try:
        if os.path.exists(f"{path}.journal"):
            raise GalleryError(
                f"{path}: an earlier release was killed while it wrote, and left {path}.journal; "
                "open the gallery once with that release, or remove that file and encode anew"
            )
        with open(path, "rb") as raw, h5py.File(raw, "r") as file:
            _check_layout(path, file)
            yield file
    except GalleryError:
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise GalleryError(f"{path}: cannot be opened ({error.strerror})") from error
    except _HDF5_ERRORS as error:
        raise GalleryError(f"{path}: damaged, or not a gallery ({error}); restore a copy, or encode it anew") from error


def _check_layout(path: str | os.PathLike, file: h5py.File) -> None:
    if file.attrs.get("format") != FORMAT:
        raise GalleryError(f"{path}: is an HDF5 file, but not a gallery of this project")
    version = int(file.attrs["version"])
    if version > VERSION:
        raise GalleryError(f"{path}: has layout {version}, this version knows layouts up to {VERSION}: update it")
    if not 0 <= file.attrs["count"] <= min(len(file["rows"]), len(file["embeddings"])):
        raise ValueError("its parts do not fit each other")


def _people(file: h5py.File) -> tuple[list[str], np.ndarray]:
    """Returns the names, and the rows (count,) that are in use."""
    names = [name.decode() for name in file["people"][:]]
    rows = file["rows"][: int(file.attrs["count"])]
    numbers = rows["person"]
    if len(rows) and not 0 <= numbers.min() <= numbers.max() < len(names):
        raise ValueError("it has embeddings of nobody")
    return names, rows


def _image(records: Records) -> memoryview:
    """Returns the bytes of the HDF5 file."""
    photos = [(np.frombuffer(key, np.uint8), faces) for key, faces in records.rejected.items()]
    datasets = {
        "people": np.array([name.encode() for name in records.names], _TEXT),
        "rows": records.rows.astype(ROW, copy=False),
        "embeddings": records.embeddings.astype("<f4", copy=False),
        "rejected": np.array(photos, _REJECTED),
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=_LIBVER) as file:
        for name, values in datasets.items():
            tail = values.shape[1:]
            chunks = (min(max(len(values), 1), _CHUNK), *tail)
            # Without a limit, so that earlier releases can change the file, too.
            file.create_dataset(name, data=values, chunks=chunks, maxshape=(None, *tail), fletcher32=True)
        file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
        file.attrs["model"], file.attrs["count"] = json.dumps(dict(records.identity)), len(records.rows)
    return buffer.getbuffer()


def _not_written(path: str | os.PathLike, error: OSError) -> GalleryError:
    return GalleryError(f"{path}: cannot be written ({error.strerror or error})")
