"""WIDER FACE files: detection results in the benchmark's text layout and its .mat ground truth."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from utils.faces.detections import Detections
from utils.files.atomic_file import replacing

SETTINGS = ("easy", "medium", "hard")

Image = tuple[str, str]
"""(event, image name without extension), such as ("0--Parade", "0_Parade_marchingband_1_465")."""


@dataclass(frozen=True)
class GroundTruth:
    """Labelled faces of N images.

    Attributes:
        images: N (event, name) keys.
        boxes: N arrays (G, 4) float64, xyxy pixels (x + w, y + h as the benchmark has it).
        keep: for each of "easy", "medium" and "hard", N bool arrays (G,): the faces that count.
            The others are ignored: finding them is neither right nor wrong.
    """

    images: list[Image]
    boxes: list[np.ndarray]
    keep: Mapping[str, list[np.ndarray]]

    def select(self, indices: Iterable[int]) -> "GroundTruth":
        """Returns the ground truth of some of the images."""
        indices = list(indices)
        return GroundTruth(
            images=[self.images[i] for i in indices],
            boxes=[self.boxes[i] for i in indices],
            keep={setting: [masks[i] for i in indices] for setting, masks in self.keep.items()},
        )


def write_result(folder: str | os.PathLike, event: str, image_name: str, detections: Detections | ArrayLike) -> Path:
    """Writes `<folder>/<event>/<image>.txt`: the image name, the count, then a line `x y w h score` for each face.

    Args:
        folder: result folder; it is made if it does not exist.
        event: event folder of the image, such as "0--Parade".
        image_name: image file name; folders before it and .jpg, .jpeg or .png are dropped.
        detections: `Detections`, or (N, 5 or more) floats: x1 y1 x2 y2 score in pixels of the
            original image, more columns (landmarks) unused. N may be 0. The file has the best first.

    Returns:
        The file's path. The file is written as a whole or not at all.

    Raises:
        ValueError: an array of another shape, or NaN in it.
    """
    rows = _as_rows(detections)
    if not np.isfinite(rows).all():
        raise ValueError(f"detections of {event}/{image_name} hold NaN or infinite values")
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    rows[:, 2:4] -= rows[:, :2]
    stem = _stem(image_name)
    lines = [stem, str(len(rows))]
    lines += [f"{x:.4f} {y:.4f} {w:.4f} {h:.4f} {score:.9g}" for x, y, w, h, score in rows.tolist()]
    path = Path(folder, event, stem + ".txt")
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_result(path: str | os.PathLike) -> np.ndarray:
    """Reads one result file.

    Returns:
        (N, 5) float64: x1 y1 x2 y2 score, in the file's order.

    Raises:
        ValueError: A malformed file; the message gives file:line.
        OSError: the file cannot be read.
    """
    # A byte that is not UTF-8 becomes a malformed number, reported with its line.
    lines = Path(path).read_text(encoding="utf-8", errors="replace").rstrip().split("\n")
    count = lines[1].strip() if len(lines) > 1 else ""
    if not count.isdecimal():
        raise ValueError(f"{path}:2: expected the number of faces, got {count!r}")
    fields = [line.split() for line in lines[2:]]
    try:
        rows = np.array(fields, dtype=np.float64).reshape(-1, 5)
    except ValueError:
        rows = np.empty((0, 5))
    if len(rows) != len(fields) or not np.isfinite(rows).all():
        raise ValueError(f"{path}:{_first_malformed(fields)}: expected `x y w h score`")
    if len(rows) != int(count):
        raise ValueError(f"{path}:2: says {count} faces, but {len(rows)} lines follow")
    rows[:, 2:4] += rows[:, :2]
    return rows


def read_results(folder: str | os.PathLike) -> dict[Image, np.ndarray]:
    """Reads every `<folder>/<event>/<image>.txt`.

    Returns:
        {(event, image): (N, 5) float64, x1 y1 x2 y2 score}.

    Raises:
        ValueError: not a folder, no result in it, or a malformed file (file:line).
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: not a folder of results (<event>/<image>.txt)")
    paths = sorted(folder.glob("*/*.txt"))
    if not paths:
        raise ValueError(f"{folder}: holds no result, expected <event>/<image>.txt")
    return {(path.parent.name, path.stem): read_result(path) for path in paths}


