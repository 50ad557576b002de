"""Anchors (prior boxes) of RetinaFace."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np


class Anchors:
    """The anchors of a detector for one image size.

    Args:
        cfg: has `steps`, the stride of each pyramid level in pixels, and `min_sizes`, the sides of
            each level's square anchors in pixels (`utils.config.cfg_mnet`).
        image_size: (height, width) of the network's input in pixels.

    Raises:
        ValueError: `steps` and `min_sizes` differ in length, or the size is not positive.
    """

    def __init__(self, cfg: Mapping, image_size: tuple[int, int]) -> None:
        """Checks the settings; the anchors are made on the first call of `get_anchors`."""
        self.steps = tuple(int(step) for step in cfg["steps"])
        self.min_sizes = tuple(tuple(float(s) for s in sizes) for sizes in cfg["min_sizes"])
        self.image_size = (int(image_size[0]), int(image_size[1]))
        if len(self.steps) != len(self.min_sizes):
            raise ValueError(f"{len(self.steps)} steps but {len(self.min_sizes)} min_sizes")
        if min(self.image_size) < 1:
            raise ValueError(f"image_size {self.image_size}: at least 1 pixel expected")

    def get_anchors(self) -> np.ndarray:
        """Returns all anchors, in the order of the network's outputs.

        Levels in the order of `steps`; within one the cells row by row; within a cell the sizes.
        A level has ceil(side / step) cells a side, with centres at (i + 0.5) * step. Anchors reach
        over the border of the image.

        Returns:
            (A, 4) float32 xyxy, as fractions of the image's width and height. Read-only, since
            calls of the same size share it.
        """
        return _anchors(self.steps, self.min_sizes, self.image_size)


@lru_cache(maxsize=32)
def _anchors(
    steps: tuple[int, ...], min_sizes: tuple[tuple[float, ...], ...], image_size: tuple[int, int]
) -> np.ndarray:
    levels = [_level(*level, image_size) for level in zip(steps, min_sizes, strict=True)]
    anchors = np.concatenate(levels)
    anchors.flags.writeable = False
    return anchors


def _level(step: int, sizes: tuple[float, ...], image_size: tuple[int, int]) -> np.ndarray:
    rows, columns = (-(-side // step) for side in image_size)
    y1, y2 = _spans(rows, step, sizes, image_size[0])
    x1, x2 = _spans(columns, step, sizes, image_size[1])
    level = np.empty((rows, columns, len(sizes), 4), np.float32)
    level[..., 0], level[..., 2] = x1, x2
    level[..., 1], level[..., 3] = y1[:, None], y2[:, None]
    return level.reshape(-1, 4)


def _spans(cells: int, step: int, sizes: tuple[float, ...], side: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns both ends of every anchor along one side, each (cells, sizes), as fractions."""
    centers = (np.arange(cells)[:, None] + 0.5) * step
    half = np.array(sizes) / 2
    return (centers - half) / side, (centers + half) / side
