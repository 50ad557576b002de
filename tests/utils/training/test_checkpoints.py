import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from utils.generators.samplers import ORDER_VERSION
from utils.training.checkpoints import list_checkpoints, load_checkpoint, read_state, restore, save_checkpoint

ROOT = Path(__file__).resolve().parents[3]


def variables(scale=1.0):
    return [tf.Variable(scale * tf.range(6.0)), tf.Variable(int(7 * scale), dtype=tf.int64)]


def test_round_trip(tmp_path):
    path = save_checkpoint(tmp_path / "c", 12, variables(2.0), {"epoch": 3})
    target = variables(0.0)
    assert load_checkpoint(path, target) == {"epoch": 3, "step": 12}
    np.testing.assert_array_equal(target[0].numpy(), 2 * np.arange(6.0))
    assert target[1].numpy() == 14 and target[1].dtype == tf.int64


def test_keeps_the_newest(tmp_path):
    for step in (5, 1, 30, 200):
        save_checkpoint(tmp_path, step, variables(), {}, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000030.ckpt.h5", "step-00000200.ckpt.h5"]


def test_no_folder_is_no_checkpoints(tmp_path):
    assert list_checkpoints(tmp_path / "none") == []


def test_other_settings_are_refused_and_nothing_is_set(tmp_path):
    path = save_checkpoint(tmp_path, 1, variables(), {})
    with pytest.raises(ValueError, match="2 variables, this training has 1"):
        load_checkpoint(path, variables()[:1])
    other = [tf.Variable(tf.zeros(5)), tf.Variable(0, dtype=tf.int64)]
    with pytest.raises(ValueError, match=r"shape \(6,\).*needs \(5,\)"):
        load_checkpoint(path, other)
    assert not other[0].numpy().any()


def test_an_epoch_is_finished_in_its_own_order_of_images_only(tmp_path):
    state = {"epoch": 3, "steps": 10, "batch_size": 2}
    inside = save_checkpoint(tmp_path, 1, variables(), {**state, "step_of_epoch": 4})
    with pytest.raises(ValueError, match="another order; remove the checkpoints of epoch 4"):
        restore(inside, variables(), 10, 2)
    between = save_checkpoint(tmp_path, 2, variables(), {**state, "step_of_epoch": 0})
    assert restore(between, variables(), 10, 2) == (3, 0)
    same = {**state, "step_of_epoch": 4, "order": ORDER_VERSION}
    assert restore(save_checkpoint(tmp_path, 3, variables(), same), variables(), 10, 2) == (3, 4)


@pytest.mark.parametrize("size", [0, 100, 2000])
def test_damaged_file_is_one_clear_line(tmp_path, size):
    path = save_checkpoint(tmp_path, 1, variables(), {})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="damaged checkpoint"):
        read_state(path)


WRITER = """
import sys, types
import numpy as np
from utils.training.checkpoints import save_checkpoint
class Variable:
    def __init__(self, value): self.value = value
    def numpy(self): return self.value
step = 0
while True:
    step += 1
    variable = Variable(np.full(200_000, step, np.float32))
    save_checkpoint(sys.argv[1], step, [variable] * 3, {}, keep=2)
    print(step, flush=True)
"""


def test_killed_while_writing_the_newest_is_always_whole(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(10):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        newest = list_checkpoints(tmp_path)[-1]
        step = read_state(newest)["step"]
        target = [tf.Variable(tf.zeros(200_000)) for _ in range(3)]
        load_checkpoint(newest, target)
        assert all((v.numpy() == step).all() for v in target)
