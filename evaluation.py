"""Measures a face detector on the WIDER FACE validation set: AP easy, medium and hard."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from retinaface import Retinaface
from utils.engine.devices import device_name
from utils.engine.engine import ENGINES
from utils.engine.stopwatch import Stopwatch
from utils.evaluation.widerface_metrics import evaluate_curves
from utils.evaluation.widerface_results import read_ground_truth
from utils.evaluation.widerface_run import count_results, detect_all, print_report, save_report
from utils.settings.command_line import from_command_line, run
from utils.settings.settings import describe

_defaults = {
    # data:
    "image_dir": "WIDER_val/images",  # folder of <event>/<image>.jpg
    "gt_dir": "ground_truth",  # folder of the official wider_*_val.mat files
    "result_dir": "logs/widerface/results",  # folder of the results, <event>/<image>.txt; a stopped run goes on there
    "output_dir": "logs/widerface",  # folder of the figures (JSON) and the picture
    "score_only": False,  # score the files of result_dir as they are, detect nothing
    "allow_missing": False,  # test and score the images that are there, even if some are missing
    "iou_thresh": 0.5,  # least overlap of a face found; the benchmark's is 0.5
    # detector:
    "model_path": "model_data/retinaface_mobilenet025.weights.h5",  # weights in any format of the README
    "backbone": None,  # mobilenet (width 0.25) or resnet50; none: what the weights are of
    "confidence": 0.02,  # least score of a face
    "nms_iou": 0.4,  # of two boxes that overlap more than this, the better one stays
    "input_shape": [1280, 1280, 3],  # test size: height, width that an image is scaled to fit
    "original_size": False,  # test images at their own size instead
    "scales": [1.0],  # test each image at these multiples of the test size, results merged by NMS
    "flip": False,  # test mirror images, too
    "engine": "auto",  # see utils/engine/engine.py
    "batch_size": 8,  # images in work at once
}
_choices = {"engine": ENGINES}
_ranges = {"iou_thresh": (0.01, 1), "confidence": (0, 1), "nms_iou": (0, 1), "batch_size": (1, None)}
_NETWORK_KEYS = ("model_path", "backbone", "confidence", "nms_iou", "engine", "batch_size")


def main() -> None:
    """Detects the faces of all images, scores the results, prints and saves the figures."""
    settings = from_command_line(_defaults, __file__, __doc__, choices=_choices, ranges=_ranges)
    print(describe(settings, "evaluation.py", _defaults))
    truth = read_ground_truth(settings["gt_dir"])
    clock = Stopwatch()
    if not settings["score_only"]:
        detect_all(settings, truth, partial(build_detector, settings), clock)
    keys = ("result_dir", "gt_dir", "iou_thresh", "allow_missing")
    with clock.stage("score", len(truth.images)):
        curves = evaluate_curves(*(settings[key] for key in keys))
    scored = count_results(settings["result_dir"], truth)
    print_report(curves, scored, len(truth.images))
    paths = save_report(settings, curves, scored, clock)
    print(f"Time by stage (decoding runs beside the others):\n{clock.table()}")
    print("Saved: " + ", ".join(map(str, paths)))


def build_detector(settings: Mapping[str, Any]) -> Retinaface:
    """Returns the Retinaface of the settings, for images that are in their test size already."""
    print(f"Building the network on {device_name()}")
    return Retinaface(letterbox_image=False, **{key: settings[key] for key in _NETWORK_KEYS})


if __name__ == "__main__":
    run(main)
