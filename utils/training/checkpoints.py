"""Checkpoints: all that training needs to go on as if it had never stopped, in one HDF5 file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from utils.files.atomic_file import replacing
from utils.generators.samplers import ORDER_VERSION

_OTHER = "it was written with other settings"


def save_checkpoint(
    folder: str | Path, step: int, variables: Sequence, state: Mapping[str, Any], keep: int = 3
) -> Path:
    """Writes a checkpoint, whole or not at all, and removes the oldest ones.

    Args:
        folder: where checkpoints go; it is created where it is missing.
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
            file[f"variables/{i:05d}"] = np.asarray(variable.numpy())
        file.attrs["count"] = len(variables)
        file.attrs["state"] = json.dumps({**state, "step": step})
    for old in list_checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def list_checkpoints(folder: str | Path) -> list[Path]:
    """Returns the paths of a folder's checkpoints, oldest first."""
    return sorted(Path(folder).glob(f"step-{'[0-9]' * 8}.ckpt.h5"))


def read_state(path: str | Path) -> dict[str, Any]:
    """Returns the state that a checkpoint was saved with, and its step.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            return json.loads(file.attrs["state"])
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: damaged checkpoint, remove it to use the one before") from error


def load_checkpoint(path: str | Path, variables: Sequence) -> dict[str, Any]:
    """Sets the variables to what a checkpoint holds; if one does not fit, none is set.

    Args:
        path: the checkpoint.
        variables: as given to `save_checkpoint`.

    Returns:
        The state, as `read_state` returns it.

    Raises:
        ValueError: the file is damaged, or was written by training with other settings.
    """
    state = read_state(path)
    with h5py.File(path, "r") as file:
        if file.attrs["count"] != len(variables):
            held = file.attrs["count"]
            raise ValueError(f"{path}: holds {held} variables, this training has {len(variables)}: {_OTHER}")
        values = [file[f"variables/{i:05d}"][()] for i in range(len(variables))]
    for variable, value in zip(variables, values, strict=True):
        if tuple(variable.shape) != tuple(np.shape(value)):
            name, needed = getattr(variable, "path", variable.name), tuple(variable.shape)
            raise ValueError(f"{path}: {name} has shape {np.shape(value)}, this training needs {needed}: {_OTHER}")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return state


def newest_checkpoint(save_dir: str | Path, resume: bool) -> tuple[Path, dict] | None:
    """Returns the path and the state of the checkpoint to resume from, None to start anew.

    Args:
        save_dir: the folder of a training; its checkpoints are in the subfolder `checkpoints`.
        resume: whether the training of that folder goes on.

    Raises:
        ValueError: the newest checkpoint is damaged, or the folder holds another training's
            although this one is not to be resumed.
    """
    folder = Path(save_dir) / "checkpoints"
    found = list_checkpoints(folder)
    if found and not resume:
        raise ValueError(
            f"{folder}: holds checkpoints of another training; set resume to go on, or choose another save_dir"
        )
    if found:
        return found[-1], read_state(found[-1])
    if resume:
        print(f"{folder}: no checkpoint yet, training starts at the beginning")
    return None


def restore(path: Path, variables: Sequence, steps: int, batch_size: int) -> tuple[int, int]:
    """Sets the variables of a training to what a checkpoint holds, and says where it goes on.

    Args:
        path: the checkpoint.
        variables: as given to `save_checkpoint`.
        steps: steps of an epoch of the phase that goes on.
        batch_size: images of its steps.

    Returns:
        The epoch to go on with, counted from 0, and how many of its steps are done.

    Raises:
        ValueError: the checkpoint does not fit the training, or was written inside an epoch of
            another length, batch size or order of images.
    """
    state = load_checkpoint(path, variables)
    epoch, done = state["epoch"], state["step_of_epoch"]
    if done and (state["steps"], state["batch_size"]) != (steps, batch_size):
        raise ValueError(
            f"{path}: inside an epoch of {state['steps']} steps with batch_size "
            f"{state['batch_size']}, now {steps} with {batch_size}: resume with the same"
        )
    if done and state.get("order", 1) != ORDER_VERSION:
        raise ValueError(
            f"{path}: written inside an epoch by a version that shows images in another order; "
            f"remove the checkpoints of epoch {epoch + 1} to resume from its start"
        )
    print(f"resumed from {path}: epoch {epoch + 1}, step {done}")
    return epoch, done
