"""The sample photos in img/: credited, small, readable, without private metadata."""

import re
from pathlib import Path

import pytest
from PIL import Image

from retinaface import Retinaface
from tests.shared import need
from utils.images.image_files import read_image

FOLDER = Path(__file__).resolve().parents[1] / "img"
FACES = {"1_001.jpg": 1, "1_002.jpg": 1, "2_001.jpg": 1, "group.jpg": 4, "nobody.jpg": 0}
PICTURES = sorted(p.name for p in FOLDER.iterdir() if p.suffix != ".md")


def test_the_named_samples_are_there():
    assert set(FACES) <= set(PICTURES)


def test_credits_name_each_picture_and_no_other():
    text = (FOLDER / "CREDITS.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+?)` \|(.+)\|$", text, re.MULTILINE)
    assert sorted(name for name, _ in rows) == PICTURES
    for name, row in rows:
        licence = row.split("|")[3].lower()
        assert re.search("public domain|cc0|cc by|the same|below", licence), name


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_small_and_readable(name):
    path = FOLDER / name
    height, width, channels = read_image(path).shape
    assert 256 <= max(height, width) <= 1600 and channels == 3
    assert path.stat().st_size < 300_000


@pytest.mark.parametrize("name", PICTURES)
def test_picture_has_no_metadata(name):
    with Image.open(FOLDER / name) as picture:
        picture.load()
        assert not picture.getexif()
        assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi"}


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("keras")
    weights = need("weights/retinaface_mobilenet025_tf2.h5")
    return Retinaface(model_path=weights, engine="keras")


@pytest.mark.parametrize(("name", "count"), FACES.items())
def test_picture_shows_the_faces_it_should(detector, name, count):
    found = detector.detect(FOLDER / name)
    assert len(found) == count
    assert (found.scores > 0.9).all()
