"""Non-maximum suppression: of boxes that overlap, the best one stays."""

import numpy as np

from utils.faces.boxes import area, intersection

# Boxes settled at once: their matrix stays in the cache.
_BLOCK = 64


def nms(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float, mode: str = "union") -> np.ndarray:
    """Returns the boxes that greedy non-maximum suppression keeps.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,); of equal scores the lower index goes first.
        iou_threshold: a box goes when it overlaps a kept one by more than this, 0 to 1.
        mode: what the shared area is divided by: "union" of the two boxes, or "min", the smaller
            one, which also removes a small box within a large one (MTCNN).

    Returns:
        (K,) int64 indices of the kept boxes, best first.

    Raises:
        ValueError: shapes that do not match, or an unknown mode.
    """
    boxes, scores = np.asarray(boxes, np.float32), np.asarray(scores)
    if mode not in ("union", "min"):
        raise ValueError(f"mode '{mode}': choose 'union' or 'min'")
    if boxes.shape != (scores.size, 4) or scores.ndim != 1:
        raise ValueError(f"boxes {boxes.shape} and scores {scores.shape}: (N, 4), (N,) expected")
    rest = np.argsort(-scores, kind="stable")
    kept = [rest[:0]]
    while rest.size:
        block, rest = rest[:_BLOCK], rest[_BLOCK:]
        block = block[_greedy(_suppresses(boxes[block], boxes[block], iou_threshold, mode))]
        rest = rest[~_suppresses(boxes[block], boxes[rest], iou_threshold, mode).any(axis=0)]
        kept.append(block)
    return np.concatenate(kept)


def _suppresses(a: np.ndarray, b: np.ndarray, threshold: float, mode: str) -> np.ndarray:
    """Returns (A, B) bool: whether each pair overlaps by more than the threshold."""
    shared = intersection(a, b)
    area_a, area_b = area(a)[:, None], area(b)
    if mode == "min":
        whole = np.minimum(area_a, area_b)
    else:
        whole = area_a + area_b
        whole -= shared
    whole *= threshold
    return shared > whole


def _greedy(suppresses: np.ndarray) -> np.ndarray:
    """Returns which of (N,) sorted boxes stay, bool, given the (N, N) matrix of pairs that overlap too much.

    A box stays if no kept box before it suppresses it. Starting from "all stay" and applying that
    rule until nothing changes gives the greedy answer: after n rounds the first n are settled, and
    in practice a few rounds settle all.
    """
    suppresses = np.triu(suppresses, 1)
    keep: np.ndarray = np.ones(len(suppresses), bool)
    while True:
        settled = ~suppresses[keep].any(axis=0)
        if np.array_equal(settled, keep):
            return keep
        keep = settled
