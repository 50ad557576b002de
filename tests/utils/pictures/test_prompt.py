from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils.images.image_files import read_image
from utils.pictures.prompt import ask, finish, one_folder, photo_groups, sample

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = ["img/1_001.jpg", "img/1_002.jpg"]


@pytest.fixture(autouse=True)
def project(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def answers(monkeypatch):
    """Somebody at a terminal who gives these answers; returns the questions."""

    def sit_down(*lines):
        lines, questions = iter(lines), []

        def answer(question):
            questions.append(question)
            try:
                return str(next(lines))
            except StopIteration:
                raise EOFError from None

        monkeypatch.delenv("CI", raising=False)
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", answer)
        return questions

    return sit_down


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (4, 4)).save(path)
    return path


def test_given_paths_are_grouped():
    groups = photo_groups(["a", "b", "c", "d"], 2, SAMPLES, "mode verify")
    assert list(groups) == [[Path("a"), Path("b")], [Path("c"), Path("d")]]


def test_a_group_must_be_whole():
    with pytest.raises(ValueError, match="^mode verify takes 2 photos, 3 given$"):
        next(photo_groups(["a", "b", "c"], 2, SAMPLES, "mode verify"))


def test_nobody_there_takes_the_samples_once(monkeypatch, capsys):
    monkeypatch.setenv("CI", "1")
    assert list(photo_groups([], 2, SAMPLES, "mode verify")) == [list(map(Path, SAMPLES))]
    assert capsys.readouterr().out == "no photos given: img/1_001.jpg, img/1_002.jpg\n"


def test_samples_are_found_from_any_folder(monkeypatch, tmp_path):
    assert sample("img/group.jpg") == Path("img/group.jpg")
    monkeypatch.chdir(tmp_path)
    assert sample("img/group.jpg") == ROOT / "img" / "group.jpg"
    monkeypatch.setenv("CI", "1")
    assert list(photo_groups([], 2, SAMPLES, "mode verify")) == [[ROOT / p for p in SAMPLES]]


def test_asks_until_an_empty_answer(answers, photo):
    questions = answers(photo, photo, "")
    assert list(photo_groups([], 1, SAMPLES[:1], "mode detect")) == [[photo], [photo]]
    assert questions[0] == "Photo (Enter for img/1_001.jpg): "
    assert questions[1:] == ["Photo (Enter to end): "] * 2


def test_asks_once_without_repeat(answers, photo):
    questions = answers(photo, photo)
    assert list(photo_groups([], 1, SAMPLES[:1], "mode fps", repeat=False)) == [[photo]]
    assert len(questions) == 1


def test_ask_names_a_bad_path_and_asks_again(answers, photo, capsys):
    questions = answers("nowhere.png", f'"{photo}"', photo)
    assert ask(2, "Enter to end") == [photo, photo]
    assert "nowhere.png: no such file" in capsys.readouterr().out
    assert questions[-1] == "Photo 2: "


def test_ask_wants_all_or_none(answers, photo):
    answers()
    assert ask(2, "Enter to end") is None
    answers(photo)
    with pytest.raises(ValueError, match="^2 photos needed, 1 given$"):
        ask(2, "Enter to end")


def test_one_folder():
    assert one_folder([], "gallery", "mode encode") == Path("gallery")
    assert one_folder(["people"], "gallery", "mode encode") == Path("people")
    with pytest.raises(ValueError, match="^mode encode takes one folder, 2 given$"):
        one_folder(["people", "others"], "gallery", "mode encode")


def test_finish_saves_and_says_where(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CI", "1")
    picture = np.full((8, 8, 3), 200, np.uint8)
    finish(picture, "a.png", tmp_path / "new")
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png"), picture)
    assert capsys.readouterr().out == f"  picture: {tmp_path / 'new' / 'a.png'}\n"
