from pathlib import Path

from utils.files.project import PACKAGE_PREFIX, PROJECT, beside_project


def test_project_is_the_folder_of_the_wrappers(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert (PROJECT / "facenet.py").is_file() and PACKAGE_PREFIX == ""
    assert beside_project("img/group.jpg").is_file()
    assert beside_project("/somewhere/x.jpg") == Path("/somewhere/x.jpg")
