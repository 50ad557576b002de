import numpy as np
import pytest

from utils.datasets.cls_list import read_cls_txt
from utils.datasets.folders import Portrait
from utils.datasets.listing import (
    beside_list,
    count_people,
    draw_chart,
    list_photos,
    listed,
    named,
    print_left_out,
    read_all,
    write_lists,
)
from utils.datasets.report import DUPLICATE, KEPT, LABEL_CONFLICT, NO_FACE, UNREADABLE, Report, Row
from utils.images.image_files import read_image, save_image


@pytest.fixture
def dataset(tmp_path):
    for name in ("anna/1.png", "bob/2.png"):
        save_image(tmp_path / "photos" / name, np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "photos/bob/notes.txt").touch()
    return tmp_path / "photos"


def test_photos_are_listed_by_folder_or_by_a_text_file(dataset, tmp_path, capsys):
    assert [p.file for p in list_photos(dataset).portraits] == ["anna/1.png", "bob/2.png"]
    assert "1 files that are no photo in a person's folder: bob/notes.txt" in capsys.readouterr().out
    (tmp_path / "who.txt").write_text("anna/1.png 7\nlost.png 7\n")
    (portrait,) = list_photos(dataset, tmp_path / "who.txt").portraits
    assert portrait.person == "7"
    assert "1 listed files that are missing: lost.png" in capsys.readouterr().out


def test_a_dataset_without_photos_is_refused(tmp_path):
    (tmp_path / "anna").mkdir()
    with pytest.raises(ValueError, match=r"no photos; .*<person>/\*\.jpg expected"):
        list_photos(tmp_path)


def test_names_are_shown_up_to_five():
    assert named(["a", "b\nc", "张"], "files") == r"3 files: a, 'b\nc', 张"
    assert named(list("abcdef"), "files") == "6 files: a, b, c, d, e, ..."


@pytest.mark.parametrize("check_images", [True, False])
def test_read_all_writes_the_report(dataset, tmp_path, check_images):
    (dataset / "bob/2.png").write_bytes(b"no picture")
    portraits = [Portrait(dataset / f, f, f.split("/")[0]) for f in ("bob/2.png", "anna/1.png")]
    rows = read_all(portraits, [Row("c", "bo", DUPLICATE)], tmp_path / "report.csv", check_images)
    assert [row.file for row in rows] == ["anna/1.png", "c", "bob/2.png"]  # by person
    expected = UNREADABLE if check_images else KEPT
    assert [row.result for row in rows] == [KEPT, DUPLICATE, expected]
    assert rows[0].detail == "" and ("not an image" in rows[2].detail) == check_images
    assert list(Report(tmp_path / "report.csv").rows.values()) == rows


def test_what_was_left_out_is_printed(capsys):
    rows = [Row("a", "p", KEPT), Row("b", "p", NO_FACE), Row("c", "q", LABEL_CONFLICT, "equal to d")]
    print_left_out([*rows, Row("e", "q", NO_FACE)], "report.csv")
    assert capsys.readouterr().out.splitlines() == [
        "1 of 4 photos kept; dropped: 2 no face, 1 label conflict",
        "  label conflict: c: equal to d",
        "report: report.csv",
    ]
    print_left_out(rows[:1], "report.csv")
    assert "1 of 1 photos kept; dropped: none" in capsys.readouterr().out


def test_people_are_counted_and_those_without_an_id_named(capsys):
    kept = [Row(str(i), person, KEPT) for i, person in enumerate("baab")] + [Row("4", "c", KEPT)]
    assert list(count_people(kept, "abcd", 2).items()) == [("a", 2), ("b", 2)]
    assert capsys.readouterr().out.splitlines() == [
        "no id for 1 people without photos: d",
        "no id for 1 people of fewer than 2 photos: c",
    ]
    with pytest.raises(ValueError, match="no photos are left"):
        count_people(kept, "abcd", 3)


def test_lists_are_written_for_training_and_validation(tmp_path, capsys):
    targets = [tmp_path / "lists/train.txt", tmp_path / "lists/val.txt"]
    paths, people = [tmp_path / f"{i}.png" for i in range(6)], list("aabbcc")
    settings = {
        "cls_train_path": targets[0],
        "cls_val_path": targets[1],
        "val_share": 0.0,
        "val_split": "identity",
        "seed": 3,
        "absolute_paths": True,
    }
    write_lists(paths, people, settings)
    assert "6 images of 3 people" in capsys.readouterr().out and not targets[1].exists()
    write_lists(paths, people, {**settings, "val_share": 0.34, "absolute_paths": False})
    (train, labels), (held, held_labels) = (read_cls_txt(t, check_images=False) for t in targets)
    assert labels.tolist() == [0, 0, 1, 1] and held_labels.tolist() == [0, 0]
    assert len({*train, *held}) == 6
    assert targets[0].read_text().startswith("0;../")


def test_a_listed_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert listed("a/1.jpg", "lists", absolute=True) == str(tmp_path / "a/1.jpg")
    assert listed("a/1.jpg", "lists", absolute=False) == "../a/1.jpg"


def test_the_chart_is_drawn_beside_the_list(tmp_path, capsys):
    path = beside_list(tmp_path / "cls_train.txt", "images.png")
    assert path.name == "cls_train_images.png"
    draw_chart({"a": 2, "b": 5}, path)
    assert read_image(path).shape[1] > 400 and f"chart: {path}" in capsys.readouterr().out
