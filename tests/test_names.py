"""The names that users hold on to, wherever the code behind them lives."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import utils

ROOT = Path(__file__).resolve().parents[1]
WINGS = [module.name for module in pkgutil.iter_modules(utils.__path__) if module.ispkg]
PACKAGES = ["faces", *(f"utils.{wing}" for wing in WINGS)]
EXPORTS = [(package, name) for package in PACKAGES for name in importlib.import_module(package).__all__]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("facenet", "Facenet"),
        ("nets.facenet", "facenet"),
        ("nets.retinaface", "RetinaFace"),
        ("retinaface", "Retinaface"),
        ("utils.alignment", "align"),
        ("utils.anchors", "Anchors"),
        ("utils.config", "cfg_mnet"),
        ("utils.config", "cfg_re50"),
        ("utils.gallery", "Gallery"),
        ("utils.lfw_metrics", "best_threshold"),
        ("utils.lfw_metrics", "equal_error_rate"),
        ("utils.lfw_metrics", "evaluate"),
        ("utils.lfw_metrics", "tar_at_far"),
        ("utils.mtcnn", "Mtcnn"),
        ("utils.weights", "load_weights"),
        ("utils.weights", "save_weights"),
        ("utils.widerface_metrics", "evaluate"),
        ("utils.widerface_metrics", "evaluate_arrays"),
    ],
)
def test_name_is_where_users_look_for_it(module, name):
    assert look_up(module, name)


def look_up(module, name):
    """Returns what a module exports; skips the test where that needs TensorFlow and there is none."""
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name not in ("keras", "tensorflow"):
            raise
        pytest.skip(f"needs {error.name}")


@pytest.mark.parametrize(("package", "name"), EXPORTS)
def test_exported_name_is_there_and_says_what_it_is(package, name):
    assert name in dir(importlib.import_module(package))
    exported = look_up(package, name)
    assert exported.__name__ == name
    assert exported.__doc__


@pytest.mark.parametrize("package", PACKAGES)
def test_package_says_what_it_exports(package):
    module = importlib.import_module(package)
    assert all(name in module.__doc__ for name in module.__all__)


@pytest.mark.parametrize(("package", "name"), EXPORTS)
def test_exported_name_is_no_module_of_its_package(package, name):
    # Once such a module is imported, Python takes it for what the package exports under its name.
    assert not (ROOT / package.replace(".", "/") / f"{name}.py").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_name_that_is_not_exported_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        importlib.import_module(package).nothing  # noqa: B018


def test_importing_the_packages_imports_no_tensorflow():
    code = f"import sys, {', '.join(PACKAGES)}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
