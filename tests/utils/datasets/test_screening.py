from utils.datasets.folders import Portrait, list_folders
from utils.datasets.report import BAD_NAME, DUPLICATE, LABEL_CONFLICT
from utils.datasets.screening import find_copies, screen


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
    assert find_copies(portraits) == {
        "a/2.jpg": (DUPLICATE, "of a/1.jpg"),
        "a/3.jpg": (DUPLICATE, "of a/1.jpg"),
        "b/1.jpg": (LABEL_CONFLICT, "equal to c/1.jpg, c/2.jpg"),
        "c/1.jpg": (LABEL_CONFLICT, "equal to b/1.jpg, c/2.jpg"),
        "c/2.jpg": (LABEL_CONFLICT, "equal to b/1.jpg, c/1.jpg"),
    }


def test_find_copies_passes_over_missing_files(tmp_path):
    missing = [Portrait(tmp_path / name, name, "a") for name in ("1.jpg", "2.jpg")]
    assert find_copies(missing) == {}
    assert find_copies([]) == {}


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
    fine, rows = screen(portraits, drop_duplicates=True)
    assert [p.file for p in fine] == ["a/1.jpg", "c/2.jpg"]
    assert {(row.file, row.person, row.result, row.detail) for row in rows} == {
        (r"'a/3\n.jpg'", "a", BAD_NAME, "line break in the name; rename the file"),
        ("a/2.jpg", "a", DUPLICATE, "of a/1.jpg"),
        ("b/1.jpg", "b", LABEL_CONFLICT, "equal to c/1.jpg"),
        ("c/1.jpg", "c", LABEL_CONFLICT, "equal to b/1.jpg"),
    }
    fine, rows = screen(portraits, drop_duplicates=False)
    assert len(fine) == 5 and [row.result for row in rows] == [BAD_NAME]
