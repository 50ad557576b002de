import json
import sys
import types

import pytest
import tensorflow as tf

from utils.engine import devices
from utils.engine.devices import choose_strategy, worker_shard


def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="there is no GPU 99"):
        choose_strategy([99])
    with pytest.raises(ValueError, match="there is no GPU 99"):
        choose_strategy(99)


def test_without_gpu_it_is_the_default_strategy():
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    assert choose_strategy() is tf.distribute.get_strategy()


def test_one_machine_is_the_only_worker(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert worker_shard() == (0, 1)


@pytest.mark.parametrize(
    "cluster, task, shard",
    [
        ({"worker": ["a:1", "b:1"]}, ("worker", 1), (1, 2)),
        ({"chief": ["a:1"], "worker": ["b:1", "c:1"]}, ("worker", 1), (2, 3)),
        ({"chief": ["a:1"], "worker": ["b:1"]}, ("chief", 0), (0, 2)),
    ],
)
def test_workers_are_counted_from_the_chief(monkeypatch, cluster, task, shard):
    config = {"cluster": cluster, "task": {"type": task[0], "index": task[1]}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert worker_shard() == shard


@pytest.mark.parametrize(
    ("names", "expected"), [([], "CPU"), (["Tesla T4"], "Tesla T4"), (["A", "B", "A"], "2 x A, B"), ([None], "GPU:0")]
)
def test_device_name(monkeypatch, names, expected):
    gpus = [types.SimpleNamespace(name=f"GPU:{i}", device=name) for i, name in enumerate(names)]
    details = types.SimpleNamespace(get_device_details=lambda gpu: {"device_name": gpu.device} if gpu.device else {})
    tensorflow = types.ModuleType("tensorflow")
    tensorflow.config = types.SimpleNamespace(
        list_physical_devices=lambda kind: gpus if kind == "GPU" else [], experimental=details
    )
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    assert devices.device_name() == expected
