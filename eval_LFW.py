"""Measures a face recogniser on LFW, by the official 10-fold protocol, or on a packed set."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from utils.engine.devices import device_name
from utils.engine.stopwatch import Stopwatch
from utils.evaluation.embedder import CachedEmbedder, Embeddings
from utils.evaluation.lfw_metrics import METRICS, VerificationResult, evaluate_embeddings
from utils.evaluation.lfw_pairs import find_images, read_packed, read_pairs
from utils.files.atomic_file import replacing
from utils.files.cache import cache_folder
from utils.files.digests import code_digest, weights_digest
from utils.settings.command_line import from_command_line, run
from utils.settings.settings import describe

_defaults = {
    # data:
    "lfw_dir_path": "lfw",  # folder of <Name>/<Name>_0001.jpg (or .png)
    "lfw_pairs_path": "model_data/lfw_pair.txt",  # LFW's pairs.txt
    "packed_path": None,  # lfw.bin, cfp_fp.bin, agedb_30.bin: used instead, as it is (no detector)
    "variant": None,  # what to call the set in the report; none: its folder or file
    "max_missing": 0.01,  # largest share of pairs, 0 to 1, that may lack an image
    # recognition network:
    "model_path": "model_data/arcface_mobilefacenet.weights.h5",  # any format of the README
    "backbone": "arcface_mobilefacenet",  # a name of nets/backbones.py
    "input_shape": None,  # height, width, 3 of the network; none: the backbone's own
    "normalization": None,  # unit, symmetric, fixed, per_image; none: what the weights want
    "letterbox_image": True,  # detector none: keep the image's ratio (yes) or stretch it (no)
    # finding the face:
    "detector": "retinaface",  # retinaface, mtcnn, or none: the images are face crops already
    "detector_model_path": None,  # its weights (mtcnn: folder); none: those of model_data
    "detector_backbone": "mobilenet",  # of retinaface: mobilenet or resnet50
    # protocol:
    "distance_metric": "euclidean",  # euclidean or cosine (the angle), of normalised embeddings
    "flip": False,  # add the embedding of the mirror image to that of the image
    "subtract_mean": False,  # take the mean embedding of the training folds from all
    "fars": [0.001],  # false accept rates, 0 to 1, to report the validation rate at
    # running:
    "batch_size": 32,  # images in work at once
    "use_cache": True,  # keep detections and embeddings, by content, for later runs
    "cache_dir": None,  # where; none: $FACES_CACHE or ~/.cache/faces
    "engine": "auto",  # auto, litert or keras, see utils/engine/engine.py
    # of the weights on a CPU: float32, float16 (half) or int8 (fast); mtcnn runs in float32
    "precision": "float32",
    "output_dir": "logs/lfw",  # for the figures (JSON) and the pictures
}
_ENGINE_KEYS = ("engine", "precision")
_RECOGNISER_KEYS = ("backbone", "input_shape", "normalization", "letterbox_image", *_ENGINE_KEYS)
_DETECTOR_WEIGHTS = {
    "retinaface": "model_data/retinaface_mobilenet025.weights.h5",
    "mtcnn": "model_data",
}
_LISTED = 5  # images or pairs named on the screen; the JSON file names all


@dataclass(frozen=True)
class PairSet:
    """P pairs of U images.

    Attributes:
        name: of the set, for the report.
        images: U files, or bytes of encoded images.
        names: U names for messages.
        indices: (P, 2) int64 into `images`.
        labels: (P,) bool, true for the same person.
        folds: (P,) int64.
        skipped: (pair, reason) of the pairs left out.
    """

    name: str
    images: list
    names: list[str]
    indices: np.ndarray
    labels: np.ndarray
    folds: np.ndarray
    skipped: list[tuple[str, str]]

    def without(self, errors: dict[int, str]) -> "PairSet":
        """The set without the pairs that need an image of {index: reason}."""
        bad = np.isin(self.indices, list(errors)).any(axis=1)
        skipped = [
            (" | ".join(self.names[i] for i in pair), next(errors[i] for i in pair if i in errors))
            for pair in self.indices[bad].tolist()
        ]
        return replace(
            self,
            indices=self.indices[~bad],
            labels=self.labels[~bad],
            folds=self.folds[~bad],
            skipped=self.skipped + skipped,
        )


def main():
    """Embeds all images of the set, scores its pairs, prints and saves the figures."""
    settings = from_command_line(_defaults, __file__, __doc__)
    if settings["packed_path"] is not None:
        settings["detector"] = None
    check(settings)
    print(describe(settings, "eval_LFW.py", _defaults))
    clock = Stopwatch()
    pairs = load_pairs(settings)
    check_pairs(pairs, settings["max_missing"])
    found = embedder(settings).embed(pairs.images, clock, progress)
    pairs = pairs.without(found.errors)
    check_pairs(pairs, settings["max_missing"])
    embeddings = sum(found.views.values())
    with clock.stage("score", len(pairs.labels), "pairs"):
        result = evaluate_embeddings(
            *embeddings[pairs.indices.T],
            pairs.labels,
            settings["distance_metric"],
            settings["subtract_mean"],
            fars=settings["fars"],
            folds=pairs.folds,
        )
    text = protocol(settings, pairs)
    print_report(text, pairs, found, result)
    paths = save_report(settings, text, pairs, found, result, clock)
    print(f"Time by stage (decoding runs beside the others):\n{clock.table()}")
    print("Saved: " + ", ".join(map(str, paths)))


def check(settings):
    """Refuses settings that would only fail after the embedding.

    Raises:
        ValueError: naming the setting.
    """
    if settings["detector"] not in (*_DETECTOR_WEIGHTS, None):
        raise ValueError(f"detector {settings['detector']!r} is not retinaface, mtcnn or none")
    if settings["distance_metric"] not in METRICS:
        raise ValueError(
            f"distance_metric {settings['distance_metric']!r} is not {' or '.join(METRICS)}"
        )
    for key in ("fars", "max_missing"):
        values = np.atleast_1d(settings[key])
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"{key} {settings[key]}: numbers from 0 to 1 expected")
    if settings["batch_size"] < 1:
        raise ValueError(f"batch_size {settings['batch_size']}: at least 1 expected")


def load_pairs(settings):
    """Returns the PairSet of the settings.

    Raises:
        ValueError, OSError: the pairs or images cannot be found or read.
    """
    if settings["packed_path"] is not None:
        path = Path(settings["packed_path"])
        images, labels = read_packed(path)
        names = [f"image {index} of {path.name}" for index in range(len(images))]
        indices = np.arange(len(images)).reshape(-1, 2)
        folds = np.arange(len(labels)) * 10 // len(labels)
        name = settings["variant"] or str(path)
        return PairSet(name, images, names, indices, labels, folds, [])
    path = Path(settings["lfw_pairs_path"])
    if not path.is_file():
        raise ValueError(f"{path}: lfw_pairs_path is no file; it should be LFW's pairs.txt")
    found = find_images(settings["lfw_dir_path"], read_pairs(path))
    skipped = [
        (" | ".join(f"{name}_{number:04d}" for name, number in pair.photos), reason)
        for pair, reason in found.skipped
    ]
    return PairSet(
        name=settings["variant"] or f"LFW in {settings['lfw_dir_path']}",
        images=found.paths,
        names=[path.stem for path in found.paths],
        indices=found.indices,
        labels=found.labels,
        folds=found.folds,
        skipped=skipped,
    )


def embedder(settings):
    """Returns the CachedEmbedder of the settings; its networks are built when first needed.

    Raises:
        FileNotFoundError: no weights at a path of the settings.
    """
    if settings["detector"] is not None and settings["detector_model_path"] is None:
        path = _DETECTOR_WEIGHTS[settings["detector"]]
        settings = {**settings, "detector_model_path": path}
    return CachedEmbedder(
        recogniser=lambda: build_recogniser(settings),
        recogniser_key=recogniser_key(settings),
        detector=(lambda: build_detector(settings)) if settings["detector"] else None,
        detector_key=detector_key(settings) if settings["detector"] else None,
        mirror=settings["flip"],
        folder=(settings["cache_dir"] or cache_folder("embeddings"))
        if settings["use_cache"]
        else None,
        chunk=settings["batch_size"],
    )


def recogniser_key(settings):
    """Returns all that decides a crop's embedding, as JSON values."""
    return {
        **{key: settings[key] for key in _RECOGNISER_KEYS},
        "weights": weights_digest(settings["model_path"]),
        "code": code_digest(("facenet", "utils.evaluation.embedder")),
    }


