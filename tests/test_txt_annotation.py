from pathlib import Path

import numpy as np
import pytest

import txt_annotation
from tests.shared import need
from utils.datasets.cls_list import read_cls_txt
from utils.datasets.report import Report
from utils.datasets.wider_labels import read_wider_labels
from utils.faces.alignment import ARCFACE_TEMPLATE
from utils.faces.detections import Detections
from utils.images.image_files import read_image, save_image


class FakeDetector:
    """Finds one face of 32 pixels, none in photos whose first pixel is black."""

    def __init__(self):
        self.seen = 0

    def detect_batch(self, images):
        self.seen += len(images)
        return [self._detect() if image[0, 0].any() else Detections.empty() for image in images]

    @staticmethod
    def _detect():
        landmarks = ARCFACE_TEMPLATE * (32 / 112) + 8
        return Detections([[8, 8, 40, 40]], [0.9], landmarks[None])


@pytest.fixture
def fake(monkeypatch):
    detector = FakeDetector()
    monkeypatch.setattr(txt_annotation, "build_detector", lambda settings, **_: detector)
    monkeypatch.setattr(txt_annotation, "device_name", lambda: "no TensorFlow")
    monkeypatch.setattr(txt_annotation, "decisive_settings", lambda settings: {"fake": True})
    return detector


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """anna 3 photos (one without a face), bob 2, 张三 1 (and a copy of it), an empty folder."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(["anna/1.jpg", "anna/2.png", "bob/a b.jpg", "bob/2.jpg", "张三/照.jpg"]):
        pixels = np.random.default_rng(seed).integers(1, 256, (48, 48, 3), np.uint8)
        save_image(tmp_path / "datasets" / name, pixels)
    copy = (tmp_path / "datasets/张三/照.jpg").read_bytes()
    (tmp_path / "datasets/张三/照2.jpg").write_bytes(copy)
    save_image(tmp_path / "datasets/anna/none.jpg", np.zeros((48, 48, 3), np.uint8))
    (tmp_path / "datasets/carl").mkdir()
    (tmp_path / "datasets/carl/notes.txt").touch()
    return tmp_path


def script(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["txt_annotation.py", *arguments])
    txt_annotation.main()


def listed(path="cls_train.txt"):
    paths, labels = read_cls_txt(path)
    return [(int(label), "/".join(p.split("/")[-2:])) for p, label in zip(paths, labels, strict=True)]


def test_without_arguments(dataset, monkeypatch, capsys):
    script(monkeypatch)
    assert listed() == [
        (0, "anna/1.jpg"),
        (0, "anna/2.png"),
        (0, "anna/none.jpg"),
        (1, "bob/2.jpg"),
        (1, "bob/a b.jpg"),
        (2, "张三/照.jpg"),
    ]
    printed = capsys.readouterr().out
    assert "1 people without photos: carl" in printed
    assert "1 files that are no photo in a person's folder: carl/notes.txt" in printed
    assert "6 of 7 photos kept; dropped: 1 duplicate" in printed
    assert "3 people, 6 images; each has 1 to 3, median 2" in printed
    assert Report("cls_train_report.csv").rows["张三/照2.jpg"].detail == "of 张三/照.jpg"
    assert read_image("cls_train_images.png").shape[1] > 400
    assert not (dataset / "cls_val.txt").exists()


def test_align(dataset, monkeypatch, capsys, fake):
    script(monkeypatch, "--align", "--crop_size", "24")
    assert listed() == [(0, "anna/1.jpg"), (0, "anna/2.jpg"), (1, "bob/2.jpg"), (1, "bob/a b.jpg"), (2, "张三/照.jpg")]
    paths, _ = read_cls_txt("cls_train.txt")
    assert all(path.startswith(str(dataset / "datasets_aligned")) for path in paths)
    assert read_image(paths[0]).shape == (24, 24, 3)
    printed = capsys.readouterr().out
    assert "5 of 7 photos kept; dropped: 1 no face, 1 duplicate" in printed
    script(monkeypatch, "--align", "--crop_size", "24")
    assert "6 of 6 photos are done already" in capsys.readouterr().out
    assert fake.seen == 6 + 1  # looked again at the photo without a face


def test_align_in_random_order_gives_the_same(dataset, monkeypatch, fake):
    script(monkeypatch, "--align", "--aligned_path", "one")
    script(monkeypatch, "--align", "--aligned_path", "two", "--random_order", "--batch_size", "2")
    one, two = dataset / "one/report.csv", dataset / "two/report.csv"
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("absolute", ["yes", "no"])
def test_wider_labels(dataset, monkeypatch, capsys, fake, absolute):
    (dataset / "datasets/bob/broken.jpg").write_bytes(b"no photo")
    arguments = ["--wider_labels_path", "label.txt", "--absolute_paths", absolute]
    script(monkeypatch, *arguments)
    labels = {Path(one.path).resolve(): one for one in read_wider_labels("label.txt")}
    assert len(labels) == 7
    assert len(labels[dataset / "datasets/anna/none.jpg"].boxes) == 0
    found = labels[dataset / "datasets/张三/照.jpg"]
    np.testing.assert_allclose(found.boxes, [[8, 8, 40, 40]])
    np.testing.assert_allclose(found.landmarks[0], ARCFACE_TEMPLATE * (32 / 112) + 8, rtol=1e-5)
    assert found.has_landmarks.all()
    output = capsys.readouterr().out
    assert "6 faces in 7 photos" in output and "broken.jpg" in output
    assert not Path("cls_train.txt").exists()


def test_people_whose_photos_are_all_dropped_have_no_id(dataset, monkeypatch, capsys, fake):
    for name in ("1.jpg", "2.png"):
        (dataset / "datasets/anna" / name).unlink()
    script(monkeypatch, "--align")
    assert [label for label, _ in listed()] == [0, 0, 1]
    assert "2 people without photos: anna, carl" in capsys.readouterr().out


def test_min_images(dataset, monkeypatch, capsys):
    script(monkeypatch, "--min_images", "2")
    assert [label for label, _ in listed()] == [0, 0, 0, 1, 1]
    assert "1 people of fewer than 2 photos: 张三" in capsys.readouterr().out


def test_label_conflicts_are_named(dataset, monkeypatch, capsys):
    content = (dataset / "datasets/bob/2.jpg").read_bytes()
    (dataset / "datasets/anna/0.jpg").write_bytes(content)
    script(monkeypatch)
    assert "label conflict: anna/0.jpg: equal to bob/2.jpg" in capsys.readouterr().out
    assert not {"anna/0.jpg", "bob/2.jpg"} & {name for _, name in listed()}
    script(monkeypatch, "--drop_duplicates", "no")
    assert len(listed()) == 8


def test_unreadable_photos(dataset, monkeypatch):
    (dataset / "datasets/bob/2.jpg").write_bytes(b"no picture")
    script(monkeypatch)
    assert "bob/2.jpg" not in {name for _, name in listed()}
    script(monkeypatch, "--check_images", "no")
    assert "bob/2.jpg" in {name for _, name in listed()}


def test_relative_paths_move_with_the_list(dataset, monkeypatch):
    script(monkeypatch, "--absolute_paths", "no", "--cls_train_path", "datasets/lists/train.txt")
    first = (dataset / "datasets/lists/train.txt").read_text(encoding="utf-8").split("\n")[0]
    assert first == "0;../anna/1.jpg"
    (dataset / "datasets").rename(dataset / "moved")
    assert len(read_cls_txt("moved/lists/train.txt")[0]) == 6


@pytest.mark.parametrize(("by", "sizes"), [("identity", {(1, 2), (2, 1)}), ("image", {(3, 2), (3, 3)})])
def test_validation(dataset, monkeypatch, by, sizes):
    script(monkeypatch, "--val_share", "0.34", "--val_split", by)
    train = listed()
    held = (dataset / "cls_val.txt").read_text(encoding="utf-8").splitlines()
    people = [{name.split("/")[-2] for name in names} for names in ([n for _, n in train], held)]
    assert len(train) + len(held) == 6
    if by == "identity":
        assert not people[0] & people[1]
        assert listed("cls_val.txt")[0][0] == 0
    else:
        ids = {name.split("/")[0]: label for label, name in train}
        assert all(ids[line.split("/")[-2]] == int(line.split(";")[0]) for line in held)
    assert len(people[0]) in {size[0] for size in sizes}


def test_identities(dataset, monkeypatch, fake):
    (dataset / "who.txt").write_text("anna/1.jpg 7\nbob/2.jpg 7\nanna/2.png 10\nlost.jpg 3\n")
    script(monkeypatch, "--align", "--identities_path", "who.txt")
    paths, labels = read_cls_txt("cls_train.txt")
    crops = [path.split("datasets_aligned/")[1] for path in paths]
    assert crops == ["10/anna/2.jpg", "7/anna/1.jpg", "7/bob/2.jpg"]
    assert labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--datasets_path", "nowhere"], "nowhere: no such folder"),
        (["--datasets_path", "datasets/carl"], r"datasets/carl: no photos; .*<person>/\*\.jpg"),
        (["--align", "--aligned_path", "datasets/crops"], "lies in datasets_path"),
        (["--detector", "haar"], "detector 'haar' is not one of retinaface, mtcnn"),
        (["--val_split", "folder"], "val_split 'folder' is not one of identity, image"),
        (["--val_share", "1"], r"val_share 1\.0"),
        (["--crop_mode", "box"], "crop_mode 'box'"),
        (["--min_images", "9"], "no photos are left"),
        (["--min_images", "0"], "min_images 0"),
        (["--detector_confidence", "2"], "detector_confidence 2"),
    ],
)
def test_mistakes(dataset, monkeypatch, arguments, message):
    with pytest.raises(ValueError, match=message):
        script(monkeypatch, *arguments)


def test_a_real_detector_and_real_photos(tmp_path, monkeypatch):
    pytest.importorskip("keras")  # published weights have to be converted
    weights = need("weights/retinaface_mobilenet025_tf2.h5")
    photos = sorted(need("data/celeba/images").glob("*.jpg"))[:3]
    for photo in photos:
        target = tmp_path / "datasets" / photo.stem / "1.jpg"
        target.parent.mkdir(parents=True)
        target.write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    script(monkeypatch, "--align", "--detector_model_path", str(weights))
    rows = Report("datasets_aligned/report.csv").rows.values()
    assert [row.result for row in rows] == ["kept"] * 3
    assert all(float(row.score) > 0.9 for row in rows)
    # A face fills the crop: brighter and more varied than the black outside of a wrong warp.
    assert all(read_image(path).std() > 20 for path in read_cls_txt("cls_train.txt")[0])
