"""A file whose changes take effect together or not at all, though the process be killed.

It is written in place, so a small change of a large file is a small write. How a commit goes:

1. the changed pages are written to `<file>.journal.new`, which is synced and renamed to
   `<file>.journal`: from this moment on the new state holds;
2. the pages are copied into the file, which is synced;
3. the journal is removed.

Killed before the rename, the file is untouched. Killed after it, the journal is complete: readers
look through it, and the next writer finishes the copying. This is the redo log of databases
(Mohan et al., "ARIES", 1992) with one transaction.
"""

import contextlib
import errno
import hashlib
import io
import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from utils.files.file_lock import acquire, release

PAGE = 4096
SECTOR = 512
"""What a disk writes as a whole, in bytes: a page may be half written after a power cut."""

_MAGIC = b"FACESJ1\n"
_HEADER = struct.Struct("<8sQQQ")  # magic, size before, size after, pages
_ENTRY = struct.Struct(f"<Q{PAGE // SECTOR}I")  # page number, CRC-32 of each sector before
_DIGEST_BYTES = 32


class JournalError(ValueError):
    """A journal that is damaged, or of another state of the file."""


@dataclass(frozen=True)
class _Change:
    """The new content of one page, PAGE bytes, and the checksums of its sectors before."""

    number: int
    content: bytes
    before: tuple[int, ...]


@dataclass(frozen=True)
class _Journal:
    size_before: int
    size: int
    changes: list[_Change]


