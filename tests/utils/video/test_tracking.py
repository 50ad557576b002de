import numpy as np
import pytest

from utils.faces.detections import Detections
from utils.video.tracking import Tracker


def faces(*lefts, size=40.0, top=100.0):
    """Faces of one size, side by side; landmarks in the middle of each."""
    boxes = np.array([[x, top, x + size, top + size] for x in lefts]).reshape(-1, 4)
    points = np.repeat(boxes[:, None, :2] + size / 2, 5, axis=1)
    return Detections(boxes, np.full(len(boxes), 0.9), points)


def numbers(tracks):
    return [track.id for track in tracks]


def test_numbers_follow_the_faces_whatever_their_order():
    tracker = Tracker()
    assert numbers(tracker.update(faces(0, 100, 200), 0.0)) == [1, 2, 3]
    assert numbers(tracker.update(faces(204, 4, 104), 0.04)) == [3, 1, 2]
    assert numbers(tracker.update(faces(), 0.08)) == []
    assert numbers(tracker.update(faces(108, 500), 0.12)) == [2, 4]


def test_all_overlaps_count_together():
    # Greedy would give the face at 12 to the track at 10, and lose the other.
    tracker = Tracker()
    tracker.update(faces(10, 30), 0.0)
    assert numbers(tracker.update(faces(-4, 14), 0.04)) == [1, 2]


@pytest.mark.parametrize("gap, same", [(0.9, True), (1.1, False)])
def test_memory(gap, same):
    tracker = Tracker(memory=1.0)
    tracker.update(faces(50), 0.0)
    tracker.update(faces(), 0.04)
    assert (numbers(tracker.update(faces(50), gap)) == [1]) is same


@pytest.mark.parametrize("memory", [0.0, 1.0])
def test_a_face_that_each_detection_sees_is_one_however_rare_they_are(memory):
    tracker = Tracker(memory=memory)
    seen = [numbers(tracker.update(faces(50), 1.5 * i)) for i in range(4)]
    assert seen == [[1]] * 4


@pytest.mark.parametrize("step, same", [(20, True), (30, False)])
def test_least_overlap(step, same):
    # Squares of side 40, moved by 20: IoU 20 / 60; by 30: 10 / 70.
    tracker = Tracker()
    tracker.update(faces(0), 0.0)
    assert (numbers(tracker.update(faces(step), 0.04)) == [1]) is same


def test_a_face_that_moves_is_found_further_on():
    # 300 pixels a second: at rest the tracks would not overlap, a fifth of a second later.
    tracker = Tracker()
    for i in range(10):
        tracker.update(faces(12 * i), 0.04 * i)
    (track,) = tracker.tracks
    tracker.move(0.36 + 0.2)
    np.testing.assert_allclose(track.box, [168, 100, 208, 140], atol=3)
    np.testing.assert_allclose(track.landmarks, track.box[:2] + 20 + np.zeros((5, 2)), atol=0.01)
    assert numbers(tracker.update(faces(168), 0.56)) == [1]


def test_nobody_runs_away_unseen():
    tracker = Tracker(memory=100)
    for i in range(10):
        tracker.update(faces(12 * i), 0.04 * i)
    tracker.move(50.0)
    assert tracker.tracks[0].box[0] < 108 + 0.3 * 300 + 5


def test_noise_is_smoothed():
    rng, tracker = np.random.default_rng(0), Tracker()
    noise, shown = rng.normal(0, 2, 200), []
    for i, error in enumerate(noise):
        (track,) = tracker.update(faces(100 + error), 0.04 * i)
        shown.append(track.box[0])
    assert np.std(np.diff(shown)) < 0.9 * np.std(np.diff(noise))
    assert abs(np.mean(shown) - 100) < 0.5


def test_missed_and_hits():
    tracker = Tracker()
    tracker.update(faces(0, 100), 0.0)
    tracker.update(faces(0), 0.04)
    tracker.update(faces(0), 0.08)
    assert [(t.hits, t.missed) for t in tracker.tracks] == [(3, 0), (1, 2)]


def test_renumbered_tracks_get_new_numbers():
    tracker = Tracker()
    (first, _) = tracker.update(faces(0, 100), 0.0)
    tracker.renumber(first)
    assert numbers(tracker.update(faces(0, 100, 200), 0.04)) == [3, 2, 4]


def test_boxes_without_area():
    tracker = Tracker()
    flat = faces(10, size=0.0)
    tracker.update(flat, 0.0)
    assert np.isfinite(tracker.update(flat, 0.04)[0].landmarks).all()
