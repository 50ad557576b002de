"""Times a gallery of a million embeddings: `python -m tests.benchmarks.bench_gallery [rows]`.

Searches stand beside a plain NumPy product, which finds no neighbours yet. Takes 4 GB of memory,
and 1.2 GB of disk in a temporary folder.
"""

import resource
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np

from utils.gallery import storage
from utils.gallery.gallery import Gallery
from utils.gallery.nearest import nearest
from utils.gallery.storage import ROW, editing

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
    with editing(path, {}, WIDTH) as file:
        file.add(names, np.zeros(len(rows), ROW), rows)


def memory():
    """Resident memory of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def time_search(rows, queries):
    """Prints times of single queries and of the batch; compares the engines."""
    engines = {"numpy": lambda q, k: nearest(q, rows, k)}
    try:
        import faiss

        engines |= {"faiss": lambda q, k: nearest(q, rows, k, engine="faiss")}
        print(f"faiss {faiss.__version__}, {faiss.omp_get_max_threads()} threads")
    except ImportError:
        print("no faiss-cpu")
    for batch in (queries[:1], queries):
        plain = seconds(lambda batch=batch: rows @ batch.T)
        print(f"{len(batch)} queries: plain product {1000 * plain:.0f} ms")
        for name, search in engines.items():
            for k in (1, 5):
                taken = seconds(lambda s=search, b=batch, k=k: s(b, k), 3)
                print(f"  {name}, k = {k}: {1000 * taken:.0f} ms")
    if len(engines) > 1:
        (ours, first), (theirs, second) = (search(queries, 5) for search in engines.values())
        same = np.mean(first[:, 0] == second[:, 0]), np.mean(first == second)
        print(f"nearest agree: {same[0]:.2%}, all five: {same[1]:.2%}")
        print(f"distances differ by {np.abs(ours - theirs).max():.1e} at most")


def time_changes(path):
    """Prints time and bytes written of changes of one person."""
    written = []
    commit = storage.JournalledFile.commit
    storage.JournalledFile.commit = lambda self: written.append(commit(self))
    gallery, rng = Gallery(path), np.random.default_rng(2)
    changes = {
        "add a person of 5": lambda: gallery.add("Ann", unit(5, rng)),
        "add 5 more": lambda: gallery.add("Ann", unit(5, rng)),
        "rename": lambda: gallery.rename("Ann", "Bob"),
        "remove": lambda: gallery.remove("Bob"),
        "remove the first": lambda: gallery.remove("person 0"),
    }
    for name, change in changes.items():
        taken = seconds(change, 1)
        print(f"{name}: {1000 * taken:.0f} ms, {written[-1] / 1024:.0f} KB of the file written")
    storage.JournalledFile.commit = commit


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
