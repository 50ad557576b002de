"""Finds the weights that a setting `model_path` names: a file, or a published one."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from utils.files.cache import cache_folder
from utils.files.project import beside_project
from utils.weights.published import REGISTRY, SETS, PublishedWeights, find

SHIPPED = beside_project("model_data")


def locate(model_path: str | os.PathLike, default: str | os.PathLike | None = None) -> str:
    """Returns the path of the weights that a setting names.

    A published name, such as "arcface_mobilefacenet", is the file of that name in the project's model_data or in the
    cache folder; where it is in neither, it is downloaded into the cache folder, once.

    Args:
        model_path: a path, which wins if it exists; or a published name.
        default: the default of that setting, which is relative to the project, not to the working directory.

    Returns:
        A path: for a set of files such as "mtcnn" that of their folder. A path that does not exist comes back as it is.

    Raises:
        DownloadError: the published file cannot be downloaded.
    """
    path = os.fspath(model_path)
    if default is not None and path == os.fspath(default):
        return str(beside_project(path))
    if os.path.exists(path) or path not in (*REGISTRY, *SETS):
        return path
    entries = find(path)
    cache = cache_folder("weights")
    for folder in (SHIPPED, cache):
        if all((folder / entry.file_name).is_file() for entry in entries):
            break
    else:
        folder = _fetch(path, entries, cache)
    return str(folder if path in SETS else folder / entries[0].file_name)


def _fetch(name: str, entries: Iterable[PublishedWeights], folder: Path) -> Path:
    """Downloads what a name stands for into a folder, and returns that."""
    from utils.weights.downloads import download

    print(f"{name}: downloading published weights to {folder}", file=sys.stderr)
    for entry in entries:
        download(entry, folder)
    return folder
