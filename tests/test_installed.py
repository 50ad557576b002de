"""The package that `pip install .` makes, used from a folder that has modules of our names."""

import ast
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
COMPARE = """
from pathlib import Path
import faces
folder = Path(faces.__file__).parent / "img"
print(faces.Facenet().detect_image(folder / "1_001.jpg", folder / "1_002.jpg"))
"""


def run(*command, cwd=ROOT, **environment):
    """Returns the output of a command that has to succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site-packages")
    run(*PIP, "install", "--no-deps", "--no-index", "--target", folder, wheel)
    return folder


@pytest.fixture
def stranger(tmp_path):
    """A folder whose own modules have the names of ours, and fail when they are taken for ours."""
    (tmp_path / "nets").mkdir()
    for file in ("utils.py", "nets/__init__.py", "facenet.py", "retinaface.py"):
        (tmp_path / file).write_text("raise RuntimeError('taken for another module')")
    return tmp_path


def test_wheel_has_one_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"faces", f"faces_keras-{PROJECT['version']}.dist-info"}
    modules = {path.relative_to(ROOT) for path in ROOT.glob("*.py")} - {Path("setup.py")}
    for folder in ("nets", "utils"):
        modules |= {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py")}
    expected = {f"faces/{path.as_posix()}" for path in modules} - {"faces/faces.py"}
    assert {name for name in names if name.endswith(".py")} == expected | {"faces/__init__.py"}
    assert {"faces/model_data/arcface_mobilefacenet.weights.h5", "faces/img/group.jpg"} < set(names)


def imported(source):
    """Yields the first part of each module's name that a source imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_no_module_of_the_wheel_uses_a_name_of_the_clone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        sources = {n: archive.read(n).decode() for n in archive.namelist() if n.endswith(".py")}
    ours = {"nets", "utils", *(path.stem for path in ROOT.glob("*.py"))} - {"faces"}
    assert not {name: hits for name, text in sources.items() if (hits := ours & {*imported(text)})}
    assert not [name for name, text in sources.items() if "python -m utils" in text]


def test_installed_package_compares_photos_beside_modules_of_the_same_names(installed, stranger):
    printed = run(sys.executable, "-c", COMPARE, cwd=stranger, PYTHONPATH=str(installed))
    assert 0 < float(printed) < 1.1  # one person


def test_import_of_the_package_is_instant(installed, stranger):
    code = "import faces, sys; print(len([m for m in sys.modules if m.startswith('faces')]), *dir(faces))"
    printed = run(sys.executable, "-c", code, cwd=stranger, PYTHONPATH=str(installed))
    assert printed.split() == ["2", "Facenet", "Gallery", "Mtcnn", "Retinaface"]


def test_installed_commands_print_their_help(installed, stranger):
    assert {file.name for file in (installed / "bin").iterdir()} == set(PROJECT["scripts"])
    for command in PROJECT["scripts"]:
        program = (sys.executable, installed / "bin" / command)
        assert "--help" in run(*program, "--help", cwd=stranger, PYTHONPATH=str(installed))


def test_installed_command_finds_its_photos_and_weights(installed, stranger):
    program = (sys.executable, installed / "bin" / "faces-predict")
    assert ": same person, distance" in run(*program, cwd=stranger, PYTHONPATH=str(installed))
    assert (stranger / "img_out").is_dir()


def test_script_of_a_clone_runs_from_another_folder(stranger):
    assert ": same person, distance" in run(sys.executable, ROOT / "predict.py", cwd=stranger)


def test_requirements_are_those_of_the_package_and_of_training():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = {line for line in lines if line and not line.startswith("#")}
    assert wanted == {*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["train"]}
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    wanted = {line for line in lines if line and not line.startswith(("#", "-r"))}
    assert wanted == set(PROJECT["optional-dependencies"]["dev"])
