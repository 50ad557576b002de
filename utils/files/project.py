"""The project's own folder, which holds the default weights and the sample photos."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
# "" in a clone; "faces." where the project is installed as the package `faces`
PACKAGE_PREFIX = __package__.removesuffix("utils.files")


def beside_project(path: str | os.PathLike) -> Path:
    """Returns a relative default path, such as "img/group.jpg", as a path in the project's folder.

    It is for defaults only: a path that the user gives is relative to the working directory. An absolute path comes
    back as it is.
    """
    return PROJECT / path
