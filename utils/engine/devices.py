"""Which devices there are, and which of them training uses: a CPU, one GPU, several, or several machines."""

import contextlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from glob import glob
from importlib.util import find_spec
from typing import Any

# Nvidia's driver, AMD's, and that of Windows' Linux subsystem
_GPU_FILES = ("/dev/nvidia[0-9]*", "/dev/nvidiactl", "/dev/kfd", "/usr/lib/wsl/lib/libcuda.so*")
_SILENCING = threading.Lock()  # stderr is one for all threads


def choose_strategy(train_gpu: int | Sequence[int] | None = None) -> Any:
    """Picks the GPUs and the TensorFlow strategy that uses them.

    Memory grows as needed instead of being taken whole. Must be called before TensorFlow has used
    a GPU.

    Args:
        train_gpu: numbers of the GPUs to use, or one number; None for all there are, an empty list
            for the CPU.

    Returns:
        MultiWorkerMirroredStrategy if the environment has TF_CONFIG, MirroredStrategy for several
        GPUs, else the default strategy of one device.

    Raises:
        ValueError: a number with no GPU behind it.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    chosen = [train_gpu] if isinstance(train_gpu, int) else train_gpu
    chosen = range(len(gpus)) if chosen is None else chosen
    wrong = [number for number in chosen if not 0 <= number < len(gpus)]
    if wrong:
        raise ValueError(f"train_gpu: there is no GPU {wrong[0]}; TensorFlow sees {len(gpus)}")
    visible = [gpus[number] for number in chosen]
    tf.config.set_visible_devices(visible, "GPU")
    for gpu in visible:
        tf.config.experimental.set_memory_growth(gpu, True)
    if os.environ.get("TF_CONFIG"):
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(visible) > 1:
        return tf.distribute.MirroredStrategy([f"GPU:{i}" for i in range(len(visible))])
    return tf.distribute.get_strategy()


def worker_shard() -> tuple[int, int]:
    """Returns (number of this worker from 0, number of workers); (0, 1) without TF_CONFIG."""
    import tensorflow as tf

    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    spec = resolver.cluster_spec().as_dict()
    workers = len(spec.get("worker", [])) + len(spec.get("chief", []))
    if workers < 2:
        return 0, 1
    first = 1 if spec.get("chief") and resolver.task_type == "worker" else 0
    return first + resolver.task_id, workers


def has_gpu() -> bool:
    """Returns whether TensorFlow finds a GPU.

    Its import takes seconds, so it is asked only where it is loaded already, or where the system shows a device that
    it could run on.
    """
    if "tensorflow" not in sys.modules and not (_shows_gpu() and find_spec("tensorflow")):
        return False
    return bool(_gpus())


def start_tensorflow(needed_for: str) -> None:
    """Imports TensorFlow without its start-up notes.

    Raises:
        ModuleNotFoundError: it is not installed; says what it is needed for.
    """
    if "tensorflow" in sys.modules:
        return
    if find_spec("tensorflow") is None:
        raise ModuleNotFoundError(
            f"{needed_for}: building this network needs TensorFlow (pip install tensorflow), as does compiling it",
            name="tensorflow",
        )
    _gpus()


def _gpus() -> list[Any]:
    """Returns the GPUs that TensorFlow sees; its start prints ten lines that no setting of its own stops."""
    with _SILENCING, _silent_stderr():
        import tensorflow as tf

        return tf.config.list_physical_devices("GPU")


def _shows_gpu() -> bool:
    """Returns whether the system has a device file of a GPU, or a Mac has TensorFlow's plugin for its own."""
    if sys.platform != "darwin":
        return any(glob(pattern) for pattern in _GPU_FILES)
    from importlib import metadata

    return any(metadata.distributions(name="tensorflow-metal"))


def device_name() -> str:
    """Returns "CPU", or the names of the GPUs that TensorFlow sees, such as "2 x Tesla T4"."""
    if not has_gpu():
        return "CPU"
    import tensorflow as tf

    gpus = _gpus()
    details = tf.config.experimental.get_device_details
    counts = Counter(details(gpu).get("device_name", gpu.name) for gpu in gpus)
    names = (name if count == 1 else f"{count} x {name}" for name, count in counts.items())
    return ", ".join(names) or "CPU"


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Sends what native code prints to stderr nowhere, unless FACES_DEBUG is set."""
    if os.environ.get("FACES_DEBUG", "0") != "0" or sys.stderr is None:
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def cores() -> int:
    """Returns how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
