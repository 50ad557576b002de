import json
import os

import pytest

from utils.faces.detections import Detections
from utils.faces.face_table import records, write_csv, write_detections_csv, write_json
from utils.faces.photo_stream import Photo

FACES = Detections([[1, 2, 3.126, 4], [5, 6, 7, 8]], [0.87654, 0.5], [[[0, 0]] * 5] * 2)
RECORD = {"file": "安.jpg", "face": 1, "box": [1, 2, 3.13, 4], "score": 0.8765}


def test_records():
    first, second = records(Photo("安.jpg", faces=FACES))
    assert first == RECORD and second["face"] == 2 and second["box"] == [5, 6, 7, 8]
    assert records(Photo("a.jpg", faces=Detections.empty())) == []


def test_csv_has_the_columns_asked_for(tmp_path):
    path = tmp_path / "new/faces.csv"
    write_csv(path, [{**RECORD, "name": 'A, "B"', "more": 1, "group": None}], ["name", "group"])
    assert path.read_text(encoding="utf-8").splitlines() == [
        "file,face,x1,y1,x2,y2,score,name,group",
        '安.jpg,1,1,2,3.13,4,0.8765,"A, ""B""",',
    ]
    write_csv(path, [], [])
    assert path.read_text(encoding="utf-8").splitlines() == ["file,face,x1,y1,x2,y2,score"]


def test_json_round_trip(tmp_path):
    write_json(tmp_path / "faces.json", [RECORD])
    text = (tmp_path / "faces.json").read_text(encoding="utf-8")
    assert json.loads(text) == [RECORD] and "安" in text


def test_a_file_name_that_is_no_text_does_not_cost_the_table(tmp_path):
    bad = {**RECORD, "file": "a\udc80.jpg"}
    write_csv(tmp_path / "faces.csv", [bad], [])
    write_json(tmp_path / "faces.json", [bad])
    assert "a\\udc80.jpg" in (tmp_path / "faces.csv").read_text(encoding="utf-8")


def test_table_is_whole_or_not_there(tmp_path):
    path = tmp_path / "faces.csv"
    write_detections_csv(path, [("a.jpg", *range(15))])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="format code"):
        write_detections_csv(path, [("a.jpg", *["text"] * 15)])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["faces.csv"]
