"""Writers that are killed: run as `python -m tests.gallery_writers <folder> <kills> <seed> [<kind>...]`.

Each writer applies the same endless list of changes (of all kinds, or the chosen ones) to one
gallery, from where the last one got to, until it is killed with signal 9 at a random moment. Then
the gallery must hold what it held after the last change that was reported as done, or after the
next one.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from tests.fake_embedder import FakeEmbedder, embedding, photo
from utils.faces.embeddings import unit_embeddings
from utils.gallery.gallery import Gallery

WIDTH = 3
KINDS = ("add", "more", "remove", "rename", "encode")
FOLDERS = ({"Fay": [10, 20], "Gus": [30]}, {"Fay": [20], "Hal": [30, 40, 50]})


def change(number, state, kinds, gallery=None, root=None):
    """Makes change `number` to the expected state {name: sorted embeddings}, and to a gallery."""
    rng = np.random.default_rng(number)
    state = {name: list(rows) for name, rows in state.items()}
    hand = sorted(name for name in state if name.startswith("hand"))
    kind = rng.choice(kinds)
    if not hand and kind != "encode":
        kind = "add"
    chosen = str(rng.choice(hand)) if hand else ""
    fresh = f"hand {number} é"
    if kind in ("add", "more"):
        name = fresh if kind == "add" else chosen
        rows = rng.standard_normal((int(rng.integers(1, 200)), WIDTH))
        state[name] = state.get(name, []) + [row.tobytes() for row in unit_embeddings(rows)]
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
            state[name] = [unit_embeddings(embedding(green)[None])[0].tobytes() for green in greens]
        call = ("encode", Path(root or "", str(number % 2)), FakeEmbedder())
    if gallery is not None:
        getattr(gallery, call[0])(*call[1:])
    return {name: sorted(rows) for name, rows in state.items()}


def write_until_killed(path, root, number, state, kinds, report):
    gallery = Gallery(path, identity=FakeEmbedder().identity)
    while True:
        state = change(number, state, kinds, gallery, root)
        os.write(report, b".")
        number += 1


def content(path):
    state = {}
    for name, row in zip(*Gallery(path).labelled(), strict=True):
        state.setdefault(name, []).append(row.tobytes())
    return {name: sorted(rows) for name, rows in state.items()}


def start_writer(path, root, number, state, kinds):
    """Forks a writer; returns its process id and a pipe with one byte a finished change."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        try:
            write_until_killed(path, root, number, state, kinds, writer)
        finally:  # an error: the parent must see no orderly end
            os._exit(3)
    os.close(writer)
    return process, reader


def seconds_of_a_change(folder):
    """Also loads what a change needs, so that no writer is killed while it imports."""
    gallery = Gallery(folder / "gallery.h5")
    for _ in range(3):
        start = time.perf_counter()
        gallery.add("Ann", np.eye(1, WIDTH))
        taken = time.perf_counter() - start
    return taken


def main(root, kills, seed, kinds=KINDS):
    """Kills that many writers; prints how many changes were found undone and done."""
    root, path = Path(root), Path(root, "gallery.h5")
    for number, layout in enumerate(FOLDERS):
        for name, greens in layout.items():
            for green in greens:
                photo(root / str(number) / name / f"{green}.png", green)
    rng, pause = np.random.default_rng(seed), 8 * seconds_of_a_change(root / "warm")
    number, state, found = 0, {}, {"old": 0, "new": 0}
    for _ in range(kills):
        process, reader = start_writer(path, root, number, state, kinds)
        time.sleep(float(rng.uniform(0, pause)))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status), "the writer ended by itself"
        done = len(os.read(reader, 1 << 16))
        os.close(reader)
        for _ in range(done):
            state, number = change(number, state, kinds), number + 1
        after = change(number, state, kinds)
        now = content(path)
        assert now in (state, after), f"change {number}: neither the old nor the new state"
        found["old" if now == state else "new"] += 1
        if now == after:
            state, number = after, number + 1
    Gallery(path).add("last", np.eye(1, WIDTH))
    left = {file.name for file in root.iterdir() if file.is_file()}
    assert left == {"gallery.h5"}, f"killed writers left {left}"
    Gallery(path).remove("last")
    assert sum(Gallery(path).people().values()) == sum(map(len, state.values()))
    print(f"{found['old']} old, {found['new']} new, {number} changes")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] or KINDS)
