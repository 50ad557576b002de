import os

import pytest

from utils.datasets.folders import Listing, list_folders, list_identities, name_problem


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def test_folders_in_sorted_order_with_names_of_any_language(tmp_path):
    touch(tmp_path, "b/2.JPG", "b/1.png", "张三/我 的;照片.jpg", "Ürün/sub/x.webp", "10/a.jpg", "9/a.jpg")
    listing = list_folders(tmp_path)
    assert [(p.person, p.file) for p in listing.portraits] == [
        ("10", "10/a.jpg"),
        ("9", "9/a.jpg"),
        ("b", "b/1.png"),
        ("b", "b/2.JPG"),
        ("Ürün", "Ürün/sub/x.webp"),
        ("张三", "张三/我 的;照片.jpg"),
    ]
    assert all(p.path == tmp_path / p.file and p.path.is_file() for p in listing.portraits)
    assert listing.empty == listing.ignored == []


def test_folders_name_the_empty_and_the_ignored(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/notes.txt", "loose.jpg", ".hidden/1.jpg", "a/.thumb.jpg", "a/x.heic")
    (tmp_path / "c").mkdir()
    listing = list_folders(tmp_path)
    assert [p.file for p in listing.portraits] == ["a/1.jpg"]
    assert listing.empty == ["b", "c"]
    assert listing.ignored == ["a/x.heic", "b/notes.txt", "loose.jpg"]


def test_folders_follow_a_person_folder_that_is_a_link(tmp_path):
    touch(tmp_path, "elsewhere/1.jpg")
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "a")
    assert [p.file for p in list_folders(tmp_path / "data").portraits] == ["a/1.jpg"]


def test_folders_missing(tmp_path):
    with pytest.raises(ValueError, match="none: no such folder"):
        list_folders(tmp_path / "none")


def identities(tmp_path, text):
    touch(tmp_path, "images/1.jpg", "images/2.jpg", "images/with space.jpg", "images/x/3.jpg")
    path = tmp_path / "identities.txt"
    path.write_text(text, encoding="utf-8")
    return tmp_path / "images", path


def test_identities(tmp_path):
    root, path = identities(tmp_path, "2.jpg 10\n1.jpg\t9\n\nx/3.jpg 10\nwith space.jpg  9\nlost.jpg 9\ngone.jpg 11\n")
    listing = list_identities(root, path)
    assert [(p.person, p.file) for p in listing.portraits] == [
        ("10", "2.jpg"),
        ("10", "x/3.jpg"),
        ("9", "1.jpg"),
        ("9", "with space.jpg"),
    ]
    assert listing.portraits[1].path == root / "x/3.jpg"
    assert listing.empty == ["11"]
    assert listing.ignored == ["gone.jpg", "lost.jpg"]


def test_identities_without_lines(tmp_path):
    root, path = identities(tmp_path, "")
    assert list_identities(root, path) == Listing([], [], [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.jpg\n", r"identities\.txt:1: 'file identity' expected, got '1.jpg'"),
        ("2.jpg 1\n1.jpg 7\n1.jpg 8\n", r":3: 1\.jpg is given to 7 already, now 8"),
        ("../1.jpg 7\n", r":1: .* leads out of the folder"),
        ("/1.jpg 7\n", r":1: .* leads out of the folder"),
        ("1.jpg a/b\n", r":1: .* leads out of the folder"),
        ("1.jpg ..\n", r":1: .* leads out of the folder"),
    ],
)
def test_identities_refuse(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        list_identities(*identities(tmp_path, text))


def test_identities_repeat_the_same(tmp_path):
    assert len(list_identities(*identities(tmp_path, "1.jpg 7\n1.jpg 7\n")).portraits) == 1


def test_identities_missing_or_binary(tmp_path):
    root, path = identities(tmp_path, "")
    with pytest.raises(ValueError, match="none.txt: no such file"):
        list_identities(root, tmp_path / "none.txt")
    path.write_bytes(b"1.jpg \xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8"):
        list_identities(root, path)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a/张三;1 .jpg", ""),
        ("a/1\n2.jpg", "line break"),
        ("a/1\u20282.jpg", "line break"),
        ("a/1.jpg\n", "line break"),
        ("a/\udcc4.jpg", "not valid UTF-8"),
    ],
)
def test_name_problem(name, problem):
    found = name_problem(name)
    assert problem in found and bool(found) == bool(problem)
