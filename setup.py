"""Builds the wheel: one package `faces`, made of a tree whose files lie side by side.

In a clone the modules are called `utils...`, `nets...`, `facenet`; installed they are `faces.utils...`, so that nothing
of the same name at the user's is hidden. The build moves the files and rewrites their imports; all else is in
pyproject.toml.
"""

import re
import tempfile
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

FACE = "faces"  # the module that becomes the package's __init__.py
ROOT = Path(__file__).parent
# Downloaded weights may lie in model_data, too, and stay out.
OURS = [path.name.removesuffix(".weights.h5") for path in ROOT.glob("model_data/*.weights.h5")]
DATA = [f"model_data/{name}.{end}" for name in OURS for end in ("weights.h5", "tflite", "json", "png")]
NAMES = "|".join(["nets", "utils", *({path.stem for path in ROOT.glob("*.py")} - {FACE, "setup"})])
# A module's name in an import or a command -> the same in the package.
RENAMINGS = {
    rf"^([ \t]*(?:>>> )?from )((?:{NAMES})\b[.\w]* import )": rf"\1{FACE}.\2",
    rf"^([ \t]*(?:>>> )?)import ((?:{NAMES})(?: as \w+)?)$": rf"\1from {FACE} import \2",
    rf"(python -m )((?:{NAMES})\b)": rf"\1{FACE}.\2",
}


class BuildFaces(build_py):
    """Copies the modules into `faces` under the names that they have there."""

    def run(self):
        """Builds; a clone is used in place, so an editable installation is refused."""
        if self.editable_mode:
            raise SystemExit("no editable installation: run the clone's scripts, or `pip install .`")
        super().run()

    def find_package_modules(self, package, package_dir):
        """Returns (package, module, file) of each module of a package, without this file."""
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if module[1] != "setup"]

    def get_module_outfile(self, build_dir, package, module):
        """Returns where a module is written."""
        name = "__init__" if module == FACE else module
        return super().get_module_outfile(build_dir, package, name)

    def build_module(self, module, module_file, package):
        """Copies a module and prefixes the names of this project's modules in it."""
        written, copied = super().build_module(module, module_file, package)
        text = Path(written).read_text(encoding="utf-8")
        for pattern, renamed in RENAMINGS.items():
            text = re.sub(pattern, renamed, text, flags=re.MULTILINE)
        Path(written).write_text(text, encoding="utf-8")
        return written, copied


# What an earlier build left behind in build/ would come along in the wheel, so each has a folder of its own.
scratch = tempfile.TemporaryDirectory()
packages = find_packages(str(ROOT), include=["nets", "nets.*", "utils", "utils.*"])
setup(
    packages=[FACE, *(f"{FACE}.{package}" for package in packages)],
    package_dir={FACE: ".", f"{FACE}.nets": "nets", f"{FACE}.utils": "utils"},
    package_data={FACE: [*DATA, "model_data/README.md", "img/*"]},
    cmdclass={"build_py": BuildFaces},
    options={"build": {"build_base": scratch.name}, "egg_info": {"egg_base": scratch.name}},
)