def detector_key(settings):
    """Returns all that decides the faces found in an image, as JSON values."""
    return {
        **{key: settings[key] for key in ("detector", "detector_backbone", *_ENGINE_KEYS)},
        "weights": weights_digest(settings["detector_model_path"]),
        "code": code_digest(("retinaface", "utils.detection.mtcnn")),
    }


def build_recogniser(settings):
    """Returns the Facenet of the settings; prints the device."""
    from facenet import Facenet

    print(f"Building the networks on {device_name()}")
    return Facenet(
        model_path=settings["model_path"],
        detector=None,
        batch_size=settings["batch_size"],
        **{key: settings[key] for key in _RECOGNISER_KEYS},
    )


def build_detector(settings):
    """Returns the Retinaface, at the images' original size, or Mtcnn of the settings."""
    chosen = {"model_path": settings["detector_model_path"], "engine": settings["engine"]}
    if settings["detector"] == "mtcnn":
        from utils.detection.mtcnn import Mtcnn

        return Mtcnn(**chosen)
    from retinaface import Retinaface

    chosen |= {"backbone": settings["detector_backbone"], "precision": settings["precision"]}
    return Retinaface(enlarge=False, **chosen)


def progress(photos, total):
    """A progress bar over photos."""
    return tqdm(photos, total=total, unit="image", desc="embedding", smoothing=0.05)


