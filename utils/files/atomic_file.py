"""Files that appear whole or not at all."""

import contextlib
import errno
import glob
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | os.PathLike, sync: bool = False) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with the same ending, to write to.

    When the block ends, what was written takes the place of `path`. After an error it is removed, and `path` stays as
    it was. The folder is made if it does not exist.

    Args:
        path: of the file.
        sync: wait until the file and its new name are on the disk, so that they outlast a power failure. Takes some
            milliseconds.

    Example:
        >>> with replacing("logs/lfw.json") as temporary:
        ...     temporary.write_text("{}")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        yield temporary
        if sync:
            with open(temporary, "r+b") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if sync:
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def save_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a value as a JSON file, as a whole or not at all; NaN, which JSON does not have, becomes null.

    Args:
        path: of the file; its folder is made.
        value: what `json.dumps` takes.
    """
    plain = json.loads(json.dumps(value), parse_constant=lambda name: None if name == "NaN" else float(name))
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(plain, indent=2, ensure_ascii=False), encoding="utf-8")


def remove_leftovers(path: str | os.PathLike) -> None:
    """Removes the temporary files that killed writers of `path` left behind.

    Only for a caller that keeps other writers of `path` out: theirs would be removed, too.
    """
    path = Path(path)
    for leftover in path.parent.glob(f".{'[0-9a-f]' * 32}.{glob.escape(path.name)}"):
        leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk; Windows has no call for it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network drives cannot
            raise
    finally:
        os.close(descriptor)