class JournalledFile(io.RawIOBase):
    """An unbuffered binary file; what is written to it stays in memory until `commit`.

    Reading holds a shared lock on the file, so that no commit gets in between. Writers must keep
    each other out themselves (`utils.files.file_lock.lock_file`).
    """

    def __init__(self, path: str | os.PathLike, writable: bool = False, timeout: float = 10.0):
        """Opens an existing file.

        Args:
            path: of the file.
            writable: finish what a killed writer left undone, and allow changes.
            timeout: seconds to wait for readers or a commit of somebody else.

        Raises:
            OSError: the file cannot be opened; LockTimeout: it is in use all that time.
            JournalError: there is a journal that cannot be used.
        """
        super().__init__()
        self._path, self._writable, self._timeout = Path(path), writable, timeout
        self._position = 0
        self._pages: dict[int, bytearray] = {}
        self._file = open(path, "r+b" if writable else "rb", buffering=0)
        try:
            self._recover()
        except BaseException:
            self._file.close()
            raise

    def _recover(self) -> None:
        """Applies the journal of a killed writer, or looks through it when reading."""
        journal = None
        if not self._writable:
            acquire(self._file, shared=True, timeout=self._timeout)
            journal = _read_journal(self._path, self._file)
        elif _journal_path(self._path).exists():
            acquire(self._file, timeout=self._timeout)
            _apply(self._path, self._file, _read_journal(self._path, self._file))
            release(self._file)
        self._size = self._kept = os.fstat(self._file.fileno()).st_size
        if journal is not None:
            self._size = journal.size
            self._kept = min(self._kept, journal.size)
            self._pages = {c.number: bytearray(c.content) for c in journal.changes}

    def readable(self) -> bool:
        """True."""
        return True

    def writable(self) -> bool:
        """Whether it was opened for changes."""
        return self._writable

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position, in bytes from the start."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves the position and returns it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer) -> int:
        """Fills a buffer from the position on, as far as the file goes; returns the bytes read."""
        view = memoryview(buffer).cast("B")
        start = self._position
        view = view[: max(0, min(len(view), self._size - start))]
        self._read_base(start, view)
        end = start + len(view)
        for number in self._changed_within(start, end):
            first = number * PAGE
            low, high = max(start, first), min(end, first + PAGE)
            view[low - start : high - start] = self._pages[number][low - first : high - first]
        self._position = end
        return len(view)

    def _changed_within(self, start: int, end: int) -> Iterable[int]:
        if not self._pages:
            return ()
        numbers = range(start // PAGE, -(-end // PAGE))
        if len(numbers) > len(self._pages):
            return [number for number in self._pages if number in numbers]
        return [number for number in numbers if number in self._pages]

    def _read_base(self, start: int, view: memoryview) -> None:
        """Fills the view from the unchanged file, with zeros where that is shorter."""
        have = max(0, min(len(view), self._kept - start))
        done = _read_at(self._file, start, view[:have])
        view[done:] = bytes(len(view) - done)

    def write(self, data) -> int:
        """Changes the bytes from the position on, in memory; returns their number."""
        view = memoryview(data).cast("B")
        start, end = self._position, self._position + len(view)
        for number in range(start // PAGE, -(-end // PAGE)):
            first = number * PAGE
            low, high = max(start, first), min(end, first + PAGE)
            if number not in self._pages:
                self._pages[number] = self._base_page(number)
            self._pages[number][low - first : high - first] = view[low - start : high - start]
        self._position = end
        self._size = max(self._size, end)
        return len(view)

    def _base_page(self, number: int) -> bytearray:
        page = bytearray(PAGE)
        self._read_base(number * PAGE, memoryview(page))
        return page

    def truncate(self, size: int | None = None) -> int:
        """Sets the length, in memory; what is added reads as zeros."""
        size = self._position if size is None else size
        if size < self._size:
            self._kept = min(self._kept, size)
            self._pages = {n: page for n, page in self._pages.items() if n * PAGE < size}
            last = self._pages.get(size // PAGE)
            if last is not None:
                last[size % PAGE :] = bytes(PAGE - size % PAGE)
        self._size = size
        return size

    def commit(self) -> int:
        """Makes the changes last: they are on disk when this returns.

        Returns:
            The bytes written to the file (the journal takes as many again).

        Raises:
            OSError: no space or no permission; the file is as it was. LockTimeout: so it is, as
                readers did not let go of it in time.
        """
        changes = self._changes()
        before = os.fstat(self._file.fileno()).st_size
        if not changes and self._size == before:
            return 0
        journal = _Journal(before, self._size, changes)
        acquire(self._file, timeout=self._timeout)
        try:
            _reserve(self._file, before, self._size)
            _write_journal(self._path, journal)
            _apply(self._path, self._file, journal)
        finally:
            release(self._file)
        self._pages.clear()
        self._kept = self._size
        return len(changes) * PAGE

    def _changes(self) -> list[_Change]:
        on_disk = min(os.fstat(self._file.fileno()).st_size, self._size)
        # what was cut off and is there again must be zeros on disk, too
        cut = range(self._kept // PAGE, -(-on_disk // PAGE))
        changes = []
        for number in sorted({*self._pages, *cut}):
            old, new = _page_of(self._file, number), self._pages.get(number)
            new = self._base_page(number) if new is None else new
            if old != new:
                changes.append(_Change(number, bytes(new), _sector_sums(old)))
        return changes

    def close(self) -> None:
        """Closes the file; what is not committed is forgotten."""
        self._pages = {}
        self._file.close()
        super().close()


def discard_journal(path: str | os.PathLike) -> None:
    """Removes what is left of the journals of a file that is no more."""
    for journal in (_journal_path(path), _unfinished_path(path)):
        journal.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes renames and removals in a folder last (Windows does so by itself)."""
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


def _journal_path(path: str | os.PathLike) -> Path:
    return Path(f"{os.fspath(path)}.journal")


def _unfinished_path(path: str | os.PathLike) -> Path:
    return Path(f"{os.fspath(path)}.journal.new")


def _read_at(file: BinaryIO, start: int, view: memoryview) -> int:
    file.seek(start)
    done = 0
    while done < len(view) and (count := file.readinto(view[done:])):
        done += count
    return done


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _page_of(file: BinaryIO, number: int) -> bytearray:
    """A page of the file as it is on disk, with zeros behind the end."""
    page = bytearray(PAGE)
    _read_at(file, number * PAGE, memoryview(page))
    return page


def _sector_sums(page: bytes | bytearray) -> tuple[int, ...]:
    return tuple(zlib.crc32(page[i : i + SECTOR]) for i in range(0, PAGE, SECTOR))


def _reserve(file: BinaryIO, before: int, size: int) -> None:
    """Takes the space that the file will grow by, so that applying cannot run out of it."""
    if size <= before or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file.fileno(), before, size - before)
    except OSError:
        file.truncate(before)
        raise


def _write_journal(path: Path, journal: _Journal) -> None:
    unfinished, changes = _unfinished_path(path), journal.changes
    hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    head = [_HEADER.pack(_MAGIC, journal.size_before, journal.size, len(changes))]
    head += [_ENTRY.pack(change.number, *change.before) for change in changes]
    try:
        with open(unfinished, "wb") as file:
            for part in (b"".join(head), *(change.content for change in changes)):
                hasher.update(part)
                file.write(part)
            file.write(hasher.digest())
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, _journal_path(path))
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _read_journal(path: Path, base: BinaryIO) -> _Journal | None:
    """Reads and checks the journal of a file; None if there is none."""
    source = _journal_path(path)
    try:
        data = source.read_bytes()
    except FileNotFoundError:
        return None
    body = memoryview(data)[:-_DIGEST_BYTES]
    sums = hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
    if not data.startswith(_MAGIC) or sums != data[-_DIGEST_BYTES:]:
        raise JournalError(f"{source}: damaged; the last change of {path} cannot be finished")
    _, size_before, size, count = _HEADER.unpack_from(body)
    contents = _HEADER.size + count * _ENTRY.size
    changes = []
    for index in range(count):
        number, *before = _ENTRY.unpack_from(body, _HEADER.size + index * _ENTRY.size)
        start = contents + index * PAGE
        changes.append(_Change(number, bytes(body[start : start + PAGE]), tuple(before)))
    journal = _Journal(size_before, size, changes)
    if not _fits(journal, base):
        raise JournalError(
            f"{source}: of another state of {path}, which was replaced since; "
            "remove the journal to use the file as it is"
        )
    return journal


def _fits(journal: _Journal, base: BinaryIO) -> bool:
    """Whether each sector of the file is as it was before the commit, or after it."""
    for change in journal.changes:
        if change.number * PAGE >= journal.size_before:
            continue
        now = _page_of(base, change.number)
        sums = zip(_sector_sums(now), change.before, _sector_sums(change.content), strict=True)
        if any(current not in (before, after) for current, before, after in sums):
            return False
    return True


def _apply(path: Path, base: BinaryIO, journal: _Journal) -> None:
    for change in journal.changes:
        base.seek(change.number * PAGE)
        _write_all(base, change.content)
    base.truncate(journal.size)
    os.fsync(base.fileno())
    _journal_path(path).unlink()
    sync_folder(path.parent)
