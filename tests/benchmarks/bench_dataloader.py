"""Images a second of the recognition pipeline, against one that decodes a photo at a time.

It also tells what a sampler costs with 450,000 images of 10,575 people, against 6,300 images of 299.

Run from the root: python -m tests.benchmarks.bench_dataloader
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tests.shared import SHARED
from utils.datasets.cls_list import read_cls_txt, write_cls_txt
from utils.generators import samplers
from utils.generators.face_augmentations import PRESETS
from utils.generators.recognition import recognition_dataset
from utils.generators.skipped_images import check_files

PHOTOS, SIZE, BATCH = 256, (112, 112), 64
WARM_UP, BATCHES, ROUNDS = 8, 40, 5
SETS = {"6,300": (6300, 299), "450,000": (450_000, 10_575)}
CHUNK = 256  # positions that the pipeline looks up at once


def make_jpegs(folder, side):
    """Writes shrunk photos as side x side JPEGs; returns their paths."""
    photos = sorted((SHARED / "data/celeba/images").glob("*.jpg"))[:PHOTOS]
    if not photos:
        raise SystemExit("needs the photos of ../shared/data/celeba/images")
    paths = []
    for photo in photos:
        paths.append(str(Path(folder, f"{side}-{photo.name}")))
        Image.open(photo).convert("RGB").resize((side, side)).save(paths[-1], quality=95)
    return paths


def photo_by_photo(paths, rng):
    """Endless batches as the original loaders make them: Pillow, letterbox, flip, one by one."""
    height, width = SIZE
    while True:
        batch = np.zeros((BATCH, height, width, 3), np.float32)
        for row in range(BATCH):
            image = Image.open(paths[rng.integers(len(paths))]).convert("RGB")
            if rng.random() < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            scale = min(width / image.width, height / image.height)
            inner = (int(image.width * scale), int(image.height * scale))
            canvas = Image.new("RGB", (width, height), (128, 128, 128))
            corner = ((width - inner[0]) // 2, (height - inner[1]) // 2)
            canvas.paste(image.resize(inner, Image.Resampling.BICUBIC), corner)
            batch[row] = (np.array(canvas, np.float32) / 255 - 0.5) / 0.5
        yield batch


def seconds(batches, count):
    """Wall and processor time to draw `count` batches."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(count):
        next(batches)
    return time.perf_counter() - wall, time.process_time() - processor


def compare_loaders(paths):
    """Prints images a second of all loaders; rounds take turns, so a busy machine hits all."""
    labels = np.arange(len(paths)) % 10
    sampler = samplers.plain(labels, seed=0)
    loaders = {"one by one": lambda: photo_by_photo(paths, np.random.default_rng(0))}
    for name, preset in PRESETS.items():
        stream = recognition_dataset(paths, labels, SIZE, BATCH, sampler, preset)
        loaders[name] = stream.as_numpy_iterator
    times = {name: [] for name in loaders}
    for _ in range(ROUNDS):
        for name, start in loaders.items():
            # A fresh iterator, so that nothing was prefetched while another loader ran.
            batches = start()
            seconds(batches, WARM_UP)
            times[name].append(seconds(batches, BATCHES))
            del batches
    images = BATCH * BATCHES
    plain = np.array(times["one by one"])
    for name, measured in times.items():
        wall, processor = np.median(measured, axis=0)
        ratio = np.median(plain[:, 0] / np.array(measured)[:, 0])
        print(
            f"  {name:10s} {images / wall:7.0f} images/s, {1e6 * processor / images:5.0f} us of "
            f"processor each, {ratio:4.1f} x"
        )


def compare_set_sizes(name, build):
    """Prints the time to build a sampler, and to look up an epoch chunk by chunk, for all sets."""
    parts = []
    for size, (count, people) in SETS.items():
        labels = np.random.default_rng(0).permutation(np.arange(count) % people)
        begin = time.perf_counter()
        sampler = build(labels)
        ready = time.perf_counter()
        for start in range(0, sampler.epoch_length, CHUNK):
            sampler.image(np.arange(start, min(start + CHUNK, sampler.epoch_length)))
        epoch = time.perf_counter() - ready
        parts.append(f"{size}: ready in {ready - begin:.2f} s, {1000 * epoch:.0f} ms an epoch")
    print(f"  {name:10s} {'; '.join(parts)}")


def time_start(paths, folder):
    """Prints what precedes the first batch of 450,000 images."""
    count, people = SETS["450,000"]
    listed = [paths[i % len(paths)] for i in range(count)]
    txt = Path(folder, "cls_train.txt")
    write_cls_txt(txt, listed, np.arange(count) % people)
    steps = [time.perf_counter()]
    names, labels = read_cls_txt(txt)
    steps.append(time.perf_counter())
    check_files(names)
    steps.append(time.perf_counter())
    sampler = samplers.identities(labels, 16, 4, seed=0)
    next(iter(recognition_dataset(names, labels, SIZE, BATCH, sampler, PRESETS["strong"])))
    steps.append(time.perf_counter())
    read, check, first = np.diff(steps)
    print(f"450,000 images: list read in {read:.1f} s, files checked in {check:.1f} s, first batch after {first:.1f} s")


def main():
    """Prints all figures."""
    with tempfile.TemporaryDirectory() as folder:
        for side in (112, 250):
            print(f"{side}x{side} JPEG to {SIZE[0]}x{SIZE[1]}:")
            paths = make_jpegs(folder, side)
            compare_loaders(paths)
        time_start(paths, folder)
    print("samplers:")
    compare_set_sizes("plain", lambda labels: samplers.plain(labels, 0))
    compare_set_sizes("balanced", lambda labels: samplers.balanced(labels, 0))
    compare_set_sizes("identities", lambda labels: samplers.identities(labels, 16, 4, 0))
    compare_set_sizes("triplets", lambda labels: samplers.triplets(labels, 0))


if __name__ == "__main__":
    main()
