import csv
import json

import numpy as np
import pytest

from tests.fake_embedder import photo
from tests.utils.gallery.conftest import ANN, BOB, Embedder
from utils.gallery import photo_naming
from utils.gallery.classifier import ClassifierError, FaceClassifier
from utils.gallery.gallery import Gallery, GalleryError
from utils.images.image_files import ImageError


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# encode


def test_encode_builds_updates_and_reports(tmp_path, settings):
    folder = tmp_path / "people"
    photo(folder / "Ann/1.png", ANN)
    photo(folder / "Bob_1.png", BOB)
    photo(folder / "Eve/1.png", 3, faces=0)
    lines = "\n".join(photo_naming.encode(Embedder(), folder, settings))
    assert "2 photos added, 0 kept, 0 removed, 1 not used" in lines
    assert f"{folder / 'Eve/1.png'}: no face found" in lines
    assert f"{settings['gallery_path']}: 2 photos of 2 people" in lines
    embedder = Embedder()
    photo(folder / "Bob_2.png", BOB, blue=1)
    lines = "\n".join(photo_naming.encode(embedder, folder, settings))
    assert "1 photos added, 2 kept" in lines and embedder.embedded == 1


def test_encode_of_nothing_usable_fails_after_the_report(tmp_path, settings):
    photo(tmp_path / "people/Ann/1.png", ANN, faces=2)
    lines = photo_naming.encode(Embedder(), tmp_path / "people", settings)
    assert "cannot tell whose" in next(lines)
    with pytest.raises(ValueError, match="none of its photos can be used"):
        list(lines)
    settings["take_largest"] = True
    assert "1 photos added" in next(photo_naming.encode(Embedder(), tmp_path / "people", settings))


# recognize


def test_recognize_names_every_face(run, settings, people, tmp_path):
    known = photo(tmp_path / "p.png", ANN + 12)
    lines, pictures = run(photo_naming.recognize, known)
    assert f"{known}: 安 0.074" in lines
    assert list(pictures) == ["p_recognize.jpg"]
    (row,) = table(tmp_path / "out/recognize.csv")
    assert (row["file"], row["face"], row["name"]) == (str(known), "1", "安")
    assert [float(row[key]) for key in ("x1", "y1", "x2", "y2")] == [0, 0, 1, 1]
    assert float(row["distance"]) == pytest.approx(2 * np.sin(12 * np.pi / 1024), abs=1e-5)
    (entry,) = json.loads((tmp_path / "out/recognize.json").read_text(encoding="utf-8"))
    assert entry["box"] == [0, 0, 1, 1] and entry["name"] == entry["nearest"] == "安"


