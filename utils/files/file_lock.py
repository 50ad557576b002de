"""Locks on open files. The system takes them back when their holder ends, however it ends."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_POLL_SECONDS = 0.02
_FAR = 1 << 40  # Windows locks bytes, and others cannot read those: it gets one behind the end


class LockTimeout(TimeoutError):
    """Somebody else kept a lock for longer than one was willing to wait."""


if os.name == "nt":
    import msvcrt

    def _try_lock(file: BinaryIO, shared: bool) -> None:
        # There are no shared locks here: readers wait for each other, which is slow but right.
        os.lseek(file.fileno(), _FAR, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def release(file: BinaryIO) -> None:
        """Gives a lock back."""
        os.lseek(file.fileno(), _FAR, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _try_lock(file: BinaryIO, shared: bool) -> None:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)

    def release(file: BinaryIO) -> None:
        """Gives a lock back."""
        fcntl.flock(file, fcntl.LOCK_UN)


def acquire(file: BinaryIO, shared: bool = False, timeout: float = 10.0) -> None:
    """Locks an open file, against other processes and other openings in this one.

    Args:
        file: unbuffered; its position is undefined afterwards.
        shared: any number may hold it at once, but not beside one that is not shared.
        timeout: seconds to wait for others.

    Raises:
        LockTimeout: it was not free in that time.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return _try_lock(file, shared)
        except (BlockingIOError, PermissionError):
            if time.monotonic() >= deadline:
                raise LockTimeout(f"locked by somebody else for {timeout:g} s") from None
        time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def lock_file(path: str | os.PathLike, timeout: float = 10.0) -> Iterator[None]:
    """Holds a lock file, which is there as long as somebody holds it.

    It says which process that is. One that a killed process left behind does not count.

    Args:
        path: of the lock file.
        timeout: seconds to wait for another holder.

    Raises:
        LockTimeout: it was held all that time; names the holder.
        OSError: the file cannot be made.
    """
    path = Path(path)
    file = _hold(path, timeout)
    try:
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        yield
    finally:
        if os.name == "nt":  # which removes no open file
            file.close()
        with contextlib.suppress(OSError):
            path.unlink()
        file.close()


def _hold(path: Path, timeout: float) -> BinaryIO:
    deadline = time.monotonic() + timeout
    while True:
        file = open(path, "a+b", buffering=0)
        try:
            acquire(file, timeout=deadline - time.monotonic())
            if _is_still(file, path):
                return file
        except LockTimeout:
            holder = path.read_text(errors="replace").strip() if path.exists() else ""
            file.close()
            raise LockTimeout(
                f"process {holder or 'unknown'} is writing to it; waited {timeout:g} s"
            ) from None
        except BaseException:
            file.close()
            raise
        file.close()


def _is_still(file: BinaryIO, path: Path) -> bool:
    """Whether the file that was locked is the one at the path: its last holder removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
