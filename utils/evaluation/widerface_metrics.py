"""WIDER FACE average precision (easy, medium, hard), as the benchmark's evaluation tool has it.

The rules, from the tool by Yang et al. (WIDER FACE, CVPR 2016):
- scores are stretched to 0..1 over the whole set;
- each detection claims the face it overlaps most; a claim needs IoU >= the threshold, in whole
  pixels (a side is x2 - x1 + 1);
- a claim on a face outside the setting takes the detection out of the count; any other detection
  is a proposal, even one that claims a face already found;
- a face of the setting is found from its best-scoring claim on;
- 1,000 score thresholds give the precision-recall curve, and AP is the area under its
  precision envelope (VOC 2010).

A face is found at the score of its best claim, whatever the order of the others, so matching
needs no loop over detections, and counts at all thresholds are histograms summed over images.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from utils.evaluation.widerface_results import read_ground_truth, read_results
from utils.faces.boxes import iou

THRESHOLDS = 1.0 - np.arange(1, 1001) / 1000.0
"""(1000,) falling score thresholds, 0.999 to 0; a detection counts from score >= threshold."""


@dataclass(frozen=True)
class PrecisionRecall:
    """Curve over the 1,000 thresholds, strictest first.

    Attributes:
        precision: (1000,) float64, 0 to 1; 0 where there is no proposal.
        recall: (1000,) float64, 0 to 1, rising; NaN if the setting has no face.
        average_precision: area under the precision envelope, 0 to 1; NaN if there is no face.
        faces: faces of the setting.
    """

    precision: np.ndarray
    recall: np.ndarray
    average_precision: float
    faces: int


def evaluate(
    pred_dir: str | os.PathLike, gt_dir: str | os.PathLike, iou_thresh: float = 0.5, allow_missing: bool = False
) -> dict[str, float]:
    """Scores a folder of results; arguments and errors are those of `evaluate_curves`.

    Returns:
        {"easy": AP, "medium": AP, "hard": AP}, each 0 to 1, NaN for a setting without faces.
    """
    curves = evaluate_curves(pred_dir, gt_dir, iou_thresh, allow_missing)
    return {setting: curve.average_precision for setting, curve in curves.items()}


def evaluate_curves(
    pred_dir: str | os.PathLike, gt_dir: str | os.PathLike, iou_thresh: float = 0.5, allow_missing: bool = False
) -> dict[str, PrecisionRecall]:
    """Scores a folder of results and keeps the precision-recall curves.

    Args:
        pred_dir: `<event>/<image>.txt` files, see `widerface_results.write_result`.
        gt_dir: folder of wider_face_val.mat and wider_{easy,medium,hard}_val.mat.
        iou_thresh: least overlap of a match, above 0, at most 1.
        allow_missing: score only the images that have a result file: for partial runs, not
            comparable with published figures. (The official tool takes a missing file as an
            image without detections, which hides a wrong folder behind a low AP.)

    Returns:
        {"easy": curve, "medium": curve, "hard": curve}.

    Raises:
        ValueError: A missing or malformed file or folder, images without a result unless
            `allow_missing`, or no result that names an image of the ground truth.
    """
    truth = read_ground_truth(gt_dir)
    results = read_results(pred_dir)
    present = [index for index, image in enumerate(truth.images) if image in results]
    missing = len(truth.images) - len(present)
    if not present:
        raise ValueError(f"{pred_dir}: no result names an image of the ground truth in {gt_dir}")
    if missing and not allow_missing:
        event, name = next(image for image in truth.images if image not in results)
        raise ValueError(
            f"{pred_dir}: {missing} of {len(truth.images)} images have no result, the first is "
            f"{event}/{name}.txt; write them, or pass allow_missing=True to score the rest"
        )
    truth = truth.select(present)
    rows = [results[image] for image in truth.images]
    return evaluate_arrays(
        [image[:, :4] for image in rows], [image[:, 4] for image in rows], truth.boxes, truth.keep, iou_thresh
    )


def evaluate_arrays(
    boxes: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    keep: Mapping[str, Sequence[np.ndarray]],
    iou_thresh: float = 0.5,
) -> dict[str, PrecisionRecall]:
    """Scores arrays of detections, one entry per image, detections in any order.

    Args:
        boxes: N arrays (D, 4) of detections, xyxy pixels.
        scores: N arrays (D,) of any finite range.
        truths: N arrays (G, 4) of labelled faces, xyxy pixels.
        keep: for each setting, N bool arrays (G,): the faces that count; the rest is ignored.
        iou_thresh: least overlap of a match, above 0, at most 1.

    Returns:
        {setting: curve}.

    Raises:
        ValueError: lengths that differ, scores that are not finite, or a bad `iou_thresh`.
    """
    if not 0.0 < iou_thresh <= 1.0:
        raise ValueError(f"iou_thresh must be above 0 and at most 1, got {iou_thresh}")
    if any(len(part) != len(truths) for part in (boxes, scores, *keep.values())):
        raise ValueError("boxes, scores, truths and each keep must have one entry per image")
    steps = _first_step(_concatenate(scores, np.float64))
    claims = _claims(boxes, truths, iou_thresh)
    if len(steps) != len(claims):
        raise ValueError(f"{len(claims)} boxes but {len(steps)} scores")
    # The tool skips an image without labelled faces, false detections and all.
    counted = np.repeat([len(faces) > 0 for faces in truths], [len(image) for image in boxes])
    return {
        setting: _curve(steps[counted], claims[counted], _concatenate(masks, bool)) for setting, masks in keep.items()
    }


def overlaps(boxes: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Returns the IoU of every pair in whole pixels: a side is x2 - x1 + 1, as the benchmark's own tool counts it.

    See also `utils.faces.boxes.iou`, where a side is x2 - x1, which suppression and all else use.

    Args:
        boxes: (D, 4) xyxy.
        truths: (G, 4) xyxy.

    Returns:
        (D, G) float64, 0 to 1.
    """
    last_pixel = np.array([0.0, 0.0, 1.0, 1.0])
    return iou(boxes + last_pixel, truths + last_pixel)


