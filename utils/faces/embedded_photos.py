"""Embeds every face of photos and of folders of photos."""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from utils.faces.embeddings import Embedder
from utils.faces.photo_stream import Photo, detect_faces, face_stream
from utils.files.unique_names import UniqueNames
from utils.images.image_files import ImageError, list_images

_CHUNK = 8  # photos in memory at once, of which one of 12 megapixels takes 36 MB


def stream_photos(facenet: Embedder, paths: Iterable[str | os.PathLike]) -> Iterator[tuple[Photo, str]]:
    """Finds and embeds all faces of photos. Unreadable photos of folders are left out with a warning.

    Args:
        facenet: detector and network.
        paths: photos and folders of photos.

    Yields:
        Each photo, whose `embedding` is (n, D) here, of all its n faces; and a name for its
        picture, without an ending, that no other has.

    Raises:
        ImageError: one of the photos in `paths` itself cannot be read.
        ValueError: there is no detector, a folder has no photos, or no photo can be read.
    """
    if facenet.detector is None:
        raise ValueError("detector none: this mode needs retinaface or mtcnn")
    given = dict.fromkeys(Path(path) for path in paths)
    listed = _listed(list(given))
    stages = [partial(detect_faces, detect_batch=facenet.detect_batch), partial(_embed_all, facenet=facenet)]
    stream = face_stream([path for path, _ in listed], stages, _CHUNK)
    readable = 0
    for photo, (path, name) in zip(stream, listed, strict=True):
        if not photo.error:
            readable += 1
            yield photo, name
        elif path in given:
            raise ImageError(photo.error)
        else:
            warnings.warn(f"left out: {photo.error}", stacklevel=2)
    if not readable:
        raise ValueError(f"none of the {len(listed)} photos can be read")


def _listed(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Returns the photos of folders and single ones, each with a unique name for its picture."""
    listed: list[tuple[Path, str]] = []
    for path in paths:
        found = list_images(path) if path.is_dir() else [path]
        if not found:
            raise ValueError(f"{path}: no photos in this folder")
        names = [p.relative_to(path).as_posix() for p in found] if path.is_dir() else [path.stem]
        listed += zip(found, names, strict=True)
    unique = UniqueNames()
    return [(path, unique(name)) for path, name in listed]


def _embed_all(photos: list[Photo], facenet: Embedder) -> None:
    """Stage: embeds all faces of the photos, those of a chunk together."""
    crops = [facenet.align(p.image, points) for p in photos for points in p.faces.landmarks]
    embeddings = facenet.embed_crops(crops) if crops else np.zeros((0, 0), np.float32)
    ends = np.cumsum([len(photo.faces) for photo in photos])
    for photo, rows in zip(photos, np.split(embeddings, ends[:-1]), strict=True):
        photo.embedding = rows
