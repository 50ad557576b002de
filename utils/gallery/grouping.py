"""Mode `cluster` of predict.py: groups the faces of photos by person, without a gallery."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.faces.alignment import crop
from utils.faces.embedded_photos import stream_photos
from utils.faces.embeddings import Embedder
from utils.faces.face_table import records, write_csv
from utils.gallery.clustering import NOISE, cluster
from utils.images.image_files import save_image
from utils.images.placement import letterbox
from utils.pictures.drawing import contact_sheet

_MOST_ON_SHEET = 100
_THUMBNAIL = 96  # side in pixels
_DBSCAN_SHARE = 0.8  # times the threshold: dbscan goes from face to face, so each step must be safer


def group(facenet: Embedder, paths: Iterable[str | os.PathLike], settings: Mapping[str, Any]) -> Iterator[str]:
    """Groups the faces of photos by person.

    Writes cluster.csv with a line for each face: file, face, box, score, group (empty for a face that is in no group);
    and a contact sheet of each group. That of the largest group is clusters/group_001.jpg.

    Args:
        facenet: detector, network and threshold.
        paths: photos and folders of photos.
        settings: cluster_method, cluster_threshold, dir_save_path.

    Raises:
        ImageError, ValueError: as for `utils.faces.embedded_photos.stream_photos`.
        ValueError: unknown method.
    """
    faces: list[dict[str, Any]] = []
    thumbnails: list[np.ndarray] = []
    embeddings: list[np.ndarray] = []
    for photo, _ in stream_photos(facenet, paths):
        faces += records(photo)
        embeddings.extend(photo.embedding)
        crops = [crop(photo.image, box, margin=0.4) for box in photo.faces.boxes]
        thumbnails += [letterbox(face, (_THUMBNAIL, _THUMBNAIL), fill=255)[0] for face in crops]
    labels = _groups(embeddings, facenet.threshold, settings)
    for face, label in zip(faces, labels, strict=True):
        face["group"] = None if label == NOISE else int(label) + 1
    target = Path(settings["dir_save_path"])
    write_csv(target / "cluster.csv", faces, ["group"])
    count = int(labels.max(initial=NOISE)) + 1
    _write_sheets(target / "clusters", thumbnails, labels, count)
    yield f"{len(faces)} faces in {count} groups, {np.sum(labels == NOISE)} in none: {target / 'cluster.csv'}"
    for label in range(count):
        yield f"  {_sheet_name(label)}: {np.sum(labels == label)} faces"


def _groups(embeddings: Sequence[np.ndarray], threshold: float, settings: Mapping[str, Any]) -> np.ndarray:
    """Returns the group of each face, as `utils.gallery.clustering.cluster` numbers them."""
    method, chosen = settings["cluster_method"], settings["cluster_threshold"]
    if chosen is None:
        chosen = threshold * (_DBSCAN_SHARE if method == "dbscan" else 1)
    stacked = np.stack(embeddings) if len(embeddings) else np.zeros((0, 0), np.float32)
    return cluster(stacked, chosen, method)


def _sheet_name(label: int) -> str:
    return f"group_{label + 1:03d}.jpg"


def _write_sheets(folder: Path, thumbnails: Sequence[np.ndarray], labels: np.ndarray, count: int) -> None:
    """Replaces the sheets of an earlier run by one for each group."""
    for path in folder.glob("group_[0-9]*.jpg"):
        path.unlink()
    for label in range(count):
        members = np.flatnonzero(labels == label)
        shown = members[:_MOST_ON_SHEET]
        caption = f"group {label + 1}: {len(members)} faces"
        caption += f", {len(shown)} shown" if len(shown) < len(members) else ""
        sheet = contact_sheet([thumbnails[i] for i in shown], caption, _THUMBNAIL)
        save_image(folder / _sheet_name(label), sheet)
