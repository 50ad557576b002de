"""Boxes the faces of photos: of single ones, or of all in a folder, with a table."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from utils.faces.face_table import write_detections_csv
from utils.faces.photo_stream import detect_faces, face_stream
from utils.files.unique_names import UniqueNames
from utils.images.image_files import list_images, read_image, save_image
from utils.pictures.drawing import draw_detections

_CHUNK = 8  # photos in memory at once, of which one of 12 megapixels takes 36 MB


def box_photos(detector: Any, paths: Iterable[Path], save: Callable[[np.ndarray, str], None]) -> Iterator[str]:
    """Boxes every face of each photo; yields lines that say where the faces are.

    Args:
        detector: a `Retinaface` or `Mtcnn`.
        paths: the photos.
        save: called with each picture, (H, W, 3) uint8 RGB, and its file name.

    Raises:
        ImageError: a photo cannot be read.
    """
    unique = UniqueNames()
    for path in paths:
        image = read_image(path)
        faces = detector.detect(image)
        yield f"{path}: {len(faces) or 'no'} face{'' if len(faces) == 1 else 's'} found"
        for row in faces.to_array():
            yield "  x1 {:.0f}  y1 {:.0f}  x2 {:.0f}  y2 {:.0f}  score {:.3f}".format(*row[:5])
        save(draw_detections(image, faces), f"{unique(f'{path.stem}_detect')}.jpg")


def box_folder(
    detector: Any, folder: str | os.PathLike, target: str | os.PathLike, complain: Callable[[str], None] = print
) -> Iterator[str]:
    """Boxes the faces of every photo of a folder; yields a line that says how many there are.

    Writes each picture at the photo's place in the folder, and faces.csv, one line per face.

    Args:
        detector: a `Retinaface` or `Mtcnn`.
        folder: the photos, in folders of any depth.
        target: folder of the results.
        complain: called with a line for each photo that cannot be read.

    Raises:
        OSError: there is no such folder, or a result cannot be written.
        ValueError: the folder has no photos, or none that can be read.
    """
    from tqdm import tqdm

    paths = list_images(folder)
    if not paths:
        raise ValueError(f"{folder}: no photos in this folder")
    stream = face_stream(paths, [partial(detect_faces, detect_batch=detector.detect_batch)], _CHUNK)
    rows: list[tuple] = []
    unreadable = []
    for photo in tqdm(stream, total=len(paths), unit="photo"):
        if photo.error:
            unreadable.append(photo.error)
            continue
        name = photo.source.relative_to(folder)
        picture = draw_detections(photo.image, photo.faces)
        save_image(Path(target, name.parent, f"{name.name}_detect.jpg"), picture)
        rows += [(name, *row.tolist()) for row in photo.faces.to_array()]
    table = Path(target) / "faces.csv"
    write_detections_csv(table, rows)
    for line in unreadable:
        complain(f"left out: {line}")
    yield f"{len(rows)} faces in {len(paths) - len(unreadable)} photos: {table}"
    if len(unreadable) == len(paths):
        raise ValueError(f"{folder}: none of its {len(paths)} photos can be read")
