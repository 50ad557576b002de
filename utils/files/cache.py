"""The folder of caches, and its limit."""

import os
from pathlib import Path

CACHE_BYTES = 2**30


def default_folder() -> Path:
    """Returns embeddings in $FACES_CACHE, else in faces in $XDG_CACHE_HOME or ~/.cache."""
    if folder := os.environ.get("FACES_CACHE"):
        return Path(folder, "embeddings")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "faces", "embeddings")


def drop_oldest(folder: Path) -> None:
    """Deletes the files of a cache folder that were written longest ago, beyond `CACHE_BYTES`."""
    total = 0
    for path in sorted(folder.glob("*.npz"), key=os.path.getmtime, reverse=True):
        total += path.stat().st_size
        if total > CACHE_BYTES:
            path.unlink(missing_ok=True)
