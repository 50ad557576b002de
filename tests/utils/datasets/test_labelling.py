import numpy as np
import pytest

from tests.fake_embedder import FakeEmbedder, photo
from utils.datasets.labelling import label_folder, label_photos
from utils.datasets.wider_labels import LabelledImage, read_wider_labels


def test_labels_are_what_the_detector_finds_in_the_order_of_the_photos(tmp_path):
    paths = [photo(tmp_path / f"{i}.png", 0, faces) for i, faces in enumerate([2, 0, 1])]
    (tmp_path / "broken.png").write_bytes(b"no photo")
    detector = FakeEmbedder()
    given = [paths[0], tmp_path / "broken.png", *paths[1:]]
    first, broken, *rest = label_photos(given, detector.detect_batch, batch_size=2)
    assert isinstance(broken, str) and "broken.png" in broken
    labelled = [first, *rest]
    assert all(isinstance(one, LabelledImage) for one in labelled)
    assert [one.path for one in labelled] == [str(path) for path in paths]
    assert [len(one.boxes) for one in labelled] == [2, 0, 1]
    np.testing.assert_array_equal(first.boxes, [[0, 0, 1, 1], [0, 0, 2, 2]])
    assert first.landmarks.shape == (2, 5, 2) and first.has_landmarks.tolist() == [True, True]
    assert detector.detected == 3


@pytest.mark.parametrize("absolute", [True, False])
def test_a_folder_is_labelled(tmp_path, capsys, absolute):
    paths = [photo(tmp_path / f"photos/{i}/{i}.png", 0, faces) for i, faces in enumerate([2, 0])]
    (tmp_path / "photos/broken.png").write_bytes(b"no photo")
    target = tmp_path / "label.txt"
    label_folder(tmp_path / "photos", target, lambda: FakeEmbedder().detect_batch, absolute=absolute)
    labels = read_wider_labels(target)
    assert [one.path for one in labels] == [str(path) for path in paths]
    assert [len(one.boxes) for one in labels] == [2, 0]
    assert (f"# {paths[0]}" in target.read_text()) == absolute
    printed = capsys.readouterr().out
    assert "1 photos that cannot be read: " in printed and "broken.png" in printed
    assert f"{target}: 2 faces in 2 photos" in printed


def test_a_folder_without_photos_or_faces_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no photos"):
        label_folder(tmp_path, tmp_path / "label.txt", lambda: pytest.fail("built"))
    photo(tmp_path / "0.png", 0, faces=0)
    with pytest.raises(ValueError, match="no face in 1 photos"):
        label_folder(tmp_path, tmp_path / "label.txt", lambda: FakeEmbedder().detect_batch)
    assert not (tmp_path / "label.txt").exists()
