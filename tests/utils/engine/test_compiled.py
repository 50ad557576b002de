import os

import pytest

from utils.engine.compiled import Compiled, cached_path, flatbuffer, keep_in_cache, read_compiled, write_compiled

FACTS = {"name": "n", "shape": [None, 8, 8, 3]}


def test_round_trip(tmp_path):
    path = tmp_path / "net.tflite"
    written = write_compiled(path, Compiled(b"flatbuffer", FACTS))
    assert written == read_compiled(path, "n") == Compiled(path, FACTS)
    assert path.read_bytes().startswith(b"flatbuffer")
    again = write_compiled(tmp_path / "copy.tflite", written)
    assert read_compiled(again.content, "n").facts == FACTS
    assert again.content.read_bytes() == path.read_bytes() and flatbuffer(again) == b"flatbuffer"


@pytest.mark.parametrize("damage", [b"", b"short", "cut", "flip"])
def test_damaged_file_is_none(tmp_path, damage):
    path = tmp_path / "net.tflite"
    write_compiled(path, Compiled(b"flatbuffer", FACTS))
    stored = bytearray(path.read_bytes())
    stored[3] ^= 1
    path.write_bytes({"flip": stored, "cut": path.read_bytes()[:-5]}.get(damage, damage))
    assert read_compiled(path, "n") is None


def test_missing_file_or_other_name_is_none(tmp_path):
    path = tmp_path / "net.tflite"
    assert read_compiled(path, "n") is None
    write_compiled(path, Compiled(b"flatbuffer", FACTS))
    assert read_compiled(path, "m") is None


def test_oldest_in_the_cache_make_room(monkeypatch, tmp_path):
    monkeypatch.setenv("FACES_CACHE", str(tmp_path))
    for age, name in enumerate("dcba"):
        kept = keep_in_cache(Compiled(b"x" * 68, {"name": name}))
        os.utime(kept.content, (1000 - age, 1000 - age))
    monkeypatch.setattr("utils.files.cache.CACHE_BYTES", 3 * kept.content.stat().st_size)
    keep_in_cache(Compiled(b"x" * 68, {"name": "e"}))
    assert sorted(path.stem for path in cached_path("e").parent.iterdir()) == ["c", "d", "e"]
