import os
import pickle

import numpy as np
import pytest

from tests.shared import need
from utils.evaluation.lfw_pairs import Pair, PairSet, check_pairs, find_images, load_pairs, read_packed, read_pairs

SMALL = "2\t1\nZoë Ünal\t1\t2\nZoë Ünal\t1\tAnn\t3\nAnn 1 2\nAnn 2 Bob 12\n"


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def test_read_pairs_with_tabs_spaces_and_other_scripts(tmp_path):
    assert read_pairs(write(tmp_path / "pairs.txt", SMALL)) == [
        Pair("Zoë Ünal_0001", "Zoë Ünal_0002", True, 0),
        Pair("Zoë Ünal_0001", "Ann_0003", False, 0),
        Pair("Ann_0001", "Ann_0002", True, 1),
        Pair("Ann_0002", "Bob_0012", False, 1),
    ]


@pytest.mark.parametrize(
    "text", ["\ufeff1 1\r\nA 1 2\r\nA 1 B 1\r\n", "1\nA 1 2\n\nA 1 B 1", "1 1\nA\t1\t2\nA 1 B 1\n\n"]
)
def test_read_pairs_forgives(tmp_path, text):
    pairs = read_pairs(write(tmp_path / "pairs.txt", text))
    assert pairs == [Pair("A_0001", "A_0002", True, 0), Pair("A_0001", "B_0001", False, 0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"pairs\.txt:1: expected `<folds> <pairs per kind>`"),
        ("A 1 2\nA 1 B 1\n", r"pairs\.txt:1: .* got 'A 1 2'"),
        ("10 0\n", r"pairs\.txt:1:"),
        ("1 1\nA 1\nA 1 B 1\n", r"pairs\.txt:2: expected `name n1 n2`"),
        ("1 1\nA 1 2\nA 1 B 1 C\n", r"pairs\.txt:3: expected `name n1 n2`"),
        ("1 1\nA 1 2\nA one B 1\n", r"pairs\.txt:3: expected names and whole image numbers"),
        ("1 1\nA 1 -2\nA 1 B 1\n", r"pairs\.txt:2: expected names and whole"),
        ("1 1\n\t1\t2\nA 1 B 1\n", r"pairs\.txt:2: expected names and whole"),
        ("1 2\nA 1 2\nA 1 B 1\n", r"promises 4 pairs .* found 2"),
    ],
)
def test_read_pairs_refuses(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_pairs(write(tmp_path / "pairs.txt", text))
    assert "\n" not in str(caught.value)


def test_read_pairs_refuses_other_encodings(tmp_path):
    with pytest.raises(ValueError, match=r"pairs\.txt: not UTF-8"):
        read_pairs(write(tmp_path / "pairs.txt", SMALL, "latin-1"))


def test_official_pairs_and_images():
    root = need("data/lfw/images")
    pairs = read_pairs(need("data/lfw/pairs.txt"))
    assert len(pairs) == 6000
    for fold in range(10):
        kinds = [pair.same for pair in pairs if pair.fold == fold]
        assert kinds == [True] * 300 + [False] * 300
    found = find_images(root, pairs)
    assert (len(found.images), len(found.skipped)) == (7701, 0)
    assert found.indices.shape == (6000, 2) and found.labels.sum() == 3000
    first, last = found.indices[0], found.indices[-1]
    assert [found.images[i].name for i in first] == ["Abel_Pacheco_0001.jpg", "Abel_Pacheco_0004.jpg"]
    assert found.images[last[1]].stem == pairs[-1].second


def test_find_images_skips_pairs_and_says_why(tmp_path):
    for name, file in [
        ("Zoë Ünal", "Zoë Ünal_0001.png"),
        ("Zoë Ünal", "Zoë Ünal_0002.jpeg"),
        ("Ann", "Ann_0001.jpg"),
        ("Ann", "Ann_0001.png"),
        ("Ann", "Ann_0002.jpg"),
    ]:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / file).touch()
    pairs = read_pairs(write(tmp_path / "pairs.txt", SMALL))
    found = find_images(tmp_path, pairs)
    assert [path.name for path in found.images] == [
        "Zoë Ünal_0001.png",
        "Zoë Ünal_0002.jpeg",
        "Ann_0001.jpg",
        "Ann_0002.jpg",
    ]
    assert found.indices.tolist() == [[0, 1], [2, 3]]
    assert (found.labels.tolist(), found.folds.tolist()) == ([True, True], [0, 1])
    assert [pair for pair, _ in found.skipped] == ["Zoë Ünal_0001 | Ann_0003", "Ann_0002 | Bob_0012"]
    assert "image of Ann_0003 in" in found.skipped[0][1]
    assert "image of Bob_0012 in" in found.skipped[1][1]


