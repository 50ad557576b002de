"""Measures how near two photos of one person must be: the threshold of a recognition network.

Takes aligned faces of people that the network was not trained on, as txt_annotation.py writes them,
and writes the threshold to the card beside the weights, where facenet.py finds it.
"""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from facenet import Facenet
from utils.datasets.cls_list import read_cls_txt
from utils.datasets.splits import split_by_identity
from utils.engine.devices import device_name
from utils.engine.engine import ENGINES
from utils.evaluation.calibration import all_pairs, calibrate
from utils.evaluation.roc import roc
from utils.settings.command_line import from_command_line, run
from utils.settings.settings import describe
from utils.weights.cards import update_card

_defaults = {
    "model_path": "model_data/arcface_mobilefacenet.weights.h5",  # weights in any format of the README
    "backbone": None,  # a name of nets/backbones.py; none: what the weights are of
    "annotation_path": "cls_val.txt",  # aligned faces, lines `id;path`
    # share of the people in that list who count, 0 to 1; the val_people and seed of train.py give those
    # whom it held out; 1: all
    "val_people": 1.0,
    "seed": 0,  # seed of that choice
    "false_accept_rate": 0.001,  # share of pairs of different people that may pass, 0 to 1
    "engine": "auto",  # see utils/engine/engine.py
}
_choices = {"engine": ENGINES}
_ranges = {"seed": (0, None)}
MOST_FACES = 4000  # of more faces this many are drawn: the pairs grow with the square of the faces
_CHUNK = 256
_ENOUGH = 10  # pairs of different people that pass; fewer say little about the rate


def main() -> None:
    """Embeds the faces, measures the threshold on all pairs, writes card and picture."""
    settings = from_command_line(_defaults, __file__, __doc__, choices=_choices, ranges=_ranges)
    paths, labels = held_out(settings)
    print(describe(settings, f"calibrate.py on {device_name()}", _defaults))
    network, embeddings = embed(settings, paths)
    distances, same = all_pairs(embeddings, labels)
    found = calibrate(distances, same, settings["false_accept_rate"])
    print_figures(labels, same, found, settings["false_accept_rate"])
    print("Saved: " + ", ".join(map(str, save(network, found, distances, same))))


def held_out(settings: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the paths (N,) and labels (N,) of the faces that count.

    Raises:
        ValueError: a list that cannot be used, or settings out of range.
    """
    rate, share = settings["false_accept_rate"], settings["val_people"]
    if not 0 < rate < 1:
        raise ValueError(f"false_accept_rate {rate}: above 0 and below 1 expected")
    if not 0 < share <= 1:
        raise ValueError(f"val_people {share}: above 0 and at most 1 expected")
    paths, labels = read_cls_txt(settings["annotation_path"])
    if share < 1:
        _, held = split_by_identity(labels, share, settings["seed"])
        paths, labels = paths[held], labels[held]
    if len(paths) > MOST_FACES:
        drawn = np.random.default_rng(settings["seed"]).permutation(len(paths))[:MOST_FACES]
        paths, labels = paths[drawn], labels[drawn]
    return paths, labels


def embed(settings: Mapping[str, Any], paths: np.ndarray) -> tuple[Facenet, np.ndarray]:
    """Returns the Facenet of the settings and the (N, D) float32 embeddings of aligned faces."""
    network = Facenet(detector=None, **{name: settings[name] for name in ("model_path", "backbone", "engine")})
    chunks = range(0, len(paths), _CHUNK)
    parts = [network.embed(list(paths[i : i + _CHUNK])) for i in tqdm(chunks, unit="chunk")]
    return network, np.concatenate(parts)


def print_figures(labels: np.ndarray, same: np.ndarray, found: Mapping[str, Any], rate: float) -> None:
    """Prints the threshold with its rates, and whether the pairs are enough for the asked rate."""
    different = np.count_nonzero(~same)
    if rate * different < _ENOUGH:
        print(
            f"too few faces to be sure: only {rate * different:.1f} of their {different:,} pairs of "
            f"different people may pass, {_ENOUGH} would be enough"
        )
    print(
        f"{len(labels):,} faces of {len(np.unique(labels)):,} people, {same.sum():,} pairs of one "
        f"person and {different:,} of two\nthreshold {found['threshold']:.4f}: "
        f"{100 * found['false_accept_rate']:.3f} % of different people pass, "
        f"{100 * found['true_accept_rate']:.2f} % of one person's pairs"
    )


def save(network: Facenet, found: Mapping[str, Any], distances: np.ndarray, same: np.ndarray) -> tuple[Path, Path]:
    """Writes the card and the picture beside the weights; returns their paths."""
    from utils.pictures.plots import save_distances

    facts = {
        "network": network.backbone,
        "embedding_size": network.embedding_size,
        "normalization": network.normalization,
        "input_shape": list(network.input_shape),
        "calibrated": datetime.date.today().isoformat(),
    }
    card = update_card(network.model_path, {**facts, **found})
    picture = card.with_suffix(".png")
    title = f"{100 * found['true_accept_rate']:.1f} % of one person's pairs accepted"
    save_distances(picture, roc(distances, same), found["threshold"], title)
    return card, picture


if __name__ == "__main__":
    run(main)
