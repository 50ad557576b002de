"""Inference where neither TensorFlow nor anything else of training is installed.

The compiled networks that come along are in model_data.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from utils.images.image_files import read_image

ROOT = Path(__file__).resolve().parents[1]
TRAINING = ["tensorflow", "keras", "sklearn", "scipy", "matplotlib", "torch"]
CODE = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {training}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name.partition(".")[0] in {training} else found(name, *a)
sys.meta_path.insert(0, NotInstalled())
import {script}
sys.argv = ["{script}.py", *{arguments}]
from utils.settings.command_line import run
run({script}.main)
"""


def call(script, *arguments, folder):
    """Runs a script in a process of its own; returns its output."""
    code = CODE.format(training=TRAINING, script=script, arguments=[str(word) for word in arguments])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("mode", ["verify", "detect", "dir_predict", "fps"])
def test_photos(tmp_path, mode):
    out = call("predict", "--mode", mode, "--test_interval", 2, "--show", "no", folder=tmp_path)
    expected = {"verify": "same person", "detect": "4 faces found", "dir_predict": "faces in 5 photos", "fps": "FPS"}
    assert expected[mode] in out
    assert mode == "fps" or list((tmp_path / "img_out").glob("*.jpg"))


def test_gallery_and_video(tmp_path):
    for number in (1, 2):
        person = tmp_path / "gallery" / "Ann"
        person.mkdir(parents=True, exist_ok=True)
        (person / f"{number}.jpg").write_bytes((ROOT / f"img/1_00{number}.jpg").read_bytes())
    out = call("predict", "--mode", "encode", folder=tmp_path)
    assert "2 photos added" in out
    out = call("predict", "--mode", "recognize", ROOT / "img/1_001.jpg", "--show", "no", folder=tmp_path)
    assert "Ann" in out
    image = read_image(ROOT / "img/1_001.jpg")[..., ::-1]
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, image.shape[1::-1])
    for _ in range(12):
        writer.write(image)
    writer.release()
    call("video", "a.avi", "--csv_path", "seen.csv", "--show", "no", folder=tmp_path)
    assert "Ann" in (tmp_path / "seen.csv").read_text()


def test_eval_lfw(tmp_path):
    for name, number, photo in (("A", 1, "1_001"), ("A", 2, "1_002"), ("B", 1, "2_001"), ("B", 2, "2_001")):
        target = tmp_path / "lfw" / name / f"{name}_{number:04d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / f"img/{photo}.jpg", target)
    (tmp_path / "pairs.txt").write_text("2\t1\nA\t1\t2\nA\t1\tB\t1\nB\t1\t2\nA\t2\tB\t2\n")
    paths = ("--lfw_dir_path", "lfw", "--lfw_pairs_path", "pairs.txt")
    assert "Accuracy: " in call("eval_LFW", *paths, folder=tmp_path)
    assert (tmp_path / "logs/lfw/lfw.json").exists()


@pytest.mark.parametrize("script", ["predict", "train", "video"])
def test_help_imports_nothing_heavy(script):
    code = (
        f"import sys, {script}\nsys.argv = ['{script}.py', '--help']\n"
        f"try:\n    {script}.main()\nexcept SystemExit:\n"
        "    print('heavy:', sorted({'numpy', 'cv2', 'h5py', 'tensorflow'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"