def check_pairs(pairs, max_missing):
    """Refuses pairs that cannot be cross-validated or are too incomplete.

    Raises:
        ValueError: fewer than two folds, or more than the share `max_missing` skipped.
    """
    total = len(pairs.labels) + len(pairs.skipped)
    if len(np.unique(pairs.folds)) < 2:
        raise ValueError(f"{pairs.name}: its pairs are in one fold, the protocol needs two or more")
    if len(pairs.skipped) > max_missing * total:
        pair, reason = pairs.skipped[0]
        raise ValueError(
            f"{len(pairs.skipped)} of {total} pairs cannot be scored, more than max_missing "
            f"{max_missing:g}; the first is {pair}: {reason}"
        )


def protocol(settings, pairs):
    """Returns one line that says how the figures were made."""
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


def print_report(text, pairs, found, result):
    """Prints the protocol, what was left out or guessed, and the figures."""
    print(f"Protocol: {text}")
    print(f"Pairs skipped: {len(pairs.skipped)}")
    print_some(f"{pair}: {reason}" for pair, reason in pairs.skipped)
    faceless = names_without_face(pairs, found)
    if (found.faces >= 0).any():
        several = np.count_nonzero(found.faces > 1)
        print(f"Images with several faces: {several}, the one nearest the centre is taken")
        print(f"Images without a face: {len(faceless)}, their middle is taken")
        print_some(faceless)
    print(f"Accuracy: {result.accuracy_mean:.5f}+-{result.accuracy_std:.5f}")
    for tar, std, far in zip(result.tar_mean, result.tar_std, result.fars, strict=True):
        print(f"Validation rate: {tar:.5f}+-{std:.5f} @ FAR={far:.5f}")
    print(f"Best threshold: {result.threshold:.5f}")
    print(f"Area under the curve: {result.auc:.5f}")
    print(f"Equal error rate: {result.eer:.5f}")


def print_some(lines):
    """Prints the first lines, and how many more there are."""
    lines = list(lines)
    for line in lines[:_LISTED]:
        print(f"  {line}")
    if len(lines) > _LISTED:
        print(f"  and {len(lines) - _LISTED} more, see the JSON file")


def names_without_face(pairs, found):
    """Returns the names of the images in which no face was found."""
    return [pairs.names[index] for index in np.flatnonzero(found.faces == 0)]


def save_report(settings, text, pairs, found: Embeddings, result: VerificationResult, clock):
    """Writes the figures and the pictures to the output folder; returns their paths."""
    from utils.pictures.plots import save_distances, save_roc

    folder = Path(settings["output_dir"])
    paths = [folder / name for name in ("lfw.json", "lfw_roc.png", "lfw_distances.png")]
    report = {
        "protocol": text,
        "settings": settings,
        **figures(result),
        "pairs": len(pairs.labels),
        "images": len(pairs.images),
        "skipped_pairs": [{"pair": pair, "reason": reason} for pair, reason in pairs.skipped],
        "images_without_face": names_without_face(pairs, found),
        "images_with_several_faces": int(np.count_nonzero(found.faces > 1)),
        "seconds": clock.seconds,
        "stages": clock.stages(),
    }
    with replacing(paths[0]) as temporary:
        temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False), encoding="utf-8")
    points = dict(zip(result.fars.tolist(), result.tar_mean.tolist(), strict=True))
    save_roc(paths[1], result.roc, f"ROC, area {result.auc:.5f}", points)
    title = f"Accuracy {result.accuracy_mean:.5f}+-{result.accuracy_std:.5f}"
    save_distances(paths[2], result.roc, result.threshold, title)
    return paths


def figures(result):
    """Returns the figures of a VerificationResult, but for its curve, as JSON values."""
    values = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(result).items()
        if name != "roc"
    }
    # JSON knows no NaN: a rate that the pairs cannot give is null.
    return {name: _without_nan(value) for name, value in values.items()}


def _without_nan(value):
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if value != value else value


if __name__ == "__main__":
    run(main)
