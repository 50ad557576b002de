"""Who may import whom, and how long files and functions may be.

Imports flow from the root scripts to the wrappers, to the wings of utils/, floor by floor, to nets/.
"""

import ast
import itertools
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from nets.facenet import facenet
from nets.retinaface import RetinaFace
from utils.config import cfg_mnet
from utils.weights.loading import save_weights

ROOT = Path(__file__).resolve().parents[1]
# The wings from the ground up; a wing imports only what lies on the floors below its own.
FLOORS = (
    ("files", "settings"),
    ("images", "engine"),
    ("weights", "faces"),
    ("detection", "pictures"),
    ("datasets", "evaluation"),
    ("export", "gallery", "generators"),
    ("training", "video"),
)
WRAPPERS = ("retinaface", "facenet")  # of these, too, the later one stands on the earlier
TREES = {
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): ast.parse(path.read_text(encoding="utf-8"))
    for folder in ("", "nets/", "utils/", "utils/*/")
    for path in sorted(ROOT.glob(f"{folder}*.py"))
}
MODULES = sorted(name for name in TREES if not name.endswith("__init__"))
HEIGHTS = {wing: height for height, floor in enumerate(FLOORS) for wing in floor}


def imports(name):
    """Yields (module, name or "") for each import of this project's modules, wherever it stands."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if known(alias.name))
        elif isinstance(node, ast.ImportFrom) and known(node.module or ""):
            yield from ((node.module, alias.name) for alias in node.names)


def known(module):
    return module in TREES or f"{module}.__init__" in TREES


def imported(name):
    """Returns the modules of this project that a module imports."""
    pairs = {(module, f"{module}.{inside}") for module, inside in imports(name)}
    return {inside if inside in TREES else module for module, inside in pairs}


def height(module):
    """Returns the floor that a module lies on: nets/, the wings, the wrappers, the scripts."""
    first, *rest = module.split(".")
    if first == "nets":
        return -2
    if first != "utils":
        return len(FLOORS) + [*WRAPPERS, first].index(first)
    return HEIGHTS.get(rest[0], -1) if rest else -1


def same_house(one, other):
    """Whether two modules lie in the same wing, or both in nets/, or are both at utils/'s top."""
    return "." in one and one.rpartition(".")[0] == other.rpartition(".")[0]


# The originals' names at the top of utils/ hand on what lives in a wing.
SHIMS = {name for name in MODULES if name.count(".") == 1 and name.startswith("utils.")}
SHIMS -= {"utils.config"}


@pytest.mark.parametrize("name", sorted({*MODULES} - SHIMS))
def test_imports_come_from_a_floor_below(name):
    wrong = {other for other in imported(name) if not same_house(name, other) and height(other) >= height(name)}
    assert not wrong


def test_nobody_here_takes_the_originals_names():
    assert not {name: hits for name in MODULES if (hits := imported(name) & SHIMS)}


def test_nobody_imports_from_the_init_of_a_wing():
    wings = {f"utils.{wing}" for wing in HEIGHTS}
    assert not {
        (name, module, inside)
        for name in MODULES
        for module, inside in imports(name)
        if module in wings and f"{module}.{inside}" not in TREES
    }


def test_every_wing_has_a_floor():
    assert {path.parent.name for path in ROOT.glob("utils/*/__init__.py")} == HEIGHTS.keys()


def test_readme_shows_these_floors():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    picture = re.search(r"## Where things are\n.*?```\n(.*?)```", text, re.DOTALL).group(1)
    rows = [re.findall(r"utils/(\w+)/", line) for line in picture.splitlines()]
    assert [tuple(row) for row in reversed(rows) if row] == [*FLOORS]


def test_readme_shows_the_way_from_scripts():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    paths = re.findall(r"- Where .*?\? (.*?)function\s+`(\w+)`", text, re.DOTALL)
    assert len(paths) == 3
    for path, function in paths:
        way = [file.replace("/", ".") for file in re.findall(r"`([\w/]+)\.py`", path)]
        assert len(way) - 1 <= 3  # hops
        assert not [hop for hop in itertools.pairwise(way) if hop[1] not in imported(hop[0])]
        assert function in {node.name for node in TREES[way[-1]].body if hasattr(node, "name")}


def test_no_module_has_the_name_of_another_wings():
    names = Counter(name.split(".")[2] for name in MODULES if name.count(".") == 2)
    assert not {name for name, count in names.items() if count > 1}


def test_top_of_utils_holds_six_modules_at_most():
    assert len({*ROOT.glob("utils/*.py")}) <= 6 + 1  # and __init__.py


@pytest.mark.parametrize("name", sorted(TREES))
def test_files_and_functions_are_short(name):
    path = ROOT / f"{name.replace('.', '/')}.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert not {
        node.name: length
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.FunctionDef) and (length := lines_of_code(node)) > 60
    }


def lines_of_code(function):
    """Returns the lines of a function without its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function, clean=False) is not None
    docstring = first.end_lineno - first.lineno + 1 if documented else 0
    return function.end_lineno - function.lineno + 1 - docstring


# Keras itself takes matplotlib and scikit-learn where they are installed, so "not imported" cannot
# be tested: that they are not missed can.
HEAVY = ["matplotlib", "onnxruntime", "pandas", "sklearn", "tensorboard", "tf2onnx", "torch"]
CODE = """
import sys
sys.modules.update(dict.fromkeys({heavy}))  # to import one of them is an error now
import numpy as np
import facenet, predict, retinaface
photo = np.zeros((64, 64, 3), np.uint8)
facenet.Facenet(model_path={recognizer!r}, detector=None, engine="litert").embed(photo)
retinaface.Retinaface(model_path={detector!r}, engine="keras", enlarge=False).detect(photo)
"""


def test_first_embedding_and_detection_need_nothing_heavy(tmp_path):
    recognizer, detector = (str(tmp_path / name) for name in ("r.weights.h5", "d.weights.h5"))
    save_weights(facenet(backbone="arcface_mobilefacenet"), recognizer)
    save_weights(RetinaFace(cfg_mnet), detector)
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(heavy=HEAVY, recognizer=recognizer, detector=detector)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
