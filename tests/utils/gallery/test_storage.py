import json

import h5py
import numpy as np
import pytest

from utils.gallery import storage
from utils.gallery.records import ROW, Records, count_people
from utils.gallery.storage import GalleryError, read, read_people, write


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gallery.h5"


def sample(count=600):
    rows = np.zeros(count, ROW)
    rows["faces"], rows["digest"][:, 0] = 2, 7
    embeddings = np.random.default_rng(0).standard_normal((count, 8)).astype(np.float32)
    people = ["Ann" if number % 3 else "Bøb 张" for number in range(count)]
    records = Records({"weights": "aa"}).added(people, rows, embeddings)
    return records.with_rejected({b"r" * 16: 0, b"\0" * 15 + b"s": 3})


def assert_equal(found, expected):
    assert (found.identity, found.rejected) == (expected.identity, expected.rejected)
    assert list(found.names) == list(expected.names)
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.embeddings, expected.embeddings)


@pytest.mark.parametrize("count", [1, 255, 256, 257, 600])
def test_round_trip(path, count):
    write(path, sample(count))
    assert_equal(read(path), sample(count))


def test_round_trip_of_no_embeddings(path):
    empty = sample(3).without(np.arange(3))
    write(path, empty)
    assert read(path).embeddings.shape == (0, 8) and list(read(path).names) == []


def test_people_without_the_embeddings(path):
    write(path, sample())
    assert read_people(path) == ({"weights": "aa"}, {"Ann": 400, "Bøb 张": 200})


def write_in_place(path, records, free):
    """Writes a gallery as earlier releases left it: room for more rows, people without a name."""
    text = h5py.string_dtype("utf-8", 128)
    names = [*records.names, *[""] * free]
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        for name, values, chunk in (
            ("people", np.array([name.encode() for name in names], text), 64),
            ("rows", records.rows, 512),
            ("embeddings", records.embeddings, 128),
            ("rejected", np.zeros(0, storage._REJECTED), 128),
        ):
            tail, more = values.shape[1:], 0 if name in ("people", "rejected") else free
            dataset = file.create_dataset(
                name,
                (len(values) + more, *tail),
                values.dtype,
                chunks=(chunk, *tail),
                maxshape=(None, *tail),
                fletcher32=True,
            )
            dataset[: len(values)] = values
        file.attrs["format"], file.attrs["version"] = "faces gallery", 1
        file.attrs["model"], file.attrs["count"] = json.dumps(records.identity), len(records.rows)


def test_galleries_of_earlier_releases_open(path):
    expected = sample().with_rejected({})
    write_in_place(path, expected, free=40)
    assert_equal(read(path), expected)
    assert read_people(path)[1] == {"Ann": 400, "Bøb 张": 200}
    write(path, read(path))
    assert_equal(read(path), expected)


def test_an_unfinished_change_of_an_earlier_release_is_refused(path):
    write(path, sample())
    path.with_name("gallery.h5.journal").write_bytes(b"FACESJ1")
    with pytest.raises(GalleryError, match=r"gallery.h5: an earlier release .*open .* once"):
        read(path)


def change(name, value):
    def apply(file):
        file.attrs[name] = value

    return apply


@pytest.mark.parametrize(
    "damage, message",
    [
        (change("format", "something"), "not a gallery of this project"),
        (change("version", 2), "has layout 2, this version knows layouts up to 1: update it"),
        (change("count", 601), "damaged, or not a gallery .its parts do not fit"),
        (change("count", -1), "damaged, or not a gallery .its parts do not fit"),
        (change("model", "{"), "damaged, or not a gallery"),
        (lambda file: file.__delitem__("people"), "damaged, or not a gallery"),
        (lambda file: file["people"].resize((1,)), "damaged, or not a gallery .*of nobody"),
    ],
)
def test_what_is_refused(path, damage, message):
    write(path, sample())
    with h5py.File(path, "r+") as file:
        damage(file)
    for reader in (read, read_people):
        with pytest.raises(GalleryError, match=f"gallery.h5: .*{message}") as raised:
            reader(path)
        assert "\n" not in str(raised.value)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(GalleryError, match="cannot be written"):
        with storage.writing(tmp_path / "file" / "gallery.h5", 1):
            pass


def test_the_order_of_names_does_not_matter(path):
    write(path, sample(3).given_to(["Zoe", "Zoe"], np.array([1, 2])))
    found = read(path)
    assert count_people(found.names, found.rows) == {"Bøb 张": 1, "Zoe": 2}
