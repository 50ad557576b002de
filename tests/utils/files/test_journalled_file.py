import os

import numpy as np
import pytest

from utils.files import journalled_file
from utils.files.file_lock import LockTimeout
from utils.files.journalled_file import PAGE, SECTOR, JournalError, JournalledFile


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(np.random.default_rng(0).bytes(5 * PAGE + 100))
    return path


def journal_of(path):
    return path.with_name("data.journal")


def read(path):
    with JournalledFile(path) as file:
        return file.read()


def random_edits(file, content: bytearray, rng):
    """Makes the same edits to the file and to a plain copy of it."""
    for _ in range(20):
        start = int(rng.integers(0, len(content) + PAGE))
        data = rng.bytes(int(rng.choice([1, 10, PAGE, 2 * PAGE + 7])))
        content.extend(bytes(max(0, start - len(content))))
        content[start : start + len(data)] = data
        file.seek(start)
        assert file.write(data) == len(data)
        if rng.random() < 0.2:
            size = int(rng.integers(1, len(content) + PAGE))
            file.truncate(size)
            del content[size:]
            content.extend(bytes(size - len(content)))
        start, count = (int(n) for n in rng.integers(0, len(content) + 10, 2))
        file.seek(start)
        assert file.read(count) == content[start : start + count]


@pytest.mark.parametrize("seed", range(5))
def test_reads_and_writes_like_a_file(path, seed):
    rng = np.random.default_rng(seed)
    original = path.read_bytes()
    content = bytearray(original)
    with JournalledFile(path, writable=True) as file:
        random_edits(file, content, rng)
        assert path.read_bytes() == original
        file.commit()
        assert path.read_bytes() == content
        random_edits(file, content, rng)
        file.commit()
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["data"]


def test_nothing_changes_without_commit(path):
    original = path.read_bytes()
    with JournalledFile(path, writable=True) as file:
        file.write(b"new")
    assert path.read_bytes() == original


def test_writes_only_what_changed(path):
    with JournalledFile(path, writable=True) as file:
        file.write(path.read_bytes()[:-1])
        file.seek(2 * PAGE + 5)
        file.write(b"new")
        assert file.commit() == PAGE
        assert file.commit() == 0


def test_what_was_cut_off_and_is_there_again_is_zeros(path):
    content = path.read_bytes()
    with JournalledFile(path, writable=True) as file:
        file.truncate(PAGE + 10)
        file.truncate(len(content))
        file.commit()
    assert path.read_bytes() == content[: PAGE + 10] + bytes(len(content) - PAGE - 10)


def edit(path):
    with JournalledFile(path, writable=True) as file:
        for start in (10, PAGE + SECTOR - 1, 5 * PAGE + 50, 8 * PAGE):
            file.seek(start)
            file.write(b"a change")
        file.commit()


@pytest.fixture
def states(path, tmp_path):
    """The content before and after `edit`."""
    copy = tmp_path / "copy" / "data"
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    edit(copy)
    return path.read_bytes(), copy.read_bytes()


def kill_at(monkeypatch, step):
    """Ends the process at the `step`-th time that something on disk would change."""
    count = iter(range(step, -1, -1))

    def guarded(function):
        def call(*arguments, **keywords):
            if next(count) == 0:
                raise Killed
            return function(*arguments, **keywords)

        return call

    for owner, name in (
        (journalled_file, "_write_all"),
        (journalled_file.os, "fsync"),
        (journalled_file.os, "replace"),
        (journalled_file.os, "posix_fallocate"),
        (journalled_file.Path, "unlink"),
    ):
        monkeypatch.setattr(owner, name, guarded(getattr(owner, name)))


def test_killed_at_any_step_it_is_old_or_new(path, states, monkeypatch):
    seen = []
    for step in range(100):
        path.write_bytes(states[0])
        with monkeypatch.context() as patch:
            kill_at(patch, step)
            try:
                edit(path)
                break
            except Killed:
                pass
        state = read(path).ljust(len(states[1]), b"\0")
        seen.append(state)
        edit(path)  # the next writer finishes or undoes, and goes on
        assert path.read_bytes() == states[1]
        assert not journal_of(path).exists()
    old, new = states[0].ljust(len(states[1]), b"\0"), states[1]
    assert set(seen) == {old, new}
    assert seen == sorted(seen, key=[old, new].index), "once new, it stays so"
    assert len(seen) > 8


def half_done(path, states, rng):
    """What a power cut may leave once the journal is there: any sector old or new."""
    edit_killed_after_journal(path)
    old, new = (state.ljust(9 * PAGE, b"\0") for state in states)
    mixed = bytearray(old)
    for start in range(0, len(mixed), SECTOR):
        if rng.random() < 0.5:
            mixed[start : start + SECTOR] = new[start : start + SECTOR]
    path.write_bytes(mixed[: int(rng.integers(len(states[0]), len(mixed)))])


def edit_killed_after_journal(path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journalled_file, "_apply", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            edit(path)


@pytest.mark.parametrize("seed", range(10))
def test_half_applied_sectors_are_finished(path, states, seed):
    half_done(path, states, np.random.default_rng(seed))
    assert read(path) == states[1]
    assert journal_of(path).exists(), "a reader changes nothing"
    with JournalledFile(path, writable=True) as file:
        assert file.read() == states[1]
    assert path.read_bytes() == states[1]
    assert not journal_of(path).exists()


def test_a_journal_of_another_state_is_refused(path, states):
    edit_killed_after_journal(path)
    path.write_bytes(np.random.default_rng(9).bytes(len(states[0])))
    for writable in (False, True):
        with pytest.raises(JournalError, match="data.journal: of another state"):
            JournalledFile(path, writable=writable)


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: b"", lambda d: d[:50] + d[51:]])
def test_a_damaged_journal_is_refused(path, damage):
    edit_killed_after_journal(path)
    journal_of(path).write_bytes(damage(journal_of(path).read_bytes()))
    with pytest.raises(JournalError, match="data.journal: damaged"):
        JournalledFile(path)


def test_a_full_disk_leaves_the_file_as_it_was(path, states, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journalled_file.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        edit(path)
    assert path.read_bytes() == states[0]
    assert not journal_of(path).exists()


def test_readers_and_commits_exclude_each_other(path):
    with (
        JournalledFile(path),
        JournalledFile(path),
        JournalledFile(path, writable=True, timeout=0) as writer,
    ):
        writer.write(b"new")
        with pytest.raises(LockTimeout):
            writer.commit()
    assert path.read_bytes()[:3] != b"new"
