"""What a start costs: wall and processor time and peak memory from process start to a result.

python -m tests.benchmarks.bench_start [--runs 5] [--peer PYTHON]

PYTHON is an interpreter with face_recognition (pip install dlib-bin face_recognition), which is measured beside ours.
Each command runs in processes of its own, one after the other and in turn, so that all see the same machine.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
PHOTO = str(ROOT / "img/1_001.jpg")
EMBED = "import sys; from facenet import Facenet; Facenet().embed(sys.argv[1])"
PEER = """
import sys, face_recognition
face_recognition.face_encodings(face_recognition.load_image_file(sys.argv[1]))
"""


def measure(command, cache):
    """Returns wall seconds, processor seconds and peak megabytes of a command."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FACES_CACHE": str(cache)}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    kilobytes = usage.ru_maxrss if sys.platform == "linux" else usage.ru_maxrss / 1024
    return wall, usage.ru_utime + usage.ru_stime, kilobytes / 1024


def main():
    """Prints a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peer", help="interpreter with face_recognition")
    arguments = parser.parse_args()
    commands = {
        "first embedding": [sys.executable, "-c", EMBED, PHOTO],
        "predict.py, cache empty": [sys.executable, str(ROOT / "predict.py"), "--show", "no"],
        "predict.py --help": [sys.executable, str(ROOT / "predict.py"), "--help"],
        "train.py --help": [sys.executable, str(ROOT / "train.py"), "--help"],
    }
    if arguments.peer:
        commands["face_recognition"] = [arguments.peer, "-c", PEER, PHOTO]
    rows = {name: [] for name in commands}
    for _ in range(arguments.runs + 1):  # the first round fills the disk's cache and does not count
        for name, command in commands.items():
            with tempfile.TemporaryDirectory() as cache:
                rows[name].append(measure(command, cache))
    print(f"medians of {arguments.runs}; load {os.getloadavg()[0]:.1f}")
    for name, measured in rows.items():
        wall, processor, memory = (median(column) for column in zip(*measured[1:], strict=True))
        print(f"  {name:24} {wall:6.2f} s   {processor:6.2f} s of processor   {memory:5.0f} MB")


if __name__ == "__main__":
    main()
