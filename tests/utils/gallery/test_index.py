import numpy as np
import pytest

from utils.faces.embeddings import unit_embeddings
from utils.gallery import index as module
from utils.gallery.index import UNKNOWN, FaceIndex


def on_circle(*degrees):
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def chord(degrees):
    return 2 * np.sin(np.radians(degrees) / 2)


@pytest.fixture
def index():
    names = np.array(["Ann", "", "Bob"], object)  # the id in the middle is free
    return FaceIndex(names, np.array([0, 2, 0, 2]), on_circle(0, 90, 20, 100))


def test_search(index):
    matches = index.search(on_circle(12, 94) * 5, 3)
    assert matches.names.tolist() == [["Ann", "Ann", "Bob"], ["Bob", "Bob", "Ann"]]
    expected = [[chord(8), chord(12), chord(78)], [chord(4), chord(6), chord(74)]]
    np.testing.assert_allclose(matches.distances, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "degrees, scoring, name, nearest, angle",
    [
        (24, "nearest", "Ann", "Ann", 4),
        (24, "mean", "Ann", "Ann", 14),
        (35, "nearest", "Ann", "Ann", 15),
        (35, "mean", UNKNOWN, "Ann", 25),
        (180, "nearest", UNKNOWN, "Bob", 80),
    ],
)
def test_identify(index, degrees, scoring, name, nearest, angle):
    (identity,) = index.identify(on_circle(degrees), chord(20), scoring)
    assert (identity.name, identity.nearest) == (name, nearest)
    assert identity.distance == pytest.approx(chord(angle), rel=1e-5)


def test_the_threshold_itself_is_unknown(index):
    distance = index.identify(on_circle(24), 2)[0].distance
    assert index.identify(on_circle(24), distance)[0].name == UNKNOWN


def test_nobody_is_known():
    (identity,) = FaceIndex.empty().identify(on_circle(24), 1.0)
    assert identity == type(identity)(UNKNOWN, float("inf"), UNKNOWN)
    assert FaceIndex.empty().identify(on_circle(24), 1.0, "mean") == [identity]
    assert FaceIndex.empty().search(on_circle(24), 3).names.shape == (1, 0)


def test_calibration_by_hand():
    # As strangers the faces are 70, 70, 80 and 90 degrees from the nearest of the other person,
    # and 10 or 20 from their own other one.
    index = FaceIndex(np.array(["Ann", "Bob"], object), np.array([0, 0, 1, 1]), on_circle(0, 20, 90, 100))
    strict = index.calibrate(far=0.0)
    assert strict.threshold == pytest.approx(chord(70), rel=1e-6)
    assert (strict.false_accepts, strict.true_accepts, strict.probes) == (0, 1, 4)
    half = index.calibrate(far=0.5)
    assert half.threshold == pytest.approx(chord(80), rel=1e-6)
    assert half.false_accepts == 0.5
    mean = index.calibrate(far=0.0, scoring="mean")
    assert mean.threshold == pytest.approx(chord(75), rel=1e-6)
    assert mean.true_accepts == 1


def test_true_accepts_by_hand():
    # Ann's faces are 30 degrees apart, Bob's 60, Cid has one. Strangers: 40, 70, 70, 50, 40.
    index = FaceIndex(
        np.array(["Ann", "Bob", "Cid"], object), np.array([0, 0, 1, 1, 2]), on_circle(30, 0, 100, 160, 210)
    )
    result = index.calibrate(far=0.0)
    assert result.threshold == pytest.approx(chord(50), rel=1e-6)
    assert result.true_accepts == 0.5
    assert result.people == 3


def test_one_photo_each_says_nothing_of_true_accepts():
    index = FaceIndex(np.array(["Ann", "Bob"], object), np.array([0, 1]), on_circle(0, 90))
    result = index.calibrate()
    assert np.isnan(result.true_accepts)
    assert "2 photos of 2 people" in result.note and "500 photos of 20 people" in result.note


@pytest.mark.parametrize("scoring", ["nearest", "mean"])
def test_calibrated_rate_holds_for_strangers(monkeypatch, scoring):
    monkeypatch.setattr(module, "_MOST_PROBES", 500)
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((400, 16))
    people = np.repeat(np.arange(400), 4)
    faces = unit_embeddings(centers[people] + 0.3 * rng.standard_normal((1600, 16)))
    known = people < 200
    index = FaceIndex(np.array([str(n) for n in range(200)], object), people[known], faces[known])
    result = index.calibrate(0.05, scoring)
    assert (result.note, result.probes) == ("", 500)
    assert result.false_accepts <= 0.05
    named = [identity.name for identity in index.identify(faces[~known], result.threshold, scoring)]
    assert 0.02 < np.mean(np.array(named) != UNKNOWN) < 0.09


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda i: i.search(np.ones((1, 3))), "length 3, 2 expected"),
        (lambda i: i.search(np.ones(2)), "must be"),
        (lambda i: i.identify(on_circle(0), 1, "median"), "'median' is not one of nearest, mean"),
        (lambda i: i.calibrate(1.5), "0 to 1"),
        (lambda i: FaceIndex.empty().calibrate(), "two people or more, there are 0"),
    ],
)
def test_refusals(index, call, message):
    with pytest.raises(ValueError, match=message):
        call(index)
