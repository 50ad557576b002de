from pathlib import Path

import pytest

from utils.files.project import PROJECT
from utils.weights import downloads, location
from utils.weights.downloads import DownloadError
from utils.weights.location import locate

DEFAULT = "model_data/arcface_mobilefacenet.weights.h5"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Works in an empty folder, with an empty cache and without a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(location, "SHIPPED", tmp_path / "shipped")

    def fetch(entry, path, *_):
        path.write_bytes(entry.name.encode())

    monkeypatch.setattr(downloads, "_fetch", fetch)
    monkeypatch.setattr(downloads, "_difference", lambda entry, path: "")
    return tmp_path


def test_default_is_relative_to_the_project(elsewhere):
    assert Path(locate(DEFAULT, DEFAULT)) == PROJECT / DEFAULT


def test_the_users_own_path_is_relative_to_the_working_directory():
    assert locate(DEFAULT) == DEFAULT
    assert locate(DEFAULT, "model_data/other.h5") == DEFAULT
    assert locate(Path("no/such.h5"), DEFAULT) == "no/such.h5"


def test_published_name_is_downloaded_once(elsewhere, capsys, monkeypatch):
    path = Path(locate("inception_resnetv1_vggface2"))
    assert path == elsewhere / "cache/weights/20180402-114759-vggface2.pt"
    assert path.read_bytes() == b"inception_resnetv1_vggface2"
    error = capsys.readouterr().err
    assert error.startswith("inception_resnetv1_vggface2: downloading") and error.count("\n") == 1
    monkeypatch.setattr(downloads, "download", lambda *_: pytest.fail("downloaded again"))
    assert Path(locate("inception_resnetv1_vggface2")) == path
    assert capsys.readouterr().err == ""


def test_published_name_of_several_files_is_their_folder(elsewhere):
    folder = Path(locate("mtcnn"))
    assert folder == elsewhere / "cache/weights"
    assert sorted(path.name for path in folder.iterdir()) == ["det1.npy", "det2.npy", "det3.npy"]


def test_published_file_in_model_data_is_taken(elsewhere):
    shipped = elsewhere / "shipped/arcface_mobilefacenet.h5"
    shipped.parent.mkdir()
    shipped.write_bytes(b"weights")
    assert Path(locate("arcface_mobilefacenet")) == shipped
    assert not (elsewhere / "cache").exists()


def test_path_that_exists_wins(elsewhere):
    (elsewhere / "mtcnn").mkdir()
    assert locate("mtcnn") == "mtcnn"
    assert not (elsewhere / "cache").exists()


def test_weights_to_fetch_by_hand():
    with pytest.raises(DownloadError, match=r"retinaface_resnet50\.h5 by hand from https://"):
        locate("retinaface_resnet50")
