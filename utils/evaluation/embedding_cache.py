"""Detections and embeddings kept on disk, so that a second run with other metrics takes seconds.

What is kept is named by content: the file by all that decides its numbers (weights, settings and
code), an entry by the bytes of its image. So nothing is ever out of date: what changes gets another
name. TensorFlow is not needed.
"""

import json
import logging
import os
import zipfile
from collections import UserDict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from utils.files.atomic_file import replacing
from utils.files.cache import drop_oldest
from utils.files.digests import DIGEST_BYTES, digest

_log = logging.getLogger(__name__)


class EmbeddingCache(UserDict[bytes, np.ndarray]):
    """Arrays (n, width) float32 of images, by the digest of each image's bytes.

    An entry may be an empty array, n = 0. One file holds the arrays of one set of settings. It is read when the cache
    is made, and `save` writes it as a whole or not at all; what another process has written meanwhile is kept.
    """

    def __init__(self, folder: str | os.PathLike | None, kind: str, decisive: Mapping, width: int = 0) -> None:
        """Opens the cache.

        Args:
            folder: where its file lies, such as `cache_folder("embeddings")`; None keeps it in memory only.
            kind: first word of the file's name, such as "embeddings".
            decisive: JSON values: all that decides the arrays besides the image; see
                `weights_digest` and `code_digest`.
            width: columns of the arrays; a file with others counts as damaged. 0: any number.
        """
        super().__init__()
        self._width = width
        self._path = None
        if folder is not None:
            name = digest(json.dumps(decisive, sort_keys=True).encode()).hex()
            self._path = Path(folder, f"{kind}-{name}.npz")
        self.data = self._read()
        self._changed = False

    def __setitem__(self, key: bytes, array: ArrayLike) -> None:
        """Keeps the array (n, width) of an image, where n may be 0; it is on disk after `save`."""
        self.data[key] = np.asarray(array, np.float32)
        self._changed = True

    def save(self) -> None:
        """Writes the file if anything is new; an error while writing is logged, not raised."""
        if self._path is None or not self._changed:
            return
        self.data = {**self._read(), **self.data}
        # The ragged arrays go as three flat ones: digests (N, 16) uint8, counts (N,), rows (M, width).
        digests = np.frombuffer(b"".join(self.data), np.uint8).reshape(-1, DIGEST_BYTES)
        counts, rows = [len(array) for array in self.data.values()], np.concatenate(list(self.data.values()))
        try:
            with replacing(self._path) as temporary:
                np.savez(temporary, digests=digests, counts=counts, rows=rows)
            drop_oldest(self._path.parent, ".npz")
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


def _unpack(digests: np.ndarray, counts: np.ndarray, rows: np.ndarray, width: int) -> dict[bytes, np.ndarray]:
    """Returns the arrays that `save` flattened; ValueError if the parts do not fit each other."""
    if digests.shape != (len(counts), DIGEST_BYTES) or counts.sum() != len(rows):
        raise ValueError("its parts do not fit each other")
    if rows.ndim != 2 or width not in (0, rows.shape[1]):
        raise ValueError(f"rows of shape {rows.shape}")
    parts = np.split(rows, np.cumsum(counts)[:-1])
    return {key.tobytes(): part for key, part in zip(digests, parts, strict=True)}