def average_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    """Returns the area under the precision envelope over recall (all points, VOC 2010), 0 to 1.

    Args:
        recall: (T,) rising, 0 to 1.
        precision: (T,) 0 to 1.
    """
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def _curve(steps: np.ndarray, claims: np.ndarray, keep: np.ndarray) -> PrecisionRecall:
    """Returns the curve of one setting.

    Args:
        steps: (D,) index of the first threshold that lets each detection in.
        claims: (D,) face that each detection claims, -1 for none.
        keep: (G,) faces that count.
    """
    last = len(THRESHOLDS)
    right = (claims >= 0) & np.append(keep, False)[claims]
    proposal = right | (claims < 0)
    found = np.full(len(keep), last)
    np.minimum.at(found, claims[right], steps[right])
    proposals = np.cumsum(np.bincount(steps[proposal], minlength=last))
    recalled = np.cumsum(np.bincount(found, minlength=last + 1)[:last])
    faces = int(np.count_nonzero(keep))
    precision = recalled / np.maximum(proposals, 1)
    recall = recalled / faces if faces else np.full(last, np.nan)
    return PrecisionRecall(precision, recall, average_precision(recall, precision), faces)


def _first_step(scores: np.ndarray) -> np.ndarray:
    """Returns the (D,) index of the first threshold at or below each score, after min-max normalisation.

    Equal scores all count as 1: the tool divides zero by zero there.
    """
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinite values")
    if not scores.size:
        return np.empty(0, np.int64)
    low, high = scores.min(), scores.max()
    normalized = (scores - low) / (high - low) if high > low else np.ones_like(scores)
    return len(THRESHOLDS) - np.searchsorted(THRESHOLDS[::-1], normalized, side="right")


def _claims(boxes: Sequence[np.ndarray], truths: Sequence[np.ndarray], iou_thresh: float) -> np.ndarray:
    """Returns the (D,) face that each detection overlaps most, counted over all images; -1 below the threshold.

    Of faces that it overlaps equally it takes the first.
    """
    claims = [np.empty(0, np.int64)]
    offset = 0
    for detections, faces in zip(boxes, truths, strict=True):
        claim = np.full(len(detections), -1)
        if len(detections) and len(faces):
            iou = overlaps(detections, faces)
            nearest = iou.argmax(axis=1)
            hit = iou[np.arange(len(iou)), nearest] >= iou_thresh
            claim[hit] = nearest[hit] + offset
        claims.append(claim)
        offset += len(faces)
    return np.concatenate(claims)


def _concatenate(parts: Sequence[np.ndarray], dtype: DTypeLike) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *(np.asarray(part, dtype).ravel() for part in parts)])
