import numpy as np

from utils.datasets.folders import Portrait, list_folders
from utils.datasets.report import BAD_NAME, DUPLICATE, KEPT, LABEL_CONFLICT, UNREADABLE
from utils.datasets.screening import check_readable, find_copies, screen
from utils.images.image_files import save_image


def dataset(root, contents):
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return list_folders(root).portraits


def test_find_copies(tmp_path):
    portraits = dataset(
        tmp_path,
        {
            "a/1.jpg": b"same",
            "a/2.jpg": b"same",
            "a/3.jpg": b"same",
            "a/4.jpg": b"diff",
            "b/1.jpg": b"shared",
            "c/1.jpg": b"shared",
            "c/2.jpg": b"shared",
            "c/3.jpg": b"",
        },
    )
    copies, conflicts = find_copies(portraits)
    assert copies == {"a/2.jpg": "a/1.jpg", "a/3.jpg": "a/1.jpg"}
    assert conflicts == {
        "b/1.jpg": ["c/1.jpg", "c/2.jpg"],
        "c/1.jpg": ["b/1.jpg", "c/2.jpg"],
        "c/2.jpg": ["b/1.jpg", "c/1.jpg"],
    }


def test_find_copies_passes_over_missing_files(tmp_path):
    missing = [Portrait(tmp_path / name, name, "a") for name in ("1.jpg", "2.jpg")]
    assert find_copies(missing) == ({}, {})
    assert find_copies([]) == ({}, {})


def test_screen(tmp_path):
    portraits = dataset(
        tmp_path,
        {
            "a/1.jpg": b"same",
            "a/2.jpg": b"same",
            "a/3\n.jpg": b"same",
            "b/1.jpg": b"one",
            "c/1.jpg": b"one",
            "c/2.jpg": b"two",
        },
    )
    fine, rows = screen(portraits)
    assert [p.file for p in fine] == ["a/1.jpg", "c/2.jpg"]
    assert {(row.file, row.person, row.result, row.detail) for row in rows} == {
        (r"'a/3\n.jpg'", "a", BAD_NAME, "line break in the name; rename the file"),
        ("a/2.jpg", "a", DUPLICATE, "of a/1.jpg"),
        ("b/1.jpg", "b", LABEL_CONFLICT, "equal to c/1.jpg"),
        ("c/1.jpg", "c", LABEL_CONFLICT, "equal to b/1.jpg"),
    }
    fine, rows = screen(portraits, drop_duplicates=False)
    assert len(fine) == 5 and [row.result for row in rows] == [BAD_NAME]


def test_check_readable(tmp_path):
    save_image(tmp_path / "a/1.png", np.zeros((4, 4, 3), np.uint8))
    portraits = dataset(tmp_path, {"a/2.png": b"no picture"})
    rows = list(check_readable(portraits))
    assert [(row.file, row.result) for row in rows] == [("a/1.png", KEPT), ("a/2.png", UNREADABLE)]
    assert rows[0].detail == "" and "not an image" in rows[1].detail