def test_find_images_refuses_a_wrong_folder(tmp_path):
    pairs = read_pairs(write(tmp_path / "pairs.txt", SMALL))
    with pytest.raises(ValueError, match="not a folder"):
        find_images(tmp_path / "nowhere", pairs)
    with pytest.raises(ValueError, match="no pair has both its images"):
        find_images(tmp_path, pairs)


IMAGES = [b"\xff\xd8one", b"\xff\xd8two", b"\x89PNG\x00three", b"\xff\xd8four"]
LABELS = [True, False]

# Written by Python 2 (cPickle, protocol 2): byte strings are SHORT_BINSTRING ("U").
PYTHON_2 = b"\x80\x02]q\x01(U\x03abcq\x02U\x02\xff\xd8q\x03e]q\x04\x88a\x86q\x05."
PYTHON_2_ARRAYS = (
    b"\x80\x02](cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b"
    b"\x87R(K\x01K\x03\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK\x00tb\x89U\x03abctbU\x02\xff\xd8e]K\x01a\x86."
)


def pack(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_read_packed_bytes(tmp_path, protocol):
    images, labels = read_packed(pack(tmp_path / "lfw.bin", (IMAGES, LABELS), protocol))
    assert images == IMAGES
    assert labels.dtype == bool and labels.tolist() == LABELS


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("labels", [np.array(LABELS), [np.bool_(label) for label in LABELS], [1, 0]])
def test_read_packed_numpy(tmp_path, protocol, labels):
    arrays = [np.frombuffer(image, np.uint8) for image in IMAGES]
    images, found = read_packed(pack(tmp_path / "lfw.bin", [arrays, labels], protocol))
    assert images == IMAGES
    assert found.tolist() == LABELS


@pytest.mark.parametrize("content", [PYTHON_2, PYTHON_2_ARRAYS])
def test_read_packed_from_python_2(tmp_path, content):
    (tmp_path / "lfw.bin").write_bytes(content)
    images, labels = read_packed(tmp_path / "lfw.bin")
    assert (images, labels.tolist()) == ([b"abc", b"\xff\xd8"], [True])


class Attack:
    """Unpickles by calling what it was given."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(("function", "name"), [(os.mkdir, "mkdir"), (eval, "eval"), (getattr, "getattr")])
def test_a_hostile_pickle_does_not_run(tmp_path, protocol, function, name):
    target = tmp_path / "made"
    arguments = {
        "mkdir": [str(target)],
        "eval": [f"__import__('os').mkdir({str(target)!r})"],
        "getattr": [IMAGES, "append"],
    }[name]
    path = pack(tmp_path / "evil.bin", (IMAGES, [Attack(function, *arguments), True]), protocol)
    with pytest.raises(ValueError, match=rf"evil\.bin: not a packed .* asks for \w+\.{name}, refused"):
        read_packed(path)
    assert not target.exists()


def test_a_codec_other_than_latin_1_is_refused(tmp_path):
    evil = b"\x80\x02](c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86Re]\x86."
    (tmp_path / "evil.bin").write_bytes(evil)
    with pytest.raises(ValueError, match="rot13"):
        read_packed(tmp_path / "evil.bin")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (IMAGES, "expected \\(images, labels\\)"),
        ((IMAGES, [True]), "4 images and 1 labels"),
        (([], []), "0 images and 0 labels"),
        ((IMAGES[:3] + [7], LABELS), "not encoded bytes"),
        ((IMAGES[:3] + [b""], LABELS), "not encoded bytes"),
        ((IMAGES, [True, 2]), "labels must be booleans"),
        ((IMAGES, [True, "no"]), "labels must be booleans"),
        ((IMAGES[:3] + [np.ones((2, 2), np.uint8)], LABELS), "one-dimensional uint8"),
        ((IMAGES[:3] + [np.ones(2)], LABELS), "one-dimensional uint8"),
        ((IMAGES[:3] + [np.array([None])], LABELS), "one-dimensional uint8"),
        ((IMAGES, [np.int64(1), True]), "label of NumPy type"),
    ],
)
def test_read_packed_refuses_other_content(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_packed(pack(tmp_path / "bad.bin", content))
    assert "bad.bin: " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 a photo", pickle.dumps((IMAGES, LABELS))[:-9], b"U\xffab"])
def test_read_packed_refuses_other_files(tmp_path, content):
    (tmp_path / "bad.bin").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.bin: not a packed pair file"):
        read_packed(tmp_path / "bad.bin")


def lfw_folder(tmp_path, *photos):
    for name, number in photos:
        (tmp_path / "lfw" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "lfw" / name / f"{name}_{number:04d}.jpg").touch()
    return tmp_path / "lfw", write(tmp_path / "pairs.txt", "2 1\nA 1 2\nA 1 B 1\nA 1 3\nA 2 B 1\n")


def test_load_pairs_of_a_folder(tmp_path):
    folder, pairs_path = lfw_folder(tmp_path, ("A", 1), ("A", 2), ("B", 1))
    pairs = load_pairs(folder, pairs_path)
    assert pairs.name == f"LFW in {folder}"
    assert load_pairs(folder, pairs_path, name="LFW").name == "LFW"
    assert pairs.names == ["A_0001", "A_0002", "B_0001"]
    assert pairs.indices.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert pairs.labels.tolist() == [True, False, False] and pairs.folds.tolist() == [0, 0, 1]
    ((pair, reason),) = pairs.skipped
    assert pair == "A_0001 | A_0003" and "A_0003" in reason


def test_load_pairs_of_a_packed_set_makes_ten_folds(tmp_path):
    path = tmp_path / "set.bin"
    images = [bytes([i + 1]) for i in range(40)]
    path.write_bytes(pickle.dumps((images, [True, False] * 10)))
    pairs = load_pairs("nowhere", "nowhere.txt", path)
    assert pairs.name == str(path) and pairs.images == images
    assert pairs.names[3] == "image 3 of set.bin"
    assert pairs.indices[:2].tolist() == [[0, 1], [2, 3]] and not pairs.skipped
    assert np.bincount(pairs.folds).tolist() == [2] * 10


def test_load_pairs_needs_a_list(tmp_path):
    with pytest.raises(ValueError, match="nowhere.txt: lfw_pairs_path is no file"):
        load_pairs(tmp_path, "nowhere.txt")


def pair_set(folds=(0, 0, 1)):
    return PairSet(
        "set",
        images=[b"a", b"b", b"c"],
        names=["a", "b", "c"],
        indices=np.array([[0, 1], [0, 2], [1, 2]]),
        labels=np.array([True, False, False]),
        folds=np.array(folds),
        skipped=[("x | y", "lost")],
    )


def test_without_leaves_out_the_pairs_of_an_image_and_says_why():
    left = pair_set().without({1: "damaged"})
    assert left.indices.tolist() == [[0, 2]] and left.labels.tolist() == [False]
    assert left.folds.tolist() == [0]
    assert left.skipped == [("x | y", "lost"), ("a | b", "damaged"), ("b | c", "damaged")]
    assert len(pair_set().without({}).labels) == 3


@pytest.mark.parametrize(
    ("pairs", "max_missing", "message"),
    [
        (pair_set((4, 4, 4)), 1.0, "set: its pairs are in one fold"),
        (pair_set(), 0.2, r"1 of 4 pairs .* max_missing 0\.2; the first is x \| y: lost"),
    ],
)
def test_check_pairs(pairs, max_missing, message):
    check_pairs(pair_set(), 0.25)
    with pytest.raises(ValueError, match=message):
        check_pairs(pairs, max_missing)
