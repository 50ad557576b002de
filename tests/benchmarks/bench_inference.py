"""Each path of the wrappers beside the plain way and beside ONNX Runtime, in one run.

python -m tests.benchmarks.bench_inference [PHOTO] [--output logs/bench]

Weights are random where that changes nothing but the answers; the detector is the shipped one.
Writes a table and a chart. The plain way is what the originals do, with Keras's own layers:
`model.predict` or a plain `tf.function`, for detection on a square letterbox with all anchors
decoded. ONNX Runtime runs the same networks, exported by this project, on the same batches: the
bound. Needs the packages tf2onnx and onnxruntime.
"""

import argparse
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from nets.facenet import facenet
from nets.layers import BatchNormalization, PReLU
from nets.normalization import CAFFE_MEAN_BGR, normalize
from retinaface import Retinaface
from utils.detection.anchors import Anchors
from utils.detection.box_coding import decode_boxes, decode_landmarks
from utils.detection.nms import nms
from utils.engine.engine import compile_engine
from utils.export.formats import open_exported, write_exported
from utils.export.serving import serve_recognizer, serve_retinaface
from utils.faces.detections import Detections
from utils.files.atomic_file import replacing
from utils.images.image_files import read_image
from utils.images.placement import letterbox, resize
from utils.pictures.plots import save_bars

_BURST = 4
OURS, PREDICT, FUNCTION, ONNX = "ours", "model.predict", "tf.function", "ONNX"


def medians(calls, times):
    """Seconds of each call, run in turn so that a busy machine slows all.

    Between two ways there is a pause, as the threads of the runtime before spin on for a while;
    then comes a burst of calls, of which the first, that wakes its own threads, is not timed.
    """
    seconds = {name: [] for name in calls}
    for _ in range(times):
        for name, call in calls.items():
            time.sleep(0.1)
            call()
            for _ in range(_BURST):
                start = time.perf_counter()
                call()
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def exported(served):
    """Returns the function of a network that is exported as ONNX and opened by ONNX Runtime."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.onnx")
        write_exported(served, path, "onnx")
        return open_exported(path, "onnx")


def stock(model):
    """Returns the same network of Keras's own layers, as the originals have it."""
    own = {BatchNormalization: keras.layers.BatchNormalization, PReLU: keras.layers.PReLU}

    def clone(layer):
        return own.get(type(layer), type(layer)).from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def recognition(backbone, count, times):
    """Times of `count` crops through a recognition network: pixels in, embeddings out."""
    model = facenet(backbone=backbone)
    kind = "symmetric" if backbone.startswith("arcface") else "unit"
    size = model.input_shape[1:]
    pixels = np.random.default_rng(0).integers(0, 256, (count, *size), dtype=np.uint8)
    ours, keras_model = compile_engine(model), stock(model)
    plain = tf.function(keras_model)
    run = exported(serve_recognizer(model, kind))
    floats = pixels.astype(np.float32)
    calls = {
        OURS: lambda: ours(normalize(pixels, kind)),
        PREDICT: lambda: keras_model.predict(normalize(pixels, kind), verbose=0),
        FUNCTION: lambda: plain(normalize(pixels, kind)).numpy(),
        ONNX: lambda: run(floats),
    }
    return medians(calls, times)


def plain_detect(detector, network, image):
    """Square letterbox, `network` on NumPy arrays, all anchors decoded, then the faces chosen."""
    size = (1280, 1280)
    canvas, placed = letterbox(image, size)
    pixels = canvas[..., ::-1].astype(np.float32) - np.float32(CAFFE_MEAN_BGR)
    boxes, scores, points = (np.asarray(output)[0] for output in network(pixels[None]))
    anchors, variances = Anchors(detector.cfg, size).get_anchors(), detector.cfg["variances"]
    boxes = decode_boxes(boxes, anchors, variances)
    points = decode_landmarks(points, anchors, variances)
    keep = scores[:, 1] >= detector.confidence
    boxes, scores, points = boxes[keep], scores[keep, 1], points[keep]
    keep = nms(boxes, scores, detector.nms_iou)
    found = Detections(boxes[keep] * 1280, scores[keep], points[keep].reshape(-1, 5, 2) * 1280)
    return found.to_original(placed)


def detection(photo, times):
    """Times of a photo of 1280 x 720 pixels; and of its network alone, on the same canvas."""
    detector = Retinaface()
    image = resize(read_image(photo), (720, 1280))
    keras_model = stock(detector.model)
    network, predict = tf.function(keras_model), partial(keras_model.predict, verbose=0)
    canvas = normalize(detector._place(image)[0][None], "caffe")
    run = exported(serve_retinaface(detector.model, detector.cfg))
    pixels = detector._place(image)[0][None].astype(np.float32)
    both = medians(
        {
            OURS: lambda: detector.detect(image),
            PREDICT: lambda: plain_detect(detector, predict, image),
            FUNCTION: lambda: plain_detect(detector, network, image),
            "network": lambda: detector._network(canvas),
            "network, ONNX": lambda: run(pixels),
        },
        times,
    )
    whole = {name: both[name] for name in (OURS, PREDICT, FUNCTION)}
    alone = {OURS: both["network"], ONNX: both["network, ONNX"]}
    return whole, alone


def matmul_peak(size=2048, times=5):
    """Billions of float32 operations a second of a matrix product, the machine's limit."""
    a = np.random.default_rng(0).random((size, size), np.float32)
    seconds = medians({"product": lambda: a @ a}, times)["product"]
    return 2 * size**3 / seconds / 1e9


def table(results):
    """Returns the lines of a Markdown table: milliseconds, and how many times ours that is."""
    lines = ["| path | way | ms | times ours |", "|---|---|---|---|"]
    for path, found in results.items():
        for name, seconds in found.items():
            ratio = seconds / found[OURS]
            lines.append(f"| {path} | {name} | {1000 * seconds:.2f} | {ratio:.2f} |")
    return lines


def main():
    """Runs all paths, prints the table, writes it and the chart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", nargs="?", default="img/group.jpg")
    parser.add_argument("--output", default="logs/bench", help="folder of the table and the chart")
    arguments = parser.parse_args()
    peak = matmul_peak()
    results = {
        "MobileFaceNet, 1 crop": recognition("arcface_mobilefacenet", 1, 15),
        "MobileFaceNet, 32 crops": recognition("arcface_mobilefacenet", 32, 4),
        "Inception-ResNet-v1, 1 crop": recognition("inception_resnetv1", 1, 6),
    }
    whole, alone = detection(arguments.photo, 6)
    results |= {"RetinaFace, 1280x720 photo": whole, "RetinaFace's network alone": alone}
    lines = [
        *table(results),
        "",
        f"{len(os.sched_getaffinity(0))} cores, {peak:.0f} GFLOP/s in a float32 matrix product; "
        f"RetinaFace's network takes {100 * alone[OURS] / whole[OURS]:.0f} % of its time.",
    ]
    print("\n".join(lines))
    folder = Path(arguments.output)
    with replacing(folder / "inference.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    bars = {
        f"{path}: {name}": seconds / found[OURS]
        for path, found in results.items()
        for name, seconds in found.items()
        if name != OURS
    }
    save_bars(folder / "inference.png", bars, "Time, ours = 1", "", "times ours")
    print(f"Saved: {folder / 'inference.md'}, {folder / 'inference.png'}")


if __name__ == "__main__":
    main()
