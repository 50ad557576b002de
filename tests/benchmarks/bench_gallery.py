"""Times a gallery of a million embeddings: `python -m tests.benchmarks.bench_gallery [rows]`.

Searches stand beside a plain NumPy product, which finds no neighbours yet. It takes 4 GB of memory,
and 1.1 GB of disk in a temporary folder.
"""

import resource
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

from utils.gallery.gallery import Gallery
from utils.gallery.nearest import nearest
from utils.gallery.records import ROW, Records
from utils.gallery.storage import write

WIDTH, PHOTOS = 128, 5


def seconds(call, times=5):
    """The best of several runs, in seconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return min(taken)


def unit(count, rng):
    rows = rng.standard_normal((count, WIDTH), dtype=np.float32)
    return np.divide(rows, np.linalg.norm(rows, axis=1, keepdims=True), out=rows)


def fill(path, rows):
    """Makes a gallery of people with `PHOTOS` embeddings each."""
    names = [f"person {number // PHOTOS}" for number in range(len(rows))]
    write(path, Records({}).added(names, np.zeros(len(rows), ROW), rows))


def memory():
    """Resident memory of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def time_search(rows, queries):
    """Prints times of a single query, of a few and of the batch."""
    for batch in (queries[:1], queries[:16], queries):
        plain = seconds(lambda batch=batch: rows @ batch.T)
        print(f"{len(batch)} queries: plain product {1000 * plain:.0f} ms")
        for k in (1, 5):
            taken = seconds(lambda b=batch, k=k: nearest(b, rows, k), 3)
            print(f"  k = {k}: {1000 * taken:.0f} ms")


def time_changes(path):
    """Prints times of changes of one person; each replaces the file."""
    gallery, rng = Gallery(path), np.random.default_rng(2)
    changes = {
        "add a person of 5": lambda: gallery.add("Ann", unit(5, rng)),
        "add 5 more": lambda: gallery.add("Ann", unit(5, rng)),
        "rename": lambda: gallery.rename("Ann", "Bob"),
        "remove": lambda: gallery.remove("Bob"),
        "remove the first": lambda: gallery.remove("person 0"),
    }
    for name, change in changes.items():
        print(f"{name}: {1000 * seconds(change, 1):.0f} ms")


def main():
    """Builds the gallery, and times loading, searching and changing it."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rng = np.random.default_rng(0)
    rows, queries = unit(count, rng), unit(256, rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "gallery.h5")
        start = time.perf_counter()
        fill(path, rows)
        taken = time.perf_counter() - start
        print(f"{count} rows written in {taken:.1f} s, {path.stat().st_size / 2**20:.0f} MB")
        del rows
        before = memory()
        gallery = Gallery(path)
        taken = seconds(lambda: gallery.index, 1)
        after = memory()
        print(f"loaded in {taken:.1f} s, taking {after - before:.0f} MB")
        tracemalloc.start()
        gallery.search(queries, 5)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        print(f"a search of 256 queries takes {peak:.0f} MB more while it runs")
        time_search(gallery.index.embeddings, queries)
        time_changes(path)
    print(f"peak of all: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