def test_a_stranger_is_unknown_and_red(run, people, tmp_path):
    lines, pictures = run(photo_naming.recognize, photo(tmp_path / "p.png", (ANN + BOB) // 2 - 4))
    assert any("p.png: unknown 0.28" in line for line in lines)
    (row,) = table(tmp_path / "out/recognize.csv")
    assert (row["name"], row["nearest"]) == ("unknown", "安")
    (picture,) = pictures.values()
    assert (picture == (225, 60, 50)).all(axis=2).any()


def test_faces_stay_with_their_photos(run, people, tmp_path):
    """Nobody, one and three faces on neighbouring photos, in more than one chunk."""
    folder = tmp_path / "photos"
    counts = [0, 1, 3, 0, 2, 1, 1, 0, 0, 2, 1]
    for number, count in enumerate(counts):
        photo(folder / f"{number:02d}.png", ANN if number % 2 else BOB, count, blue=number)
    lines, pictures = run(photo_naming.recognize, folder)
    rows = table(tmp_path / "out/recognize.csv")
    for number, count in enumerate(counts):
        path = folder / f"{number:02d}.png"
        mine = [row for row in rows if row["file"] == str(path)]
        assert [row["face"] for row in mine] == [str(i + 1) for i in range(count)]
        assert not mine or mine[0]["name"] == ("安" if number % 2 else "Bob")
        assert (f"{path}: no face found" in lines) == (count == 0)
    assert sorted(pictures) == [f"{n:02d}.png_recognize.jpg" for n in range(len(counts))]


def test_threshold_by_rate(run, settings, people, tmp_path):
    settings["false_accept_rate"] = 0.0
    lines, _ = run(photo_naming.recognize, photo(tmp_path / "p.png", (ANN + BOB) // 2 - 4))
    assert any("0.00 % of strangers accepted, 100.00 % of the known" in line for line in lines)
    assert any("p.png: 安 0.28" in line for line in lines)
    settings["threshold"] = 0.5
    with pytest.raises(ValueError, match="exclude each other"):
        run(photo_naming.recognize, tmp_path / "p.png")


def test_pictures_of_one_name_do_not_replace_each_other(run, people, tmp_path):
    paths = [photo(tmp_path / name, ANN) for name in ("b/p.png", "a/p.png", "c/p_2.png")]
    _, pictures = run(photo_naming.recognize, *paths)
    assert list(pictures) == ["p_recognize.jpg", "p_2_recognize.jpg", "p_2_2_recognize.jpg"]


def test_a_broken_photo_stops_alone_and_is_left_out_of_a_folder(run, people, tmp_path):
    good = photo(tmp_path / "photos/a.png", ANN)
    bad = tmp_path / "photos/b.png"
    bad.write_text("no picture")
    with pytest.warns(UserWarning, match="left out: .*b.png"):
        lines, _ = run(photo_naming.recognize, tmp_path / "photos")
    assert any(line.startswith(f"{good}: 安") for line in lines)
    with pytest.raises(ImageError, match="b.png"):
        run(photo_naming.recognize, bad)
    good.unlink()
    with pytest.warns(UserWarning, match="left out"), pytest.raises(ValueError, match="none of the 1 photos"):
        run(photo_naming.recognize, tmp_path / "photos")


def test_what_recognize_refuses(run, settings, people, tmp_path):
    path = photo(tmp_path / "p.png", ANN)
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="none: no photos"):
        run(photo_naming.recognize, tmp_path / "none")
    with pytest.raises(GalleryError, match="another network"):
        run(photo_naming.recognize, path, embedder=Embedder("bb"))
    crops = Embedder()
    crops.detector = None
    with pytest.raises(ValueError, match="needs retinaface or mtcnn"):
        run(photo_naming.recognize, path, embedder=crops)
    settings["gallery_path"] = tmp_path / "no.h5"
    with pytest.raises(GalleryError, match=r"no\.h5: nobody is in this gallery"):
        run(photo_naming.recognize, path)
    assert not (tmp_path / "out").exists()


# classify


def test_train_and_classify(run, settings, people, tmp_path):
    settings["train_images"] = 2
    lines = list(photo_naming.classify_train(settings))
    assert lines[0] == "2 of 2 people have 2 photos or more"
    assert "trained on 4 photos" in lines[1]
    assert lines[2] == "accuracy on the other 2 photos: 100.00 %"
    path = photo(tmp_path / "p.png", BOB + 5)
    lines, pictures = run(photo_naming.classify, path)
    (row,) = table(tmp_path / "out/classify.csv")
    assert row["name"] == "Bob" and 0.5 < float(row["probability"]) <= 1
    assert list(pictures) == ["p_classify.jpg"] and "distance" not in row
    with pytest.raises(ClassifierError, match="another network"):
        run(photo_naming.classify, path, embedder=Embedder("bb"))


def test_train_takes_all_photos_of_those_who_have_enough(settings, people):
    photo(people / "Cy/1.png", 220)
    Gallery(settings["gallery_path"]).encode(people, Embedder())
    lines = list(photo_naming.classify_train(settings))
    assert lines[0] == "2 of 3 people have 2 photos or more" and len(lines) == 2
    assert set(FaceClassifier.load(settings["classifier_path"]).names) == {"安", "Bob"}
    settings["train_images"] = 3
    assert list(photo_naming.classify_train(settings))[2] == "not tested: nobody has more than 3 photos"


@pytest.mark.parametrize(
    "change, message",
    [({"min_images": 4}, "two people"), ({"gallery_path": "/nowhere.h5"}, "nobody is in this gallery")],
)
def test_what_training_refuses(settings, people, change, message):
    with pytest.raises(ValueError, match=message):
        list(photo_naming.classify_train({**settings, **change}))
    assert not settings["classifier_path"].exists()


# cluster
