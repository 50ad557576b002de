import numpy as np
import pytest

from tests.fake_embedder import FakeEmbedder, photo
from utils.datasets.labelling import label_folder
from utils.datasets.wider_labels import read_wider_labels


@pytest.fixture
def settings(tmp_path):
    return {
        "datasets_path": tmp_path / "photos",
        "wider_labels_path": tmp_path / "label.txt",
        "batch_size": 2,
        "absolute_paths": True,
    }


def test_labels_are_what_the_detector_finds_in_the_order_of_the_photos(settings, capsys):
    folder = settings["datasets_path"]
    paths = [photo(folder / f"{i}.png", 0, faces) for i, faces in enumerate([2, 0, 1])]
    (folder / "0_broken.png").write_bytes(b"no photo")
    detector = FakeEmbedder()
    label_folder(settings, lambda: detector.detect_batch)
    labelled = read_wider_labels(settings["wider_labels_path"])
    assert [one.path for one in labelled] == [str(path) for path in paths]
    assert [len(one.boxes) for one in labelled] == [2, 0, 1]
    first = labelled[0]
    np.testing.assert_array_equal(first.boxes, [[0, 0, 1, 1], [0, 0, 2, 2]])
    assert first.landmarks.shape == (2, 5, 2) and first.has_landmarks.tolist() == [True, True]
    assert detector.detected == 3
    assert "0_broken.png" in capsys.readouterr().out


@pytest.mark.parametrize("absolute", [True, False])
def test_a_folder_is_labelled(settings, capsys, absolute):
    folder, target = settings["datasets_path"], settings["wider_labels_path"]
    paths = [photo(folder / f"{i}/{i}.png", 0, faces) for i, faces in enumerate([2, 0])]
    (folder / "broken.png").write_bytes(b"no photo")
    label_folder({**settings, "absolute_paths": absolute}, lambda: FakeEmbedder().detect_batch)
    labels = read_wider_labels(target)
    assert [one.path for one in labels] == [str(path) for path in paths]
    assert [len(one.boxes) for one in labels] == [2, 0]
    assert (f"# {paths[0]}" in target.read_text()) == absolute
    printed = capsys.readouterr().out
    assert "1 photos that cannot be read: " in printed and "broken.png" in printed
    assert f"{target}: 2 faces in 2 photos" in printed


def test_a_folder_without_photos_or_faces_is_refused(settings):
    settings["datasets_path"].mkdir()
    with pytest.raises(ValueError, match="no photos"):
        label_folder(settings, lambda: pytest.fail("built"))
    photo(settings["datasets_path"] / "0.png", 0, faces=0)
    with pytest.raises(ValueError, match="no face in 1 photos"):
        label_folder(settings, lambda: FakeEmbedder().detect_batch)
    assert not settings["wider_labels_path"].exists()
