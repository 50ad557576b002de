import numpy as np

from tests.fake_embedder import FakeEmbedder, photo
from utils.datasets.labelling import label_photos
from utils.datasets.wider_labels import LabelledImage


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
