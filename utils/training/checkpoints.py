"""Checkpoints: all that training needs to go on as if it had never stopped, in one HDF5 file."""

import json
import re
from pathlib import Path

import h5py
import numpy as np

from utils.files.atomic_file import replacing

_NAME = re.compile(r"step-(\d{8})\.ckpt\.h5")


def save_checkpoint(folder, step, variables, state, keep=3):
    """Writes a checkpoint, whole or not at all, and removes the oldest ones.

    Args:
        folder: where checkpoints go; made if need be.
        step: updates made so far; names the file.
        variables: Keras or TensorFlow variables, in an order that does not change.
        state: JSON values, such as epoch and phase.
        keep: how many checkpoints stay.

    Returns:
        Path of the file.
    """
    path = Path(folder) / f"step-{step:08d}.ckpt.h5"
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for i, variable in enumerate(variables):
            file[f"variables/{i:05d}"] = _value(variable)
        file.attrs["count"] = len(variables)
        file.attrs["state"] = json.dumps({**state, "step": step})
    for old in list_checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def list_checkpoints(folder):
    """Returns the paths of a folder's checkpoints, oldest first."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def read_state(path):
    """Returns the state that a checkpoint was saved with, and its step.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            return json.loads(file.attrs["state"])
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: damaged checkpoint, remove it to use the one before") from error


def load_checkpoint(path, variables):
    """Sets the variables to what a checkpoint holds; all fit, or none is set.

    Args:
        path: of a checkpoint.
        variables: as given to `save_checkpoint`.

    Returns:
        The state, as `read_state`.

    Raises:
        ValueError: the file is damaged, or was written by training with other settings.
    """
    state = read_state(path)
    with h5py.File(path, "r") as file:
        if file.attrs["count"] != len(variables):
            raise ValueError(
                f"{path}: holds {file.attrs['count']} variables, this training has "
                f"{len(variables)}: it was written with other settings"
            )
        values = [file[f"variables/{i:05d}"][()] for i in range(len(variables))]
    for variable, value in zip(variables, values, strict=True):
        if tuple(variable.shape) != tuple(np.shape(value)):
            raise ValueError(
                f"{path}: {getattr(variable, 'path', variable.name)} has shape {np.shape(value)}, "
                f"this training needs {tuple(variable.shape)}: it was written with other settings"
            )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return state


def _value(variable):
    return np.asarray(variable.numpy())
