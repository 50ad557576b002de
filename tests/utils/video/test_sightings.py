import csv
from datetime import datetime

import numpy as np

from utils.gallery.index import UNKNOWN
from utils.video.recognizer import SeenFace
from utils.video.sightings import Sightings

NOWHERE = np.zeros(4, np.float32), np.zeros((5, 2), np.float32), 0.9
FAR = float("inf")


def face(track, name, distance=FAR):
    return SeenFace(track, name, distance, *NOWHERE)


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_hand_worked(tmp_path):
    seen = Sightings()
    seen.add([face(1, None), face(2, None)], 0.0)
    seen.add([face(1, "王伟", 0.9), face(2, None)], 0.5)
    seen.add([face(1, "王伟", 0.75)], 1.0)
    seen.add([], 1.5)
    seen.add([face(1, "王伟", 0.8)], 2.0)
    seen.add([face(1, UNKNOWN)], 2.5)
    seen.write(tmp_path / "new" / "seen.csv")
    assert table(tmp_path / "new" / "seen.csv") == [
        ["track", "name", "first", "last", "frames", "distance", "clock"],
        ["1", "王伟", "0.000", "2.000", "4", "0.75000", ""],
        ["2", "unknown", "0.000", "0.500", "2", "", ""],
        ["1", "unknown", "2.500", "2.500", "1", "", ""],
    ]


def test_nobody(tmp_path):
    Sightings().write(tmp_path / "a.csv")
    assert len(table(tmp_path / "a.csv")) == 1


def test_without_gallery_there_are_no_names(tmp_path):
    seen = Sightings()
    seen.add([face(1, None)], 0.0)
    seen.write(tmp_path / "a.csv", named=False)
    assert table(tmp_path / "a.csv")[1][1] == ""


def test_a_live_picture_has_a_clock(tmp_path):
    seen = Sightings(datetime(2024, 2, 28, 23, 59, 30))
    seen.add([face(1, "Ann", 0.5)], 45.25)
    seen.write(tmp_path / "a.csv")
    assert table(tmp_path / "a.csv")[1][-1] == "2024-02-29T00:00:15"
