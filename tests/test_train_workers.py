import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.test_train import faces, losses  # noqa: F401  faces is a fixture

ROOT = Path(__file__).resolve().parents[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_workers_on_loopback_train_one_model(faces, tmp_path):  # noqa: F811
    workers = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    running = []
    for index in range(2):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.train_worker", str(faces), str(tmp_path / "logs")],
                cwd=ROOT,
                env={**os.environ, "TF_CONFIG": json.dumps(task)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    printed = [worker.communicate(timeout=240)[0] for worker in running]
    ends = "\n".join(text[-2000:] for text in printed)
    assert [worker.returncode for worker in running] == [0, 0], ends
    first, second = (np.load(tmp_path / f"logs-{i}.npz") for i in range(2))
    for name in first.files:
        np.testing.assert_allclose(first[name], second[name], atol=1e-6)
    history = losses(tmp_path / "logs")
    assert len(history) == 3 and history[-1] < history[0]
