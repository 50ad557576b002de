"""Measures how near two photos of one person must be: the threshold of a recognition network.

Takes aligned faces of people that the network was not trained on, as txt_annotation.py writes them,
and writes the threshold to the card beside the weights, where facenet.py finds it.
"""

import datetime

import numpy as np

from utils.engine.devices import device_name
from utils.settings.command_line import from_command_line, run
from utils.settings.settings import describe

_defaults = {
    "model_path": "model_data/arcface_mobilefacenet.weights.h5",  # any format of the README
    "backbone": "arcface_mobilefacenet",  # a name of nets/backbones.py
    "annotation_path": "cls_val.txt",  # aligned faces, lines `id;path`
    # share of the people in it that count, 0 to 1: with the val_people and seed of train.py those
    # that it held out; 1: all
    "val_people": 1.0,
    "seed": 0,  # of that choice
    "false_accept_rate": 0.001,  # share of pairs of different people that may pass, 0 to 1
    "engine": "auto",  # auto, litert or keras, see utils/engine/engine.py
}
MOST_FACES = 4000  # of more, as many are drawn: pairs grow with the square
_BINS = 40
_CHUNK = 256
_ENOUGH = 10  # pairs of different people that pass: fewer say little of the rate


def main():
    """Embeds the faces, measures the threshold on all pairs, writes card and picture."""
    settings = from_command_line(_defaults, __file__, __doc__)
    paths, labels = held_out(settings)
    print(describe(settings, f"calibrate.py on {device_name()}", _defaults))
    network, embeddings = embed(settings, paths)
    distances, same = all_pairs(embeddings, labels)
    found = calibrate(distances, same, settings["false_accept_rate"])
    people = len(np.unique(labels))
    passing = settings["false_accept_rate"] * np.sum(~same)
    if passing < _ENOUGH:
        print(
            f"too few faces to be sure: only {passing:.1f} of their {np.sum(~same):,} pairs of "
            f"different people may pass, {_ENOUGH} would be enough"
        )
    print(
        f"{len(paths):,} faces of {people:,} people, {same.sum():,} pairs of one person and "
        f"{(~same).sum():,} of two\nthreshold {found['threshold']:.4f}: "
        f"{100 * found['false_accept_rate']:.3f} % of different people pass, "
        f"{100 * found['true_accept_rate']:.2f} % of one person's pairs"
    )
    print("Saved: " + ", ".join(map(str, save(settings, network, found, distances, same))))


def held_out(settings):
    """Returns the (N,) paths and labels of the faces that count.

    Raises:
        ValueError, OSError: a list that cannot be read, or settings out of range.
    """
    from utils.datasets.cls_list import read_cls_txt
    from utils.datasets.splits import split_by_identity

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


def embed(settings, paths):
    """Returns the Facenet of the settings and the (N, D) embeddings of aligned faces."""
    from tqdm import tqdm

    from facenet import Facenet

    names = ("model_path", "backbone", "engine")
    network = Facenet(detector=None, **{name: settings[name] for name in names})
    chunks = range(0, len(paths), _CHUNK)
    parts = [network.embed(list(paths[i : i + _CHUNK])) for i in tqdm(chunks, unit="chunk")]
    return network, np.concatenate(parts)


def all_pairs(embeddings, labels):
    """Returns the (P,) distances of all pairs and whether they are of one person.

    Args:
        embeddings: (N, D) of unit length.
        labels: (N,) people.

    Raises:
        ValueError: no pair of one person, or of two.
    """
    first, second = np.triu_indices(len(labels), 1)
    same = labels[first] == labels[second]
    if same.all() or not same.any():
        raise ValueError("the list needs two people or more, and one of them twice")
    cosines = (embeddings @ embeddings.T)[first, second]
    return np.sqrt(np.maximum(2 - 2 * cosines, 0)), same


def calibrate(distances, same, false_accept_rate):
    """Finds the threshold of a false accept rate.

    Args:
        distances: (P,), 0 to 2.
        same: (P,) bool.
        false_accept_rate: share of different pairs that may be at most so near, 0 to 1.

    Returns:
        dict of threshold, false_accept_rate and true_accept_rate at it, and the histogram: edges,
        and shares of the same and of the different pairs.
    """
    from utils.evaluation.roc import threshold_at_far

    limit = threshold_at_far(distances[~same], false_accept_rate)
    # the wrappers accept a distance equal to the threshold, the rate counts those below
    threshold = float(np.floor(1e4 * np.nextafter(limit, 0)) / 1e4)
    edges = np.linspace(0, 2, _BINS + 1)
    shares = [
        np.histogram(part, edges)[0] / len(part) for part in (distances[same], distances[~same])
    ]
    return {
        "threshold": threshold,
        "false_accept_rate": float(np.mean(distances[~same] <= threshold)),
        "true_accept_rate": float(np.mean(distances[same] <= threshold)),
        "histogram": {
            "edges": edges.round(4).tolist(),
            "same": shares[0].round(6).tolist(),
            "different": shares[1].round(6).tolist(),
        },
    }


def save(settings, network, found, distances, same):
    """Writes the card and the picture beside the weights; returns their paths."""
    from utils.evaluation.roc import roc
    from utils.pictures.plots import save_distances
    from utils.weights.cards import update_card

    card = update_card(
        settings["model_path"],
        {
            "network": settings["backbone"],
            "embedding_size": network.model.output_shape[-1],
            "normalization": network.normalization,
            "input_shape": list(network.input_shape),
            "calibrated": datetime.date.today().isoformat(),
            **found,
        },
    )
    picture = card.with_suffix(".png")
    title = f"{100 * found['true_accept_rate']:.1f} % of one person's pairs accepted"
    save_distances(picture, roc(distances, same), found["threshold"], title)
    return card, picture


if __name__ == "__main__":
    run(main)
