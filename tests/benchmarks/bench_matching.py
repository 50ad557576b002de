"""Time to match 50 faces to the anchors of an 832x832 image, against a loop over the faces.

Run from the root: python -m tests.benchmarks.bench_matching
"""

import time

import numpy as np
import tensorflow as tf

from utils.config import cfg_mnet
from utils.detection.anchors import Anchors
from utils.detection.matching import IOU_THRESHOLD, match

FACES, SIZE, REPEATS = 50, 832, 20


def match_in_a_loop(boxes, landmarks, has_landmarks, anchors):
    """The plain way: per face its IoU with all anchors and its codes; then the best face each."""
    codes = np.zeros((len(boxes), len(anchors), 16))
    center, size = (anchors[:, :2] + anchors[:, 2:]) / 2, anchors[:, 2:] - anchors[:, :2]
    for code, box, points, labelled in zip(codes, boxes, landmarks, has_landmarks, strict=True):
        low, high = np.maximum(anchors[:, :2], box[:2]), np.minimum(anchors[:, 2:], box[2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        overlap = shared / (np.prod(size, axis=1) + np.prod(box[2:] - box[:2]) - shared)
        taken = overlap > IOU_THRESHOLD
        taken[overlap.argmax()] = True
        box_center = (box[:2] + box[2:]) / 2
        code[taken, :2] = (box_center - center[taken]) / size[taken] / 0.1
        code[taken, 2:4] = np.log((box[2:] - box[:2]) / size[taken]) / 0.2
        offsets = (points - center[taken, None]) / size[taken, None] / 0.1
        code[taken, 4:14] = offsets.reshape(-1, 10)
        code[taken, 14] = labelled
        code[taken, 15] = overlap[taken]
    best = codes[:, :, 15].argmax(axis=0)
    return codes[best, np.arange(len(anchors))]


def median_milliseconds(function, repeats):
    """Median time of a call, in milliseconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def random_faces(count, rng):
    """Boxes (N, 4) of 8 to 300 px as fractions, landmarks (N, 5, 2), and which are labelled."""
    center = rng.random((count, 2))
    half = np.exp(rng.uniform(np.log(8), np.log(300), (count, 1))) * [0.8, 1.0] / SIZE / 2
    boxes = np.clip(np.concatenate([center - half, center + half], axis=1), 0, 1)
    landmarks = center[:, None] + half[:, None] * rng.uniform(-0.6, 0.6, (count, 5, 2))
    return boxes.astype(np.float32), landmarks.astype(np.float32), rng.random(count) < 0.8


def main():
    """Prints both times and their ratio."""
    anchors = Anchors(cfg_mnet, (SIZE, SIZE)).get_anchors()
    faces = random_faces(FACES, np.random.default_rng(0))
    graph = tf.function(lambda *arrays: match(*arrays, anchors))
    tensors = [tf.constant(array) for array in faces]
    graph(*tensors)
    ours = median_milliseconds(lambda: graph(*tensors)["label"].numpy(), REPEATS)
    plain = median_milliseconds(lambda: match_in_a_loop(*faces, anchors), 3)
    print(f"{FACES} faces, {len(anchors)} anchors: loop {plain:.1f} ms, match {ours:.1f} ms,", end=" ")
    print(f"{plain / ours:.0f} times faster")


if __name__ == "__main__":
    main()
