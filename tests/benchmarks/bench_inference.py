"""Facenet.embed and Retinaface.detect beside what the originals do, in one run.

python -m tests.benchmarks.bench_inference RECOGNITION_WEIGHTS DETECTOR_WEIGHTS PHOTO
"""

import statistics
import sys
import time

import numpy as np
import tensorflow as tf

from facenet import Facenet
from nets.normalization import normalize
from retinaface import Retinaface
from utils.anchor_decoding import decode
from utils.anchors import Anchors, _anchors
from utils.images import letterbox, read_image


def medians(calls, times):
    """Seconds of each call, run in turn so that a busy machine slows all."""
    seconds = {name: [] for name in calls}
    for round_ in range(times + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def plain_detect(detector, network, image):
    """Square letterbox, tf.function, anchors made anew, everything decoded."""
    canvas, placed = letterbox(image, (1280, 1280), resample="linear")
    outputs = [o.numpy()[0] for o in network(tf.constant(normalize(canvas[None], "caffe")))]
    _anchors.cache_clear()
    anchors = Anchors(detector.cfg, (1280, 1280)).get_anchors()
    found = decode(*outputs, anchors, (1280, 1280), 0.5, 0.45, detector.cfg["variances"])
    return found.to_original(placed)


def main():
    recognition, detection, photo = sys.argv[1:4]
    facenet = Facenet(model_path=recognition, detector=None)
    detector = Retinaface(model_path=detection)
    crop = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    batch = normalize(crop[None], facenet.normalization)
    network = tf.function(facenet.model)
    one_crop = medians(
        {
            "Facenet.embed": lambda: facenet.embed(crop),
            "model.predict": lambda: facenet.model.predict(batch, verbose=0),
            "tf.function": lambda: network(batch).numpy(),
        },
        30,
    )
    image = read_image(photo)
    image = image[: image.shape[1] * 9 // 16]
    detector_network = tf.function(detector.model)
    one_photo = medians(
        {
            "Retinaface.detect": lambda: detector.detect(image),
            "plain way": lambda: plain_detect(detector, detector_network, image),
        },
        15,
    )
    for title, found in (("one crop", one_crop), (f"a photo of {image.shape[:2]}", one_photo)):
        ours = next(iter(found.values()))
        for name, seconds in found.items():
            print(f"{title}: {name} {1000 * seconds:.1f} ms, {seconds / ours:.2f}x ours")


if __name__ == "__main__":
    main()
