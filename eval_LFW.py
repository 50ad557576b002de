"""Measures a face recogniser on LFW, by the official 10-fold protocol, or on a packed set."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from facenet import Facenet, build_detector
from nets.normalization import NORMALIZATIONS
from utils.engine.devices import device_name
from utils.engine.engine import ENGINES
from utils.engine.quantization import PRECISIONS
from utils.engine.stopwatch import Stopwatch
from utils.evaluation.embedder import DETECTOR_WEIGHTS, RECOGNISER_KEYS, CachedEmbedder
from utils.evaluation.lfw_metrics import METRICS, evaluate_embeddings
from utils.evaluation.lfw_pairs import check_pairs, load_pairs
from utils.evaluation.lfw_report import print_report, save_report
from utils.settings.command_line import from_command_line, run
from utils.settings.settings import describe
from utils.weights.networks import DETECTORS

_defaults = {
    # data:
    "lfw_dir_path": "lfw",  # folder of <Name>/<Name>_0001.jpg (or .png)
    "lfw_pairs_path": "model_data/lfw_pair.txt",  # LFW's pairs.txt
    "packed_path": None,  # lfw.bin, cfp_fp.bin or agedb_30.bin, used instead of LFW's folder, without a detector
    "variant": None,  # what to call the set in the report; none: its folder or file
    "max_missing": 0.01,  # largest share of pairs that may lack an image
    # recognition network:
    "model_path": "model_data/arcface_mobilefacenet.weights.h5",  # weights in any format of the README
    "backbone": None,  # a name of nets/backbones.py; none: what the weights are of
    "input_shape": None,  # height, width, 3 of the network; none: the backbone's own
    "normalization": None,  # scaling of the pixels; none: what the weights want
    "letterbox_image": True,  # detector none: keep the image's ratio (yes) or stretch it (no)
    "precision": "float32",  # number format of the weights on a CPU; float16: half the size, int8: fast
    # finding the face:
    "detector": "retinaface",  # what finds the faces; none: the images are face crops already
    "detector_model_path": None,  # its weights (mtcnn: folder); none: those of model_data
    "detector_backbone": None,  # of retinaface: mobilenet or resnet50; none: what the weights are of
    "detector_precision": None,  # of retinaface: number format of its weights, see precision; none: float32
    # protocol:
    "distance_metric": "euclidean",  # of normalised embeddings; cosine is the angle
    "flip": False,  # add the embedding of the mirror image to that of the image
    "subtract_mean": False,  # subtract the mean embedding of the training folds from all embeddings
    "fars": [0.001],  # false accept rates to report the validation rate at
    # running:
    "batch_size": 32,  # images in work at once
    "use_cache": True,  # keep detections and embeddings, by content, for later runs
    "cache_dir": None,  # folder of that cache; none: $FACES_CACHE or ~/.cache/faces
    "engine": "auto",  # see utils/engine/engine.py
    "output_dir": "logs/lfw",  # folder of the figures (JSON) and the pictures
}
_choices = {
    "precision": PRECISIONS,
    "detector": (*DETECTOR_WEIGHTS, None),
    "detector_backbone": (*DETECTORS, None),
    "detector_precision": (*PRECISIONS, None),
    "normalization": (*NORMALIZATIONS, None),
    "distance_metric": METRICS,
    "engine": ENGINES,
}
_ranges = {"max_missing": (0, 1), "fars": (0, 1), "batch_size": (1, None)}


def main() -> None:
    """Embeds all images of the set, scores its pairs, prints and saves the figures."""
    settings = from_command_line(_defaults, __file__, __doc__, choices=_choices, ranges=_ranges)
    if settings["packed_path"] is not None:
        settings["detector"] = None
    print(describe(settings, "eval_LFW.py", _defaults))
    clock = Stopwatch()
    keys = ("lfw_dir_path", "lfw_pairs_path", "packed_path", "variant")
    pairs = load_pairs(*(settings[key] for key in keys))
    check_pairs(pairs, settings["max_missing"])
    # RetinaFace sees the images at their original size.
    embedder = CachedEmbedder(settings, build_recogniser, partial(build_detector, enlarge=False))
    found = embedder.embed(pairs.images, clock)
    pairs = pairs.without(found.errors)
    check_pairs(pairs, settings["max_missing"])
    first, second = found.added()[pairs.indices.T]
    with clock.stage("score", len(pairs.labels), "pairs"):
        how = {"metric": settings["distance_metric"], "subtract_mean": settings["subtract_mean"]}
        result = evaluate_embeddings(first, second, pairs.labels, fars=settings["fars"], folds=pairs.folds, **how)
    print_report(settings, pairs, found, result)
    paths = save_report(settings, pairs, found, result, clock)
    print(f"Time by stage (decoding runs beside the others):\n{clock.table()}")
    print("Saved: " + ", ".join(map(str, paths)))


def build_recogniser(settings: Mapping[str, Any]) -> Facenet:
    """Returns the Facenet of the settings, without a detector; prints the device."""
    print(f"Building the networks on {device_name()}")
    chosen = {key: settings[key] for key in ("model_path", "batch_size", *RECOGNISER_KEYS)}
    return Facenet(detector=None, **chosen)


if __name__ == "__main__":
    run(main)
