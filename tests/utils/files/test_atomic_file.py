import json
import os

import pytest

from utils.files.atomic_file import remove_leftovers, replacing, save_json


def test_the_file_appears_with_its_folder_and_nothing_else(tmp_path):
    path = tmp_path / "new" / "figures.json"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".json"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "figures.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_sync_waits_for_the_file_and_then_for_its_name(tmp_path, monkeypatch):
    path, synced = tmp_path / "figures.json", []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((path.exists(), fsync(number))))
    with replacing(path, sync=True) as temporary:
        temporary.write_text("new")
    assert [there for there, _ in synced] == [False, True]
    assert path.read_text() == "new"


def test_leftovers_of_killed_writers(tmp_path):
    path = tmp_path / "a[1].h5"
    writer = replacing(path)
    temporary = writer.__enter__()
    temporary.write_text("half")
    kept = [path, tmp_path / ".a[1].h5", tmp_path / f".{'0' * 32}.a1.h5"]
    for other in kept:
        other.write_text("whole")
    remove_leftovers(path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_json_without_nan(tmp_path):
    save_json(tmp_path / "new" / "a.json", {"ä": [1.0, [float("nan")], 2, None]})
    assert json.loads((tmp_path / "new/a.json").read_text(encoding="utf-8")) == {"ä": [1.0, [None], 2, None]}
