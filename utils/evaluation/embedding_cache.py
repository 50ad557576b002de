"""Detections and embeddings kept on disk, so that a second run with other metrics takes seconds.

What is kept is named by content: the file by all that decides its numbers (weights, settings and
code), an entry by the bytes of its image. So nothing is ever out of date: what changes gets another
name. All of this works without TensorFlow.
"""

import ast
import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np

from utils.files.atomic_file import replacing

CACHE_BYTES = 2**30
DIGEST_BYTES = 16

_PROJECT = Path(__file__).resolve().parents[2]
_VERSIONED = ("ai-edge-litert", "keras", "numpy", "tensorflow")
_log = logging.getLogger(__name__)


def default_folder() -> Path:
    """Returns embeddings in $FACES_CACHE, else in faces in $XDG_CACHE_HOME or ~/.cache."""
    if folder := os.environ.get("FACES_CACHE"):
        return Path(folder, "embeddings")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "faces", "embeddings")


def digest(source: str | os.PathLike | bytes) -> bytes:
    """Returns 16 bytes that name the content of a file, or of bytes (BLAKE2b).

    Raises:
        OSError: the file cannot be read.
    """
    content = source if isinstance(source, bytes) else Path(source).read_bytes()
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def weights_digest(path: str | os.PathLike) -> str:
    """Returns a name for the content of weights.

    Args:
        path: a file, the prefix of a TensorFlow 1 checkpoint, or a folder of MTCNN's det*.npy.

    Raises:
        FileNotFoundError: no weights there.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("det*.npy"))
    elif path.is_file():
        files = [path]
    else:
        files = sorted(path.parent.glob(f"{path.name}.*"))
    if not files:
        what = "no det*.npy in this folder" if path.is_dir() else "no such weights"
        raise FileNotFoundError(f"{path}: {what}")
    # Names of a folder's files matter, the name of a single file does not.
    names = [file.name for file in files] if len(files) > 1 else [""]
    parts = [name.encode() + digest(file) for name, file in zip(names, files, strict=True)]
    return digest(b"".join(parts)).hex()


@lru_cache
def code_digest(modules: tuple[str, ...]) -> str:
    """Returns a name for the code that decides an embedding.

    It covers the modules, whatever of this project they import, and the versions of the libraries
    that run the networks.

    Args:
        modules: dotted names, such as ("facenet", "utils.detection.mtcnn").

    Raises:
        OSError: there is no such module in this project.
    """
    waiting = [_PROJECT / f"{name.replace('.', '/')}.py" for name in modules]
    contents: dict[Path, bytes] = {}
    while waiting:
        path = waiting.pop()
        if path not in contents:
            contents[path] = path.read_bytes()
            waiting += _imported(contents[path])
    parts = [path.name.encode() + digest(contents[path]) for path in sorted(contents)]
    return digest(b"".join(parts) + json.dumps(_versions()).encode()).hex()


def _imported(source: bytes) -> Iterator[Path]:
    """Yields the files of this project that a module's source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from utils import boxes` names a module, `from utils.faces.boxes import iou` does not.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        paths = (_PROJECT / f"{name.replace('.', '/')}.py" for name in names)
        yield from (path for path in paths if path.is_file())


def _versions() -> dict[str, str]:
    versions = {}
    for name in _VERSIONED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = ""
    return versions


class EmbeddingCache:
    """Arrays (n, width) float32 of images, by the digest of each image's bytes.

    One file holds the arrays of one set of settings. It is read when the cache is made and written
    by `save`, whole or not at all; what another process has written meanwhile is kept.
    """

    def __init__(
        self, folder: str | os.PathLike | None, kind: str, decisive: Mapping, width: int = 0
    ):
        """Opens the cache.

        Args:
            folder: where its file lies, such as `default_folder()`; None keeps it in memory only.
            kind: first word of the file's name, such as "embeddings".
            decisive: JSON values: all that decides the arrays besides the image; see
                `weights_digest` and `code_digest`.
            width: columns of the arrays; a file with others counts as damaged. 0: any number.
        """
        self._width = width
        self._path = None
        if folder is not None:
            name = digest(json.dumps(decisive, sort_keys=True).encode()).hex()
            self._path = Path(folder, f"{kind}-{name}.npz")
        self._arrays = self._read()
        self._changed = False

    def __len__(self) -> int:
        """The number of images."""
        return len(self._arrays)

    def __contains__(self, key: bytes) -> bool:
        """Whether there is an array, be it empty, of the image with this digest."""
        return key in self._arrays

    def __getitem__(self, key: bytes) -> np.ndarray:
        """The array (n, width) float32 of an image; KeyError if there is none."""
        return self._arrays[key]

    def __setitem__(self, key: bytes, array) -> None:
        """Keeps an array (n, width), n of 0 or more, of an image; on disk from `save` on."""
        self._arrays[key] = np.asarray(array, np.float32)
        self._changed = True

    def save(self) -> None:
        """Writes the file if anything is new; where that is not possible, says so and goes on."""
        if self._path is None or not self._changed:
            return
        self._arrays = {**self._read(), **self._arrays}
        try:
            with replacing(self._path) as temporary:
                np.savez(temporary, **_pack(self._arrays))
            _drop_oldest(self._path.parent)
            self._changed = False
        except OSError as error:
            _log.warning("%s: not cached (%s)", self._path, error)

    def _read(self) -> dict[bytes, np.ndarray]:
        if self._path is None or not self._path.exists():
            return {}
        try:
            with np.load(self._path, allow_pickle=False) as file:
                return _unpack(file["digests"], file["counts"], file["rows"], self._width)
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            _log.warning("%s: damaged, made anew (%s)", self._path, error)
            return {}


def _pack(arrays: Mapping[bytes, np.ndarray]) -> dict[str, np.ndarray]:
    """Ragged arrays as three flat ones: digests (N, 16) uint8, counts (N,), rows (M, width)."""
    return {
        "digests": np.frombuffer(b"".join(arrays), np.uint8).reshape(-1, DIGEST_BYTES),
        "counts": np.array([len(array) for array in arrays.values()]),
        "rows": np.concatenate(list(arrays.values())),
    }


def _unpack(digests, counts, rows, width: int) -> dict[bytes, np.ndarray]:
    """Inverts `_pack`; ValueError if the parts do not fit."""
    if digests.shape != (len(counts), DIGEST_BYTES) or counts.sum() != len(rows):
        raise ValueError("its parts do not fit each other")
    if rows.ndim != 2 or width not in (0, rows.shape[1]):
        raise ValueError(f"rows of shape {rows.shape}")
    parts = np.split(rows, np.cumsum(counts)[:-1])
    return {key.tobytes(): part for key, part in zip(digests, parts, strict=True)}


def _drop_oldest(folder: Path) -> None:
    """Deletes the files of a cache folder that were written longest ago, beyond `CACHE_BYTES`."""
    total = 0
    for path in sorted(folder.glob("*.npz"), key=os.path.getmtime, reverse=True):
        total += path.stat().st_size
        if total > CACHE_BYTES:
            path.unlink(missing_ok=True)
