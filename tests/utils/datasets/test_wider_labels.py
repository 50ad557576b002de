import numpy as np
import pytest

from utils.datasets.wider_labels import read_wider_labels, write_wider_labels


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


FACE = "10 20 30 40  11 21 0  12 22 1.0  13 23 0  14 24 0  15 25 0"
UNLABELLED = " ".join(["-1"] * 15)


def test_wider_labels_by_hand(tmp_path):
    text = (
        f"# a/first image.jpg\n{FACE} 0.8\n{FACE}\n1.5 2 3 4\n5 6 7 8 {UNLABELLED} 0.3\n"
        "# empty.jpg\n# /abs/last.jpg\n0 0 1 1\n"
    )
    first, empty, last = read_wider_labels(write(tmp_path / "label.txt", text))
    assert first.path == str(tmp_path / "a" / "first image.jpg")
    assert first.boxes.dtype == np.float32 and first.landmarks.dtype == np.float32
    expected = [[10, 20, 40, 60], [10, 20, 40, 60], [1.5, 2, 4.5, 6], [5, 6, 12, 14]]
    np.testing.assert_array_equal(first.boxes, expected)
    assert first.has_landmarks.tolist() == [True, True, False, False]
    points = [[11, 21], [12, 22], [13, 23], [14, 24], [15, 25]]
    np.testing.assert_array_equal(first.landmarks, [points, points, np.zeros((5, 2))] + [0 * np.array(points)])
    assert empty.boxes.shape == (0, 4) and empty.landmarks.shape == (0, 5, 2)
    assert empty.has_landmarks.shape == (0,) and empty.has_landmarks.dtype == bool
    assert last.path == "/abs/last.jpg" and len(last.boxes) == 1


def test_relative_paths_start_beside_the_labels_or_in_images(tmp_path):
    txt = write(tmp_path / "label.txt", "# a.jpg\n")
    assert read_wider_labels(txt)[0].path == str(tmp_path / "a.jpg")
    (tmp_path / "images").mkdir()
    assert read_wider_labels(txt)[0].path == str(tmp_path / "images" / "a.jpg")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no images are listed"),
        ("1 2 3 4\n", ":1: a face before any"),
        ("#  \n", ":1: '# relative/path.jpg' expected"),
        ("# a.jpg\n1 2 3\n", ":2: 3 numbers"),
        ("# a.jpg\n1 2 3 4\n\n1 2 x 4\n", ":4: not a number"),
        ("# a.jpg\n1 2 0 4\n", ":2: impossible face box x y w h = 1 2 0 4"),
        ("# a.jpg\n1 2 3 -4\n", ":2: impossible face box"),
        ("# a.jpg\n1 nan 3 4\n", ":2: impossible face box"),
        ("# a.jpg\n1 2 inf 4\n", ":2: impossible face box"),
        (f"# a.jpg\n{FACE.replace('15', 'nan')}\n", ":2: impossible face box"),
    ],
)
def test_wider_errors_name_file_and_line(tmp_path, text, message):
    txt = write(tmp_path / "label.txt", text)
    with pytest.raises(ValueError) as error:
        read_wider_labels(txt)
    assert str(error.value).startswith(str(txt)) and message in str(error.value)


def test_wider_problems_are_collected(tmp_path):
    text = "# a.jpg\n1 2 3 4\n1 2 0 4\n# b.jpg\n1 2 3 -4\n"
    problems = []
    first, second = read_wider_labels(write(tmp_path / "label.txt", text), problems=problems)
    assert len(first.boxes) == 1 and len(second.boxes) == 0
    assert [problem.split(": ")[0].rsplit(":", 1)[1] for problem in problems] == ["3", "5"]


def test_wider_round_trip_is_exact(tmp_path):
    rng = np.random.default_rng(0)
    corner = rng.uniform(-5, 2000, (50, 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + rng.uniform(0.01, 900, (50, 2))], 1).astype(np.float32)
    landmarks = rng.uniform(0, 2000, (50, 5, 2)).astype(np.float32)
    has_landmarks = rng.random(50) < 0.5
    landmarks[~has_landmarks] = 0
    none = (np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0, bool))
    txt = tmp_path / "label.txt"
    write_wider_labels(txt, [("é/1 .jpg", boxes, landmarks, has_landmarks), ("2.jpg", *none)])
    first, second = read_wider_labels(txt)
    assert (first.path, second.path) == (str(tmp_path / "é/1 .jpg"), str(tmp_path / "2.jpg"))
    np.testing.assert_array_equal(first.boxes, boxes)
    np.testing.assert_array_equal(first.landmarks, landmarks)
    np.testing.assert_array_equal(first.has_landmarks, has_landmarks)
    assert len(second.boxes) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["label.txt"]
