"""The folder of caches, and its limit."""

import os
from pathlib import Path

CACHE_BYTES = 2**30


def cache_folder(kind: str) -> Path:
    """Returns the folder of one kind of cache, such as "embeddings"; it may not exist yet.

    It is a folder in $FACES_CACHE if that is set, else in faces in $XDG_CACHE_HOME or ~/.cache.
    """
    if folder := os.environ.get("FACES_CACHE"):
        return Path(folder, kind)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "faces", kind)


def drop_oldest(folder: Path, suffix: str) -> None:
    """Deletes the files of a cache folder that were written longest ago, beyond `CACHE_BYTES` in all.

    Args:
        folder: a cache folder.
        suffix: ending of the files that count and may go, such as ".npz".
    """
    total = 0
    for path in sorted(folder.glob(f"*{suffix}"), key=os.path.getmtime, reverse=True):
        total += path.stat().st_size
        if total > CACHE_BYTES:
            path.unlink(missing_ok=True)
