import numpy as np
import pytest

from utils.datasets.wider_labels import (
    AnnotationError,
    read_cls_txt,
    read_wider_labels,
    split_by_identity,
    split_by_image,
    write_cls_txt,
    write_wider_labels,
)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


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
    assert list(paths) == [
        str(absolute),
        str(tmp_path / "lists" / "both.jpg"),
        "only here.jpg",
        str(absolute),
    ]


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
    with pytest.raises(AnnotationError) as error:
        read_cls_txt(txt)
    assert message in str(error.value) and str(error.value).startswith(str(txt))


def test_cls_txt_that_is_no_text_or_no_file(tmp_path):
    with pytest.raises(AnnotationError, match="no such file"):
        read_cls_txt(tmp_path / "none.txt")
    (tmp_path / "image.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(AnnotationError, match="not UTF-8"):
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
    np.testing.assert_array_equal(
        first.landmarks, [points, points, np.zeros((5, 2))] + [0 * np.array(points)]
    )
    assert empty.boxes.shape == (0, 4) and empty.landmarks.shape == (0, 5, 2)
    assert empty.has_landmarks.shape == (0,) and empty.has_landmarks.dtype == bool
    assert last.path == "/abs/last.jpg" and len(last.boxes) == 1


def test_wider_image_root(tmp_path):
    txt = write(tmp_path / "label.txt", "# a.jpg\n")
    assert read_wider_labels(txt)[0].path == str(tmp_path / "a.jpg")
    assert read_wider_labels(txt, "/data")[0].path == "/data/a.jpg"
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
    with pytest.raises(AnnotationError) as error:
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
    first, second = read_wider_labels(txt, "")
    assert (first.path, second.path) == ("é/1 .jpg", "2.jpg")
    np.testing.assert_array_equal(first.boxes, boxes)
    np.testing.assert_array_equal(first.landmarks, landmarks)
    np.testing.assert_array_equal(first.has_landmarks, has_landmarks)
    assert len(second.boxes) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["label.txt"]


LABELS = np.repeat([7, 3, 0, 9, 12], [1, 2, 10, 5, 30])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("split", [split_by_identity, split_by_image])
def test_splits_are_partitions_that_the_seed_decides(split, share):
    kept, held = split(LABELS, share, seed=1)
    assert sorted([*kept, *held]) == list(range(len(LABELS)))
    assert np.array_equal(split(LABELS, share, seed=1)[1], held)
    assert share > 0 or len(held) == 0


def test_split_by_identity_parts_people():
    kept, held = split_by_identity(LABELS, 0.4, seed=0)
    assert not set(LABELS[kept]) & set(LABELS[held])
    assert len(set(LABELS[held])) == 2
    assert any(
        set(LABELS[split_by_identity(LABELS, 0.4, s)[1]]) != set(LABELS[held]) for s in (1, 2)
    )
    assert len(set(LABELS[split_by_identity(LABELS, 0.01, 0)[1]])) == 1
    with pytest.raises(ValueError, match="two are needed"):
        split_by_identity([1, 1], 0.5, 0)


def test_split_by_image_takes_each_persons_share():
    labels = np.repeat(np.arange(2000), 4)
    _, held = split_by_image(labels, 0.1, seed=0)
    assert set(np.bincount(labels[held], minlength=2000)) == {0, 1}
    assert abs(len(held) / len(labels) - 0.1) < 0.01
    kept, held = split_by_image(LABELS, 0.5, seed=3)
    assert set(LABELS[kept]) == set(LABELS)
    assert np.count_nonzero(LABELS[held] == 12) == 15
    # Which image goes does not depend on its place in the list.
    places = np.concatenate([split_by_image(np.zeros(10), 0.1, seed=s)[1] for s in range(40)])
    assert len(set(places)) > 6


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_splits_refuse_impossible_shares(share):
    for split in (split_by_identity, split_by_image):
        with pytest.raises(ValueError, match="share"):
            split(LABELS, share, 0)


def test_empty_splits():
    for split in (split_by_identity, split_by_image):
        kept, held = split(np.array([], int), 0.0, 0)
        assert len(kept) == len(held) == 0
