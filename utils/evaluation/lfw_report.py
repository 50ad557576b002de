"""What a verification run reports: its protocol, its figures on the screen, as JSON and as pictures."""

import warnings
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from utils.engine.stopwatch import Stopwatch
from utils.evaluation.embedder import Embeddings
from utils.evaluation.lfw_metrics import VerificationResult
from utils.evaluation.lfw_pairs import PairSet
from utils.files.atomic_file import save_json

_LISTED = 5  # images or pairs named on the screen; the JSON file names all


def protocol(settings: Mapping[str, Any], pairs: PairSet) -> str:
    """Returns one line that says how the figures were made.

    Args:
        settings: those of eval_LFW.py; of them packed_path, detector, letterbox_image, flip, subtract_mean and
            distance_metric.
        pairs: the set that is scored.
    """
    if settings["packed_path"] is not None:
        faces = "crops as packed"
    elif settings["detector"] is None:
        fitted = "letterboxed" if settings["letterbox_image"] else "stretched"
        faces = f"whole images, not aligned, {fitted}"
    else:
        faces = f"five-point alignment, {settings['detector']}"
    embeddings = "image + mirror image" if settings["flip"] else "image"
    mean = ", mean subtracted" if settings["subtract_mean"] else ""
    return (
        f"{pairs.name}, {len(pairs.labels)} pairs in {len(np.unique(pairs.folds))} folds; {faces}; "
        f"embedding of {embeddings}{mean}; {settings['distance_metric']} distance"
    )


def print_report(settings: Mapping[str, Any], pairs: PairSet, found: Embeddings, result: VerificationResult) -> None:
    """Prints the protocol, what was left out or guessed, and the figures.

    Args:
        settings: those that `protocol` reads.
        pairs: the set that was scored.
        found: its embeddings.
        result: its figures.
    """
    print(f"Protocol: {protocol(settings, pairs)}")
    print(f"Pairs skipped: {len(pairs.skipped)}")
    _print_some(f"{pair}: {reason}" for pair, reason in pairs.skipped)
    faceless = names_without_face(pairs, found)
    if (found.faces >= 0).any():
        several = np.count_nonzero(found.faces > 1)
        print(f"Images with several faces: {several}, the largest near the centre is taken")
        print(f"Images without a face: {len(faceless)}, their middle is taken")
        _print_some(faceless)
    print(f"Accuracy: {result.accuracy_mean:.5f}+-{result.accuracy_std:.5f}")
    for tar, std, far in zip(result.tar_mean, result.tar_std, result.fars, strict=True):
        print(f"Validation rate: {tar:.5f}+-{std:.5f} @ FAR={far:.5f}")
    print(f"Best threshold: {result.threshold:.5f}")
    print(f"Area under the curve: {result.auc:.5f}")
    print(f"Equal error rate: {result.eer:.5f}")


def _print_some(lines: Iterable[str]) -> None:
    """Prints the first lines, and how many more there are."""
    lines = list(lines)
    for line in lines[:_LISTED]:
        print(f"  {line}")
    if len(lines) > _LISTED:
        print(f"  and {len(lines) - _LISTED} more, see the JSON file")


def names_without_face(pairs: PairSet, found: Embeddings) -> list[str]:
    """Returns the names of the images in which no face was found."""
    return [pairs.names[index] for index in np.flatnonzero(found.faces == 0)]


def save_report(
    settings: Mapping[str, Any], pairs: PairSet, found: Embeddings, result: VerificationResult, clock: Stopwatch
) -> list[Path]:
    """Writes lfw.json, lfw_roc.png and lfw_distances.png; returns their paths.

    Where matplotlib is not installed, a warning says so and there are no pictures.

    Args:
        settings: those of eval_LFW.py; all go into the JSON file, output_dir says where the files go.
        pairs: the set that was scored.
        found: its embeddings.
        result: its figures.
        clock: the times of the run.
    """
    folder = Path(settings["output_dir"])
    paths = [folder / name for name in ("lfw.json", "lfw_roc.png", "lfw_distances.png")]
    report = {
        "protocol": protocol(settings, pairs),
        "settings": dict(settings),
        **figures(result),
        "pairs": len(pairs.labels),
        "images": len(pairs.images),
        "skipped_pairs": [{"pair": pair, "reason": reason} for pair, reason in pairs.skipped],
        "images_without_face": names_without_face(pairs, found),
        "images_with_several_faces": int(np.count_nonzero(found.faces > 1)),
        "seconds": clock.seconds,
        "stages": clock.stages(),
    }
    save_json(paths[0], report)
    if find_spec("matplotlib") is None:
        warnings.warn("no pictures of the curves without matplotlib: pip install matplotlib", stacklevel=2)
        return paths[:1]
    from utils.pictures.plots import save_distances, save_roc

    points = dict(zip(result.fars.tolist(), result.tar_mean.tolist(), strict=True))
    save_roc(paths[1], result.roc, f"ROC, area {result.auc:.5f}", points)
    title = f"Accuracy {result.accuracy_mean:.5f}+-{result.accuracy_std:.5f}"
    save_distances(paths[2], result.roc, result.threshold, title)
    return paths


def figures(result: VerificationResult) -> dict[str, Any]:
    """Returns the figures of a result as lists and numbers, without its curve."""
    values = {name: value for name, value in vars(result).items() if name != "roc"}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}