def read_ground_truth(gt_dir: str | os.PathLike) -> GroundTruth:
    """Reads wider_face_val.mat and wider_{easy,medium,hard}_val.mat, the official ground truth.

    Raises:
        ValueError: A file that is missing or is not what its name says.
    """
    gt_dir = Path(gt_dir)
    path = gt_dir / "wider_face_val.mat"
    table = _load_mat(path, ("event_list", "file_list", "face_bbx_list"))
    try:
        events = [str(cell[0]) for cell in _cells(table["event_list"])]
        names = [[str(cell[0]) for cell in _cells(group)] for group in _cells(table["file_list"])]
        groups = _cells(table["face_bbx_list"])
        boxes = [_boxes_xyxy(cell) for group in groups for cell in _cells(group)]
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not WIDER FACE ground truth ({error})") from None
    images = [(event, name) for event, group in zip(events, names, strict=False) for name in group]
    if len(events) != len(names) or len(images) != len(boxes):
        raise ValueError(f"{path}: {len(images)} images but {len(boxes)} sets of boxes")
    sizes = [len(faces) for faces in boxes]
    keep = {name: _read_keep(gt_dir / f"wider_{name}_val.mat", sizes) for name in SETTINGS}
    return GroundTruth(images=images, boxes=boxes, keep=keep)


def _as_rows(detections: Detections | ArrayLike) -> np.ndarray:
    """Returns an (N, 5) float64 copy: xyxy, score."""
    if isinstance(detections, Detections):
        detections = np.column_stack([detections.boxes, detections.scores])
    rows = np.asarray(detections, np.float64)
    if rows.ndim == 2 and rows.shape[1] >= 5:
        return rows[:, :5].copy()
    if rows.size == 0:
        return np.empty((0, 5))
    raise ValueError(f"detections must be (N, 5): x1 y1 x2 y2 score; got {rows.shape}")


def _stem(image_name: str) -> str:
    name = Path(image_name).name
    stem, extension = os.path.splitext(name)
    return stem if extension.lower() in (".jpg", ".jpeg", ".png") else name


def _first_malformed(fields: list[list[str]]) -> int:
    """Returns the line number in the file of the first row that is not five finite numbers."""
    for number, row in enumerate(fields, start=3):
        try:
            values = np.array(row, dtype=np.float64)
        except ValueError:
            return number
        if values.shape != (5,) or not np.isfinite(values).all():
            return number
    raise AssertionError("no malformed row")


def _cells(column: object) -> list:
    """Returns the entries of a MATLAB cell column."""
    if not isinstance(column, np.ndarray) or column.dtype != object:
        raise ValueError("a table is not made of cells")
    return list(column.ravel())


def _whole(numbers: ArrayLike) -> np.ndarray:
    return np.asarray(numbers, np.int64).ravel()


def _boxes_xyxy(cell: ArrayLike) -> np.ndarray:
    boxes = np.asarray(cell, np.float64).reshape(-1, 4).copy()
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _read_keep(path: Path, sizes: list[int]) -> list[np.ndarray]:
    """Returns a mask per image from the file's face numbers, which count from 1."""
    groups = _load_mat(path, ("gt_list",))["gt_list"]
    try:
        cells = [_whole(cell) for group in _cells(groups) for cell in _cells(group)]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: not WIDER FACE ground truth ({error})") from None
    if len(cells) != len(sizes):
        raise ValueError(f"{path}: {len(cells)} images, but wider_face_val.mat has {len(sizes)}")
    masks = [np.zeros(size, bool) for size in sizes]
    for mask, numbers in zip(masks, cells, strict=True):
        if wrong := numbers[(numbers < 1) | (numbers > len(mask))].tolist():
            raise ValueError(f"{path}: keeps face {wrong[0]} of an image with {len(mask)}")
        mask[numbers - 1] = True
    return masks


def _load_mat(path: Path, keys: tuple[str, ...]) -> dict:
    """Returns the named tables of a .mat file, each an object array (events, 1)."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if not path.is_file():
        raise ValueError(f"{path}: missing; the folder must hold the official wider_*_val.mat")
    try:
        table = loadmat(path, variable_names=keys)
    except (MatReadError, NotImplementedError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a readable .mat file ({error})") from None
    if absent := [key for key in keys if key not in table]:
        raise ValueError(f"{path}: has no {', '.join(absent)}; not WIDER FACE ground truth")
    return table
