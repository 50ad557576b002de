"""Names for contents: of files, of weights, of the code that decides a result."""

import ast
import hashlib
import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from utils.files.project import PACKAGE_PREFIX, PROJECT

DIGEST_BYTES = 16
_TF1_ENDING = r"\.(index|meta|data-\d+-of-\d+)"
_VERSIONED = ("ai-edge-litert", "keras", "numpy", "tensorflow")


def digest(source: str | os.PathLike | bytes) -> bytes:
    """Returns 16 bytes that name the content of a file, or of bytes (BLAKE2b).

    Raises:
        OSError: the file cannot be read.
    """
    content = source if isinstance(source, bytes) else Path(source).read_bytes()
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def weights_digest(path: str | os.PathLike) -> str:
    """Returns a name for the content of weights.

    Args:
        path: a file, a TensorFlow 1 checkpoint (its prefix or one of its files), or a folder of MTCNN's det*.npy.

    Raises:
        FileNotFoundError: no weights there.
    """
    path = Path(path)
    prefix = re.sub(_TF1_ENDING + "$", "", path.name)
    files: list[Path] = []
    if path.is_dir():
        files = sorted(path.glob("det*.npy"))
    elif path.with_name(f"{prefix}.index").is_file():  # of one checkpoint, all files count, whichever was given
        part = re.compile(re.escape(prefix) + _TF1_ENDING)
        files = sorted(file for file in path.parent.iterdir() if part.fullmatch(file.name))
    elif path.is_file():
        files = [path]
    if not files:
        published = "no such weight file; published ones: python -m utils.weights download list"
        raise FileNotFoundError(f"{path}: {'no det*.npy in this folder' if path.is_dir() else published}")
    # Names of a folder's files matter, the name of a single file does not.
    names = [file.name for file in files] if len(files) > 1 else [""]
    parts = [name.encode() + digest(file) for name, file in zip(names, files, strict=True)]
    return digest(b"".join(parts)).hex()


@lru_cache
def code_digest(modules: tuple[str, ...]) -> str:
    """Returns a name for the code that decides an embedding.

    It covers the modules, whatever of this project they import, and the versions of the libraries
    that run the networks.

    Args:
        modules: dotted names as in a clone, such as ("facenet", "utils.detection.mtcnn").

    Raises:
        OSError: there is no such module in this project.
    """
    waiting = [_file(name) for name in modules]
    contents: dict[Path, bytes] = {}
    while waiting:
        path = waiting.pop()
        if path not in contents:
            contents[path] = path.read_bytes()
            waiting += _imported(contents[path])
    parts = [path.name.encode() + digest(contents[path]) for path in sorted(contents)]
    return digest(b"".join(parts) + json.dumps({name: _version(name) for name in _VERSIONED}).encode()).hex()


def _imported(source: bytes) -> Iterator[Path]:
    """Yields the files of this project that a module's source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from utils import boxes` names a module, `from utils.faces.boxes import iou` does not.
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (path for path in map(_file, names) if path.is_file())


def _file(module: str) -> Path:
    """Returns where a module of this project would be, named with or without the package."""
    return PROJECT / f"{module.removeprefix(PACKAGE_PREFIX).replace('.', '/')}.py"


def _version(library: str) -> str:
    from importlib import metadata  # takes as long to import as all of this project's own modules

    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""
