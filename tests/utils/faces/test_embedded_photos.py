import numpy as np
import pytest

from tests.fake_embedder import FakeEmbedder, embedding, photo
from utils.faces.embedded_photos import stream_photos
from utils.images.image_files import ImageError


def test_every_face_is_embedded_and_names_are_unique(tmp_path):
    photo(tmp_path / "a" / "p.png", 10, faces=2)
    photo(tmp_path / "a" / "q.png", 20, faces=0)
    single = photo(tmp_path / "b" / "p.png", 30)
    other = photo(tmp_path / "c" / "p.png", 40)
    found = {name: seen.embedding for seen, name in stream_photos(FakeEmbedder(), [tmp_path / "a", single, other])}
    assert list(found) == ["p.png", "q.png", "p", "p_2"]
    np.testing.assert_array_equal(found["p.png"], [embedding(10, 1), embedding(10, 2)])
    assert len(found["q.png"]) == 0
    np.testing.assert_array_equal(found["p_2"], [embedding(40)])


def test_a_broken_photo_is_left_out_of_a_folder_only(tmp_path):
    photo(tmp_path / "a.png", 10)
    broken = tmp_path / "b.png"
    broken.write_bytes(b"no photo")
    with pytest.warns(UserWarning, match="left out: .*b.png"):
        assert [name for _, name in stream_photos(FakeEmbedder(), [tmp_path])] == ["a.png"]
    with pytest.raises(ImageError, match="b.png"):
        list(stream_photos(FakeEmbedder(), [broken]))


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match="no photos in this folder"):
        list(stream_photos(FakeEmbedder(), [tmp_path]))
