import numpy as np
import pytest

from tests.utils.datasets.test_wider_labels import write
from utils.datasets.cls_list import read_cls_txt, write_cls_txt


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_cls_txt_reads_paths_of_any_language(tmp_path, monkeypatch, end, mark):
    elsewhere = tmp_path / "cwd"
    touch(tmp_path, "lists/李/a b;c.jpg", "lists/both.jpg", "cwd/both.jpg", "cwd/only here.jpg")
    monkeypatch.chdir(elsewhere)
    absolute = tmp_path / "lists" / "李" / "a b;c.jpg"
    lines = ["1;李/a b;c.jpg", "", " 0 ;both.jpg", "0;only here.jpg", f"2;{absolute}"]
    txt = tmp_path / "lists" / "cls_train.txt"
    txt.write_bytes((mark + end.join(lines)).encode())
    paths, labels = read_cls_txt(txt)
    assert labels.dtype == np.int32 and labels.tolist() == [1, 0, 0, 2]
    assert list(paths) == [str(absolute), str(tmp_path / "lists" / "both.jpg"), "only here.jpg", str(absolute)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0;a.jpg\nx;a.jpg\n", ":2: class id 'x'"),
        ("0;a.jpg\n\n-1;a.jpg\n", ":3: class id '-1'"),
        ("1_0;a.jpg\n", ":1: class id '1_0'"),
        ("99999999999;a.jpg\n", ":1: class id '99999999999'"),
        ("0 a.jpg\n", ":1: 'id;path' expected"),
        ("0;\n", ":1: 'id;path' expected"),
        ("0;a.jpg\n1;a.jpg\n3;a.jpg\n", "class ids must be 0..C-1: 2 is missing"),
        ("1;a.jpg\n2;a.jpg\n", "0 is missing"),
        ("0;a.jpg\n5;a.jpg\n", "1 is missing (and 3 more)"),
        ("", "no images are listed"),
        ("\n \n", "no images are listed"),
        ("0;a.jpg\n\n0;b.jpg\n0;c.jpg\n", ":3: no image "),
        ("0;a.jpg\n0;b.jpg\n0;c.jpg\n", "2 of 3 listed images are missing"),
    ],
)
def test_cls_txt_errors_name_file_and_line(tmp_path, text, message):
    touch(tmp_path, "a.jpg")
    txt = write(tmp_path / "cls_train.txt", text)
    with pytest.raises(ValueError) as error:
        read_cls_txt(txt)
    assert message in str(error.value) and str(error.value).startswith(str(txt))


def test_cls_txt_that_is_no_text_or_no_file(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_cls_txt(tmp_path / "none.txt")
    (tmp_path / "image.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_cls_txt(tmp_path / "image.jpg")


def test_cls_txt_leaves_images_unchecked_if_told(tmp_path):
    paths, labels = read_cls_txt(write(tmp_path / "a.txt", "0;/no/where.jpg"), check_images=False)
    assert list(paths) == ["/no/where.jpg"] and labels.tolist() == [0]


def test_cls_txt_round_trip_replaces_the_old_file_whole(tmp_path):
    txt = tmp_path / "new folder" / "cls_train.txt"
    paths = [str(tmp_path / name) for name in ("b;1.jpg", "ä .jpg", " c.jpg")]
    touch(tmp_path, "b;1.jpg", "ä .jpg", " c.jpg")
    write_cls_txt(txt, paths, np.array([1, 0, 1]))
    read_paths, labels = read_cls_txt(txt)
    assert list(read_paths) == paths and labels.tolist() == [1, 0, 1]
    for bad in (["a\nb"], ["a\rb"], [""], ["a", "b"]):
        with pytest.raises(ValueError):
            write_cls_txt(txt, bad, [0])
    assert [p.name for p in txt.parent.iterdir()] == ["cls_train.txt"]
    assert list(read_cls_txt(txt)[0]) == paths
