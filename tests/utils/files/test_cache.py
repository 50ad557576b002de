from pathlib import Path

import pytest

from utils.files.cache import cache_folder


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"FACES_CACHE": "/c"}, "/c/embeddings"),
        ({"XDG_CACHE_HOME": "/x", "FACES_CACHE": ""}, "/x/faces/embeddings"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": ""}, "/home/me/.cache/faces/embeddings"),
    ],
)
def test_cache_folder(monkeypatch, variables, expected):
    monkeypatch.delenv("FACES_CACHE", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder("embeddings") == Path(expected)
