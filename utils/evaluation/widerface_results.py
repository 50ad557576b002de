"""WIDER FACE files: detection results in the benchmark's text layout and its .mat ground truth."""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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


def result_path(folder: str | os.PathLike, event: str, name: str) -> Path:
    """Returns the result file of an image: `<folder>/<event>/<name>.txt`."""
    return Path(folder, event, f"{name}.txt")


def write_result(path: Path, faces: Detections) -> None:
    """Writes a result file: the image's name, the count, then a line `x y w h score` for each face, the best first.

    Args:
        path: see `result_path`; the folder is made, the file is written as a whole or not at all.
        faces: in pixels of the original image.

    Raises:
        ValueError: NaN among the numbers.
    """
    rows = faces.to_array()[:, :5].astype(np.float64)
    if not np.isfinite(rows).all():
        raise ValueError(f"{path}: the detections hold NaN or infinite values")
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    rows[:, 2:4] -= rows[:, :2]
    lines = [f"{x:.4f} {y:.4f} {w:.4f} {h:.4f} {score:.9g}" for x, y, w, h, score in rows.tolist()]
    with replacing(path) as temporary:
        temporary.write_text("\n".join([path.stem, str(len(rows)), *lines]) + "\n", encoding="utf-8")


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
    rows = [_parse_face(line, f"{path}:{number}") for number, line in enumerate(lines[2:], start=3)]
    if len(rows) != int(count):
        raise ValueError(f"{path}:2: says {count} faces, but {len(rows)} lines follow")
    faces = np.array(rows).reshape(-1, 5)
    faces[:, 2:4] += faces[:, :2]
    return faces


def _parse_face(line: str, place: str) -> list[float]:
    try:
        numbers = [float(word) for word in line.split()]
    except ValueError:
        numbers = []
    if len(numbers) != 5 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{place}: expected `x y w h score`")
    return numbers


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
    events, files, groups = _load_cells(path, "event_list", "file_list", "face_bbx_list")
    names = [(str(event[0]), str(cell[0])) for event, group in zip(events, files, strict=False) for cell in group]
    boxes = [_boxes_xyxy(cell) for group in groups for cell in group]
    if len(events) != len(files) or len(names) != len(boxes):
        raise ValueError(f"{path}: {len(names)} images but {len(boxes)} sets of boxes")
    sizes = [len(faces) for faces in boxes]
    keep = {name: _read_keep(gt_dir / f"wider_{name}_val.mat", sizes) for name in SETTINGS}
    return GroundTruth(images=names, boxes=boxes, keep=keep)


def _boxes_xyxy(cell: np.ndarray) -> np.ndarray:
    boxes = cell.astype(np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _read_keep(path: Path, sizes: list[int]) -> list[np.ndarray]:
    """Returns a mask for each image from the file's face numbers, which count from 1."""
    (groups,) = _load_cells(path, "gt_list")
    cells = [cell.ravel().astype(np.int64) for group in groups for cell in group]
    if len(cells) != len(sizes):
        raise ValueError(f"{path}: {len(cells)} images, but wider_face_val.mat has {len(sizes)}")
    masks = [np.zeros(size, bool) for size in sizes]
    for mask, numbers in zip(masks, cells, strict=True):
        if wrong := numbers[(numbers < 1) | (numbers > len(mask))].tolist():
            raise ValueError(f"{path}: keeps face {wrong[0]} of an image with {len(mask)}")
        mask[numbers - 1] = True
    return masks


def _load_cells(path: Path, *keys: str) -> list[list[Any]]:
    """Returns the named tables of a .mat file, MATLAB cell columns, as lists; a cell of cells as a list, too."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if not path.is_file():
        raise ValueError(f"{path}: missing; the folder must hold the official wider_*_val.mat")
    try:
        tables = loadmat(path, variable_names=keys)
    except (MatReadError, NotImplementedError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a readable .mat file ({error})") from None
    if absent := [key for key in keys if key not in tables]:
        raise ValueError(f"{path}: has no {', '.join(absent)}; not WIDER FACE ground truth")
    if not all(tables[key].dtype == object for key in keys):
        raise ValueError(f"{path}: not WIDER FACE ground truth (a table is not made of cells)")
    return [_unpack(tables[key]) for key in keys]


def _unpack(cells: np.ndarray) -> list[Any]:
    return [_unpack(cell) if cell.dtype == object else cell for cell in cells.ravel()]
