"""Images of a training set that cannot be read."""

import os
from collections.abc import Collection, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import tensorflow as tf

from utils.generators.decoding import read_face
from utils.generators.positions import Shard, global_position, local_position
from utils.generators.samplers import Sampler
from utils.images.image_files import ImageError, read_image

_PROBES = 16
_THREADS = 16


class SkippedImages:
    """Names the images that a stream left out, from the gaps in its positions.

    Feed it the `index` of each batch in turn (of a whole batch, if it was split over replicas).

    Attributes:
        dropped: Positions left out so far; a triplet counts three.
        files: Path to why it cannot be read, in the order of discovery.
    """

    def __init__(self, paths: Sequence[str], sampler: Sampler, start: int = 0, shard: Shard = (0, 1)) -> None:
        """Takes the arguments that the dataset was made with."""
        self.dropped = 0
        self.files: dict[str, str] = {}
        self._paths = paths
        self._sampler = sampler
        self._shard = shard
        self._next = local_position(start, sampler.block, shard)

    def update(self, index: np.ndarray) -> list[str]:
        """Takes the positions of the next batch.

        Args:
            index: (B,) integers.

        Returns:
            The paths that are new in `files`.
        """
        sampler, shard = self._sampler, self._shard
        seen = local_position(np.asarray(index).ravel(), sampler.block, shard)
        stop = int(seen.max(initial=-1)) + 1
        gone = np.setdiff1d(np.arange(self._next, stop), seen)
        self._next = max(self._next, stop)
        self.dropped += len(gone)
        images = np.unique(sampler.image(global_position(gone, sampler.block, shard)))
        new = [path for path in (str(self._paths[i]) for i in images) if path not in self.files]
        # Of a triplet, only the image that is broken is named.
        passing = "could not be read when its turn came" if sampler.group == 1 else ""
        reasons = {path: _why_unreadable(path) or passing for path in new}
        found = {path: reason for path, reason in reasons.items() if reason}
        self.files |= found
        return list(found)

    def summary(self) -> str:
        """Returns a line on what was left out so far."""
        return f"{self.dropped} samples left out: {len(self.files)} images cannot be read"


def check_files(paths: Collection[str]) -> list[tuple[str, str]]:
    """Returns the files that are missing or empty, found without opening any.

    Args:
        paths: (N,) file paths.

    Returns:
        (path, what is wrong) of each bad file, in order.
    """
    with ThreadPool(_THREADS) as pool:
        problems = pool.map(_file_problem, paths)
    return [(str(path), problem) for path, problem in zip(paths, problems, strict=True) if problem]


def _file_problem(path: str) -> str:
    try:
        size = os.stat(path).st_size
    except OSError as error:
        return error.strerror or str(error)
    return "" if size else "the file is empty"


def file_tensors(paths: Sequence[str], labels: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns paths and labels as tensors on the CPU; an error if no image of a sample can be read."""
    if len(paths) != len(labels) or not len(paths):
        raise ValueError(f"{len(paths)} paths and {len(labels)} labels: as many of both expected")
    check_some_readable(paths, "images")
    # On the CPU, where tf.data runs, even if the default device is a GPU.
    with tf.device("CPU"):
        return tf.constant([os.fsencode(path) for path in paths]), tf.constant(labels, tf.int32)


def check_some_readable(paths: Sequence[str], noun: str) -> None:
    """Raises ImageError if none of some images can be read: such a stream would never yield a batch.

    Args:
        paths: (N,) image files, of which up to 16 are tried.
        noun: what the error calls them, such as "images".
    """
    probes = np.unique(np.linspace(0, len(paths) - 1, _PROBES).astype(int))
    if not all(_why_unreadable(str(paths[i])) for i in probes):
        return
    first = str(paths[0])
    raise ImageError(f"none of {len(probes)} {noun} tried can be read; {first}: {_why_unreadable(first)}")


def _why_unreadable(path: str) -> str:
    """Returns why `read_face` fails on a file, or an empty string."""
    try:
        read_face(tf.constant(os.fsencode(path)), (1, 1))
        return ""
    except (tf.errors.OpError, ImageError):
        pass
    try:
        read_image(Path(path))
    except ImageError as error:
        return str(error).removeprefix(f"{path}: ")
    return "TensorFlow cannot decode it; save it again as JPEG or PNG"
