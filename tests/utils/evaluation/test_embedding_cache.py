import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from utils.evaluation import embedding_cache
from utils.evaluation.embedding_cache import (
    EmbeddingCache,
    code_digest,
    default_folder,
    digest,
    weights_digest,
)

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


@pytest.mark.parametrize(
    "other", [{"size": 112}, {"size": 160, "flip": False}, {"size": [160]}, {}, {"size": "160"}]
)
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
    monkeypatch.setattr(embedding_cache, "CACHE_BYTES", size)
    fill(tmp_path, {"n": 3}, {KEYS[0]: np.ones((1, 64))})
    kept = [KEYS[0] in EmbeddingCache(tmp_path, "embeddings", {"n": n}) for n in range(4)]
    assert kept == [False, True, True, True]


def test_digest_is_of_the_content(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc")
    assert digest(path) == digest(b"abc") != digest(b"abd")
    assert len(digest(b"")) == embedding_cache.DIGEST_BYTES


def test_weights_digest(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"abc")
    (tmp_path / "b.pth").write_bytes(b"abc")
    (tmp_path / "c.pth").write_bytes(b"abd")
    names = [weights_digest(tmp_path / f"{name}.pth") for name in "abc"]
    assert names[0] == names[1] != names[2]
    with pytest.raises(FileNotFoundError, match="d.pth"):
        weights_digest(tmp_path / "d.pth")


def test_weights_digest_of_a_checkpoint_and_of_a_folder(tmp_path):
    for name in ("model.index", "model.data-00000-of-00001", "det1.npy", "det2.npy"):
        (tmp_path / name).write_bytes(name.encode())
    checkpoint, folder = weights_digest(tmp_path / "model"), weights_digest(tmp_path)
    (tmp_path / "model.data-00000-of-00001").write_bytes(b"other")
    (tmp_path / "notes.txt").write_bytes(b"other")
    assert weights_digest(tmp_path / "model") != checkpoint
    assert weights_digest(tmp_path) == folder
    (tmp_path / "det1.npy").write_bytes(b"det2.npy")
    assert weights_digest(tmp_path) != folder


def test_code_digest_follows_imports(tmp_path, monkeypatch):
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    write("top.py", "import numpy\nfrom utils.a import f\n")
    write("utils/a.py", "def f():\n    from utils import b as other\n    return other\n")
    write("utils/b.py", "import utils.c\n")
    write("utils/c.py", "from top import f\n")
    write("utils/d.py", "")
    monkeypatch.setattr(embedding_cache, "_PROJECT", tmp_path)

    def now():
        code_digest.cache_clear()
        return code_digest(("top",))

    names = [now()]
    write("utils/d.py", "x = 1\n")
    assert now() == names[0]
    for name in ("utils/c.py", "utils/b.py", "utils/a.py", "top.py"):
        write(name, (tmp_path / name).read_text() + "x = 1\n")
        names.append(now())
    assert len(set(names)) == 5
    code_digest.cache_clear()


def test_the_wrappers_code_is_covered():
    files = set()
    waiting = [Path("facenet.py")]
    while waiting:
        path = waiting.pop()
        if path not in files:
            files.add(path)
            waiting += embedding_cache._imported((embedding_cache._PROJECT / path).read_bytes())
    names = {path.name for path in files}
    assert {"alignment.py", "backbones.py", "mobilefacenet.py", "mtcnn.py", "engine.py"} <= names
    assert code_digest(("facenet",)) != code_digest(("retinaface",))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"FACES_CACHE": "/c"}, "/c/embeddings"),
        ({"XDG_CACHE_HOME": "/x", "FACES_CACHE": ""}, "/x/faces/embeddings"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": ""}, "/home/me/.cache/faces/embeddings"),
    ],
)
def test_default_folder(monkeypatch, variables, expected):
    monkeypatch.delenv("FACES_CACHE", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_folder() == Path(expected)


def test_tensorflow_is_not_needed():
    code = "import sys, utils.evaluation.embedder, eval_LFW; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=embedding_cache._PROJECT)
