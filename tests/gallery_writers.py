"""Writers that are killed: run as `python -m tests.gallery_writers <folder> <kills> <seed>`.

Each writer applies the same endless list of changes to one gallery, from where the last one got to,
until it is killed with signal 9 at a random moment. Then the gallery must hold what it held after
the last change that was reported as done, or after the next one.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from tests.fake_embedder import FakeEmbedder, embedding, photo
from utils.gallery.gallery import Gallery
from utils.gallery.nearest import normalized

WIDTH = 3
FOLDERS = ({"Fay": [10, 20], "Gus": [30]}, {"Fay": [20], "Hal": [30, 40, 50]})


def change(number, state, gallery=None, root=None):
    """Makes change `number` to the expected state {name: sorted embeddings}, and to a gallery."""
    rng = np.random.default_rng(number)
    state = {name: list(rows) for name, rows in state.items()}
    hand = sorted(name for name in state if name.startswith("hand"))
    kind = rng.choice(["add", "more", "remove", "rename", "encode"]) if hand else "add"
    chosen = str(rng.choice(hand)) if hand else ""
    fresh = f"hand {number} é"
    if kind in ("add", "more"):
        name = fresh if kind == "add" else chosen
        rows = rng.standard_normal((int(rng.integers(1, 200)), WIDTH))
        state[name] = state.get(name, []) + [row.tobytes() for row in normalized(rows)]
        call = ("add", name, rows)
    elif kind == "remove":
        state.pop(chosen)
        call = ("remove", chosen)
    elif kind == "rename":
        state[fresh] = state.pop(chosen)
        call = ("rename", chosen, fresh)
    else:
        layout = FOLDERS[number % 2]
        state = {name: state[name] for name in hand}
        for name, greens in layout.items():
            state[name] = [normalized(embedding(green)[None])[0].tobytes() for green in greens]
        call = ("encode", Path(root or "", str(number % 2)), FakeEmbedder())
    if gallery is not None:
        getattr(gallery, call[0])(*call[1:])
    return {name: sorted(rows) for name, rows in state.items()}


def write_until_killed(path, root, number, state, report):
    gallery = Gallery(path, model=FakeEmbedder().identity)
    while True:
        state = change(number, state, gallery, root)
        os.write(report, b".")
        number += 1


def content(path):
    state = {}
    for name, row in zip(*Gallery(path).labelled(), strict=True):
        state.setdefault(name, []).append(row.tobytes())
    return {name: sorted(rows) for name, rows in state.items()}


def start_writer(path, root, number, state):
    """Forks a writer; returns its process id and a pipe with one byte a finished change."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        try:
            write_until_killed(path, root, number, state, writer)
        finally:  # an error: the parent must see no orderly end
            os._exit(3)
    os.close(writer)
    return process, reader


def main(root, kills, seed):
    """Kills that many writers; prints how many changes were found undone and done."""
    root, path = Path(root), Path(root, "gallery.h5")
    for number, layout in enumerate(FOLDERS):
        for name, greens in layout.items():
            for green in greens:
                photo(root / str(number) / name / f"{green}.png", green)
    rng = np.random.default_rng(seed)
    number, state, found, pending = 0, {}, {"old": 0, "new": 0}, 0
    for _ in range(kills):
        process, reader = start_writer(path, root, number, state)
        time.sleep(float(rng.uniform(0, 0.08)))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status), "the writer ended by itself"
        done = len(os.read(reader, 1 << 16))
        os.close(reader)
        pending += Path(f"{path}.journal").exists()
        for _ in range(done):
            state, number = change(number, state), number + 1
        after = change(number, state)
        now = content(path)
        assert now in (state, after), f"change {number}: neither the old nor the new state"
        found["old" if now == state else "new"] += 1
        if now == after:
            state, number = after, number + 1
    assert sum(Gallery(path).people().values()) == sum(map(len, state.values()))
    print(f"{found['old']} old, {found['new']} new, {pending} journals left, {number} changes")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
