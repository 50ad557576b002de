"""Set before TensorFlow starts: no test touches the user's cache; replicas can be tested."""

import os
from pathlib import Path

os.environ["FACES_CACHE"] = str(Path(__file__).parents[1] / ".pytest_cache" / "faces")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf  # noqa: E402

_CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * 2)
