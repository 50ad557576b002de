"""Measures how often the faces of a made video, whose truth is known, get the right name.

    python -m tests.benchmarks.bench_video PHOTOS IDENTITIES RECOGNITION_WEIGHTS DETECTOR_WEIGHTS

PHOTOS and IDENTITIES are those of tests/make_video.py. Further arguments are settings of video.py, such as
--detect_every 3, and --seed N, which draws other people.
"""

import contextlib
import io
import json
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

import video
from retinaface import Retinaface
from tests.make_video import choose, read_identities, write
from utils.faces.boxes import iou
from utils.gallery.index import UNKNOWN
from utils.settings.command_line import from_command_line
from utils.video.outputs import open_outputs
from utils.video.source import open_source

SAME_FACE = 0.4  # IoU


def main():
    """Makes the video, runs video.py on it frame by frame, prints shares."""
    photos, identities, weights, detector_weights, *others = sys.argv[1:]
    seed = int(others.pop(others.index("--seed") + 1)) if "--seed" in others else 0
    others = [text for text in others if text != "--seed"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        detector = Retinaface(model_path=detector_weights, enlarge=False)
        cast = choose(Path(photos), read_identities(identities), detector, seed=seed)
        write(cast, folder, seed)
        names = ["model_path", "detector_model_path", "gallery_path", "output", "csv_path"]
        paths = [weights, detector_weights, folder / "g.h5", folder / "out.mp4", folder / "out.csv"]
        given = [f"--{key}={value}" for key, value in zip(names, paths, strict=True)]
        settings = from_command_line(video._defaults, video.__file__, "", [*given, *others])
        settings["source"] = str(folder / "video.mp4")
        encode(settings, folder)
        frames, printed = run(settings)
        truth = read_truth(folder)
    print("\n".join(printed))
    for name, value in measure(frames, truth).items():
        print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")


def read_truth(folder):
    """Returns the true faces of each frame."""
    return json.loads((folder / "truth.json").read_text())


def encode(settings, folder):
    """Makes the gallery by what predict.py --mode encode calls."""
    from facenet import build_facenet
    from utils.gallery import photo_naming

    facenet = build_facenet(settings)
    for line in photo_naming.encode(facenet, folder / "gallery", {**settings, "take_largest": False}):
        print(line)


def run(settings):
    """Runs video.py's own loop; returns the faces of each frame and what it printed."""
    frames = []
    recognizer = video.build_recognizer(settings)

    class Recorder:
        names_faces = True

        def __call__(self, image, now):
            frames.append(recognizer(image, now))
            return frames[-1]

    printed = io.StringIO()
    with contextlib.ExitStack() as stack, contextlib.redirect_stdout(printed):
        source = open_source(settings["source"], settings["frame_step"])
        stack.callback(source.close)
        outputs = open_outputs(settings, source, False, stack)
        video.watch(source, Recorder(), outputs, settings)
    return frames, printed.getvalue().splitlines()


def match(faces, truth):
    """Yields (true face, seen face or None) of a frame."""
    if not truth:
        return
    if not faces:
        yield from ((face, None) for face in truth)
        return
    overlaps = iou(np.array([face["box"] for face in truth], np.float32), np.stack([f.box for f in faces]))
    for face, row in zip(truth, overlaps, strict=True):
        best = int(row.argmax())
        yield face, faces[best] if row[best] >= SAME_FACE else None


def measure(frames, truth):
    """Compares what was seen with the truth, in the faces that are visible.

    Returns:
        right: share of the known people's faces with the right name; wrong: what the others had
        instead; strangers_named: share of the strangers' faces with a name; tracks: that got one,
        or "unknown"; changes, most_changes: of the name within a track, in all and in one.
    """
    known, strangers, names = [], [], defaultdict(list)
    for faces, expected in zip(frames, truth, strict=True):
        for face in faces:
            if face.name is not None and names[face.track][-1:] != [face.name]:
                names[face.track].append(face.name)
        for true, seen in match(faces, [face for face in expected if face["visible"]]):
            name = "not found" if seen is None else seen.name or "no name yet"
            is_stranger = true["name"] is None
            (strangers if is_stranger else known).append((name, true["name"]))
    plain = (UNKNOWN, "not found", "no name yet")
    wrong = Counter(n if n in plain else "another" for n, true in known if n != true)
    changes = [len(sequence) - 1 for sequence in names.values()]
    return {
        "known_faces": len(known),
        "right": float(np.mean([name == true for name, true in known])),
        "wrong": dict(wrong),
        "stranger_faces": len(strangers),
        "strangers_named": float(np.mean([name not in plain for name, _ in strangers])),
        "tracks": len(changes),
        "changes": sum(changes),
        "most_changes": max(changes),
    }


if __name__ == "__main__":
    main()
