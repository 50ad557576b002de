import unicodedata
from pathlib import Path

import pytest

from utils.gallery.folder import clean_name, make_plan, person_of, rejection, scan

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


@pytest.mark.parametrize(
    "path, person",
    [
        ("Ann/1.jpg", "Ann"),
        ("Ann/holidays/1.jpg", "Ann"),
        ("Ann_2/Bob_1.jpg", "Ann_2"),
        ("Ann_1.jpg", "Ann"),
        ("Ann_Lee_012.png", "Ann_Lee"),
        ("Ann.jpg", "Ann"),
        ("1_001.jpg", "1"),
        ("张三_1.jpg", "张三"),
    ],
)
def test_person_of(path, person):
    assert person_of(Path(path)) == person


def test_names_are_composed_and_trimmed():
    assert clean_name(unicodedata.normalize("NFD", " Zoë ")) == unicodedata.normalize("NFC", "Zoë")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "unknown", "a" * 129, "é" * 65, "\udc80"])
def test_bad_names(name):
    with pytest.raises(ValueError, match="name|called"):
        clean_name(name)


def test_scan(tmp_path):
    for name in ("Ann/1.jpg", "Ann/x/2.png", "Bob_1.jpg", "unknown/1.jpg", ".x/1.jpg", "Ann/a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    photos, problems = scan(tmp_path)
    named = {path.relative_to(tmp_path).as_posix(): person for path, person in photos}
    assert named == {"Ann/1.jpg": "Ann", "Ann/x/2.png": "Ann", "Bob_1.jpg": "Bob"}
    assert [str(p) for p in problems] == [
        f"{tmp_path / 'unknown' / '1.jpg'}: nobody can be called 'unknown', that is what strangers are called"
    ]


def test_scan_of_nothing(tmp_path):
    with pytest.raises(ValueError, match="no photos; put them in as"):
        scan(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        scan(tmp_path / "none")


@pytest.mark.parametrize(
    "faces, largest, used", [(0, False, 0), (0, True, 0), (1, False, 1), (2, False, 0), (2, True, 1)]
)
def test_rejection(faces, largest, used):
    assert bool(rejection(faces, largest)) != bool(used)


KNOWN = {A: ("Ann", 1), B: ("Bob", 3), C: (None, 0)}


@pytest.mark.parametrize(
    "photos, settings, new, kept, moved, rejected, problems",
    [
        ([("x", "Ann", A)], {}, [], {A}, {}, {}, []),
        ([("x", "Cid", A)], {}, [], {A}, {A: "Cid"}, {}, []),
        ([("x", "Ann", b"n" * 16)], {}, ["x"], set(), {}, {}, []),
        ([("x", "Bob", B)], {}, [], set(), {}, {B: 3}, ["x"]),
        ([("x", "Bob", B)], {"take_largest": True}, [], {B}, {}, {}, []),
        ([("x", "Bob", B)], {"retry": True}, ["x"], set(), {}, {}, []),
        ([("x", "Cid", C)], {}, [], set(), {}, {C: 0}, ["x"]),
        ([("x", "Cid", C)], {"retry": True}, ["x"], set(), {}, {}, []),
        ([("x", "Ann", A), ("y", "Ann", A)], {}, [], {A}, {}, {}, ["y"]),
        ([("x", "Ann", A), ("y", "Bob", A)], {}, [], set(), {}, {}, ["x", "y"]),
    ],
)
def test_plan(photos, settings, new, kept, moved, rejected, problems):
    plan = make_plan([(Path(path), person, digest) for path, person, digest in photos], KNOWN, **settings)
    assert [str(path) for path, _, _ in plan.new] == new
    assert (plan.kept, plan.moved, plan.rejected) == (kept, moved, rejected)
    assert [str(problem.source) for problem in plan.problems] == problems
    assert plan.seen == {digest for _, _, digest in photos}
