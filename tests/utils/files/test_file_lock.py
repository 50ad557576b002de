import multiprocessing
import os
import time

import pytest

from utils.files.file_lock import LockTimeout, acquire, lock_file, release


@pytest.mark.parametrize(
    "first_shared, second_shared, free",
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_shared_locks_get_along(tmp_path, first_shared, second_shared, free):
    path = tmp_path / "f"
    path.write_bytes(b"x")
    with open(path, "r+b", buffering=0) as first, open(path, "r+b", buffering=0) as second:
        acquire(first, shared=first_shared)
        if free:
            acquire(second, shared=second_shared, timeout=0)
            release(second)
        else:
            with pytest.raises(LockTimeout):
                acquire(second, shared=second_shared, timeout=0)
        release(first)
        acquire(second, shared=second_shared, timeout=0)


def test_lock_file_names_its_holder_and_goes_away(tmp_path):
    path = tmp_path / "g.lock"
    with lock_file(path):
        assert path.read_text() == str(os.getpid())
        start = time.monotonic()
        with (
            pytest.raises(LockTimeout, match=f"process {os.getpid()} is writing"),
            lock_file(path, 0.15),
        ):
            pass
        assert 0.15 <= time.monotonic() - start < 5
    assert not path.exists()


def test_lock_file_is_given_back_after_an_error(tmp_path):
    path = tmp_path / "g.lock"
    with pytest.raises(RuntimeError), lock_file(path):
        raise RuntimeError
    with lock_file(path, 0):
        pass


def test_a_left_over_lock_file_is_no_lock(tmp_path):
    path = tmp_path / "g.lock"
    path.write_text("99999999")
    with lock_file(path, 0):
        assert path.read_text() == str(os.getpid())
    assert not path.exists()


def _count(path, counter, times):
    for _ in range(times):
        with lock_file(path, 30):
            value = int(counter.read_text())
            time.sleep(0.001)
            counter.write_text(str(value + 1))


def test_nobody_gets_in_between(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    spawn = multiprocessing.get_context("forkserver")
    workers = [
        spawn.Process(target=_count, args=(tmp_path / "g.lock", counter, 25)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert counter.read_text() == "75"
