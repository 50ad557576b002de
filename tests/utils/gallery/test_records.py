import numpy as np
import pytest

from utils.gallery.records import ROW, Records, count_people


@pytest.fixture
def records():
    """Ann, Bob, Ann; their embeddings are the rows of the unit matrix."""
    empty = Records({"weights": "aa"})
    return empty.added(["Ann", "Bob", "Ann"], np.zeros(3, ROW), np.eye(3, dtype=np.float32))


def people(records):
    return count_people(records.names, records.rows)


def test_added(records):
    more = records.added(["Bob", "Cid"], np.zeros(2, ROW), np.eye(3, dtype=np.float32)[:2])
    assert people(more) == {"Ann": 2, "Bob": 2, "Cid": 1}
    assert more.of("Bob").tolist() == [1, 3]
    np.testing.assert_array_equal(more.embeddings[more.of("Cid")], [[0, 1, 0]])
    assert people(records) == {"Ann": 2, "Bob": 1}, "the records themselves do not change"


def test_without(records):
    fewer = records.without(np.array([0]))
    assert people(fewer) == {"Ann": 1, "Bob": 1}
    np.testing.assert_array_equal(fewer.embeddings, np.eye(3)[1:])
    assert len(records.without(records.of("Ann")).of("Ann")) == 0


def test_given_to(records):
    moved = records.given_to(["Bob", "Cid"], np.array([2, 0]))
    assert [moved.names[number] for number in moved.rows["person"]] == ["Cid", "Bob", "Bob"]
    assert people(records) == {"Ann": 2, "Bob": 1}


def test_nothing_to_change_gives_the_same_object(records):
    assert records.without(np.zeros(0, int)) is records
    assert records.given_to(["Bob"], np.array([1])) is records
    assert records.given_to([], np.zeros(0, int)) is records
    assert records.with_rejected({}) is records
    assert records.compact() is records
    assert records.with_rejected({b"a": 2}).rejected == {b"a": 2}


def test_compact_forgets_people_without_embeddings(records):
    renamed = records.given_to(["Zoe", "Zoe"], records.of("Ann"))
    assert list(renamed.names) == ["Ann", "Bob", "Zoe"]
    compact = renamed.compact()
    assert compact.names == ["Bob", "Zoe"] and compact.rows["person"].tolist() == [1, 0, 1]


def test_nobody(records):
    assert len(records.of("Eve")) == len(Records({}).of("")) == 0
