import os

import numpy as np
import pytest

from utils.evaluation.embedding_cache import EmbeddingCache
from utils.files import cache
from utils.files.digests import digest

KEYS = [digest(bytes([value])) for value in range(5)]


def fill(folder, decisive, values):
    cache = EmbeddingCache(folder, "embeddings", decisive)
    for key, array in values.items():
        cache[key] = array
    cache.save()
    return cache


def test_arrays_of_any_length_come_back(tmp_path):
    arrays = {KEYS[0]: np.zeros((0, 3)), KEYS[1]: np.eye(3), KEYS[2]: np.array([[1.5, 2, -3]])}
    fill(tmp_path, {"a": 1}, arrays)
    cache = EmbeddingCache(tmp_path, "embeddings", {"a": 1}, width=3)
    assert len(cache) == 3 and KEYS[3] not in cache
    for key, array in arrays.items():
        assert key in cache and cache[key].dtype == np.float32
        np.testing.assert_array_equal(cache[key], array)
    with pytest.raises(KeyError):
        cache[KEYS[3]]


def test_only_empty_arrays(tmp_path):
    fill(tmp_path, {}, {KEYS[0]: np.zeros((0, 15))})
    assert EmbeddingCache(tmp_path, "embeddings", {})[KEYS[0]].shape == (0, 15)


@pytest.mark.parametrize("other", [{"size": 112}, {"size": 160, "flip": False}, {"size": [160]}, {}, {"size": "160"}])
def test_other_settings_have_a_file_of_their_own(tmp_path, other):
    fill(tmp_path, {"size": 160}, {KEYS[0]: np.ones((1, 2))})
    assert KEYS[0] in EmbeddingCache(tmp_path, "embeddings", {"size": 160})
    assert KEYS[0] not in EmbeddingCache(tmp_path, "embeddings", other)
    assert KEYS[0] not in EmbeddingCache(tmp_path, "detections", {"size": 160})


def test_the_order_of_settings_does_not_matter(tmp_path):
    fill(tmp_path, {"a": 1, "b": 2}, {KEYS[0]: np.ones((1, 2))})
    assert KEYS[0] in EmbeddingCache(tmp_path, "embeddings", {"b": 2, "a": 1})


def test_what_another_process_wrote_meanwhile_is_kept(tmp_path):
    first = EmbeddingCache(tmp_path, "embeddings", {})
    fill(tmp_path, {}, {KEYS[0]: np.ones((1, 2))})
    first[KEYS[1]] = np.zeros((1, 2))
    first.save()
    assert len(first) == 2
    assert len(EmbeddingCache(tmp_path, "embeddings", {})) == 2
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("FACES_CACHE", str(tmp_path))
    cache = fill(None, {}, {KEYS[0]: np.ones((1, 2))})
    assert KEYS[0] in cache and not list(tmp_path.iterdir())


def test_nothing_new_is_not_written(tmp_path):
    EmbeddingCache(tmp_path / "cache", "embeddings", {}).save()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "width", "parts"])
def test_a_damaged_file_is_made_anew(tmp_path, caplog, damage):
    fill(tmp_path, {}, {KEYS[0]: np.ones((1, 2))})
    (path,) = tmp_path.iterdir()
    if damage in ("width", "parts"):
        with np.load(path) as file:
            content = dict(file)
        content["rows" if damage == "width" else "counts"] = np.ones((1, 3))
        np.savez(path, **content)
    else:
        path.write_bytes({"cut": path.read_bytes()[:100], "text": b"no", "empty": b""}[damage])
    cache = EmbeddingCache(tmp_path, "embeddings", {}, width=2)
    assert len(cache) == 0 and str(path) in caplog.text
    cache[KEYS[1]] = np.ones((1, 2))
    cache.save()
    assert KEYS[1] in EmbeddingCache(tmp_path, "embeddings", {}, width=2)


def test_a_pickle_is_not_loaded(tmp_path):
    fill(tmp_path, {}, {KEYS[0]: np.ones((1, 2))})
    (path,) = tmp_path.iterdir()
    np.savez(path, digests=np.array([object()]), counts=np.ones(1), rows=np.ones((1, 2)))
    assert len(EmbeddingCache(tmp_path, "embeddings", {})) == 0


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache = fill(tmp_path / "file" / "cache", {}, {KEYS[0]: np.ones((1, 2))})
    assert KEYS[0] in cache and "not cached" in caplog.text


def test_the_oldest_files_go(tmp_path, monkeypatch):
    for number in range(3):
        fill(tmp_path, {"n": number}, {KEYS[0]: np.ones((1, 64))})
        newest = max(tmp_path.iterdir(), key=os.path.getmtime)
        os.utime(newest, (number + 1, number + 1))
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    monkeypatch.setattr(cache, "CACHE_BYTES", size)
    fill(tmp_path, {"n": 3}, {KEYS[0]: np.ones((1, 64))})
    kept = [KEYS[0] in EmbeddingCache(tmp_path, "embeddings", {"n": n}) for n in range(4)]
    assert kept == [False, True, True, True]
