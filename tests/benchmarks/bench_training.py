"""Training step of MobileFaceNet: this project's layers beside Keras's own, in one run.

python -m tests.benchmarks.bench_training [steps]
"""

import statistics
import sys
import time
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

import nets.mobilefacenet
from nets.facenet import facenet
from utils.training.recognition_trainer import RecognitionTrainer

BATCH = 32


def build():
    network = facenet(backbone="arcface_mobilefacenet", num_classes=300, mode="train", head="arcface")
    trainer = RecognitionTrainer(network, "arcface", "symmetric")
    trainer.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    trainer.make_train_function()
    return trainer


def stock(axes=(1, 2)):
    """The same graph of stock Keras layers."""
    prelu = lambda **k: keras.layers.PReLU(shared_axes=axes, **k)  # noqa: E731
    with (
        mock.patch.object(nets.mobilefacenet, "BatchNormalization", keras.layers.BatchNormalization),
        mock.patch.object(nets.mobilefacenet, "PReLU", prelu),
    ):
        return build()


def stream():
    rng = np.random.default_rng(0)
    batch = {
        "image": tf.constant(rng.uniform(0, 255, (BATCH, 112, 112, 3)).astype(np.float32)),
        "label": tf.constant(rng.integers(0, 300, BATCH).astype(np.int32)),
        "index": tf.range(BATCH, dtype=tf.int64),
    }
    return iter(tf.data.Dataset.from_tensors(batch).repeat())


def main():
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    runs = {"this project's layers": build(), "stock Keras layers": stock()}
    batches = stream()
    times = {name: [] for name in runs}
    for step in range(steps + 2):  # in turn, so that a busy machine slows both
        for name, trainer in runs.items():
            start = time.perf_counter()
            trainer.train_function(batches)["loss"].numpy()
            if step >= 2:
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name}: {1000 * seconds:.0f} ms a step, {BATCH / seconds:.1f} images/s")
    ours, theirs = medians.values()
    print(f"ratio: {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
