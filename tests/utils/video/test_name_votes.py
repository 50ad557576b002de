import numpy as np
import pytest

from utils.gallery.index import UNKNOWN, Identity
from utils.video.name_votes import TrackName

SAME = np.array([1.0, 0.0])
OTHER = np.array([0.0, 1.0])  # at distance 1.41
THRESHOLD = 1.0


def votes(text, name=None, face=SAME):
    """A: Ann, B: Bob, u: unknown; capitals are clear, small letters near the threshold."""
    name = name or TrackName(THRESHOLD)
    for letter in text:
        who = {"a": "Ann", "b": "Bob", "u": UNKNOWN}[letter.lower()]
        distance = 1.2 if letter == "u" else 0.5 if letter.isupper() else 0.9
        assert name.see(face)
        name.vote(Identity(who, distance, who))
    return name


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", None),
        ("A", "Ann"),
        ("a", None),
        ("aa", "Ann"),
        ("ab", None),
        ("aba", "Ann"),
        ("uuuuuuu", None),
        ("uuuuuuuu", UNKNOWN),
        ("uuuuuuuA", "Ann"),
        # changes
        ("A" + "BBB", "Ann"),
        ("A" + "b" * 4, "Ann"),
        ("A" + "b" * 4 + "a", "Ann"),
        ("uuuu" + "aa", "Ann"),
        ("A" + "b" * 5, "Bob"),
        ("A" + "u" * 28, "Ann"),
        ("A" + "u" * 29, UNKNOWN),
        ("A" + "uuaa" * 20, "Ann"),
        ("A" + "u" * 29 + "BB", "Bob"),
        ("u" * 8 + "B", UNKNOWN),
        ("u" * 8 + "BuBuB", UNKNOWN),
        ("u" * 8 + "BB", "Bob"),
        ("u" * 8 + "bbbb", UNKNOWN),
        ("u" * 8 + "bbbbb", "Bob"),
        ("u" * 8 + "ababababab", UNKNOWN),
    ],
)
def test_names(text, expected):
    assert votes(text).name == expected


def test_no_flicker():
    # Alternating votes: one name, and it stays.
    assert votes("ABABABABABABABABABABABAB").changes == 0
    name = votes("aaa" + "uuab" * 20)
    assert (name.name, name.changes) == ("Ann", 0)
    assert votes("A" + "b" * 20).changes == 1


def test_distance_is_that_of_the_name():
    name = votes("Aabu")
    assert (name.name, name.distance) == ("Ann", 0.9)
    assert votes("uu").distance == float("inf")


def test_open_while_it_matters():
    assert votes("").open and votes("a").open and votes("Ab").open
    assert not votes("A").open and not votes("Au").open and not votes("u" * 8).open


def test_somebody_else_takes_the_place():
    name = votes("AAA")
    for looks in (1, 2, 3):
        assert not name.see(OTHER) and name.open
        assert name.is_another is (looks == 3)
    np.testing.assert_array_equal(name.embedding, SAME)


def test_one_odd_face_is_forgotten():
    name = votes("AAA")
    for _ in range(5):
        assert not name.see(OTHER)
        votes("A", name)
    assert (name.name, name.open, name.is_another) == ("Ann", False, False)


def test_mean_of_the_looks():
    # Plain at first, then the latest look has a fifth.
    name, angles = TrackName(THRESHOLD), np.array([0.0, 0.2, 0.4, 0.3, 0.1, 0.5])
    looks = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for look in looks:
        assert name.see(look)
    mean = 0.8 * looks[:5].mean(axis=0) + 0.2 * looks[5]
    np.testing.assert_allclose(name.embedding, mean / np.linalg.norm(mean))


@pytest.mark.parametrize("distance, kept", [(1.1, True), (1.2, False)])
def test_who_has_a_name_keeps_it_a_little_beyond_the_threshold(distance, kept):
    name = votes("aaa")
    for _ in range(60):
        name.see(SAME)
        name.vote(Identity(UNKNOWN, distance, "Ann"))
    assert (name.name == "Ann") is kept and name.changes == (not kept)


def test_who_has_none_does_not_get_it_there():
    name = TrackName(THRESHOLD)
    for _ in range(20):
        name.see(SAME)
        name.vote(Identity(UNKNOWN, 1.05, "Ann"))
    assert name.name == UNKNOWN


def test_unknown_waits_while_the_look_changes():
    name = TrackName(THRESHOLD)
    for i in range(40):
        name.see(SAME, changed=i % 5 == 0)
        name.vote(Identity(UNKNOWN, 1.3, "Ann"))
    assert name.name is None


def turn(name, looks, end=np.pi / 2):
    """Turns the face into another in so many looks; returns whether that is noticed."""
    for angle in np.linspace(0, end, looks):
        name.see(np.array([np.cos(angle), np.sin(angle)]), changed=True)
    for _ in range(3):
        name.see(np.array([np.cos(end), np.sin(end)]))
    return name.is_another


def test_one_face_fades_into_another():
    assert turn(votes("A" * 60), 15)


def test_slow_change_is_the_same_face():
    name = votes("A")
    for angle in np.linspace(0, 1.5, 40):
        votes("a", name, np.array([np.cos(angle), np.sin(angle)]))
    assert name.name == "Ann"
