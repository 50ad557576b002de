"""Keras callbacks around the steps of a training: progress, logs, checkpoints, stops."""

import csv
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm

from utils.files.atomic_file import replacing
from utils.generators.samplers import ORDER_VERSION
from utils.generators.skipped_images import SkippedImages
from utils.pictures.plots import save_curves
from utils.training.checkpoints import list_checkpoints, save_checkpoint
from utils.weights.loading import save_weights


class TrainingStopped(ValueError):
    """Raised where a training cannot go on; the message says why and what to do."""


class Progress(keras.callbacks.Callback):
    """Shows a bar with the loss and the images per second."""

    def __init__(self, steps: int, epochs: int, batch_size: int) -> None:
        """Takes the steps of an epoch, the last epoch and the images of a step."""
        super().__init__()
        self.steps, self.epochs, self.batch_size = steps, epochs, batch_size

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts a new bar."""
        title = f"epoch {epoch + 1}/{self.epochs}"
        self._bar = tqdm(total=self.steps, desc=title, unit="step", dynamic_ncols=True)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Moves the bar; the speed leaves out the first step, which compiles the network."""
        if batch == 0:
            self._start = time.perf_counter()
        rate = batch * self.batch_size / max(time.perf_counter() - self._start, 1e-9)
        self._bar.set_postfix_str(f"loss {logs['loss']:.4f}, {rate:.1f} images/s", refresh=False)
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Closes the bar and prints the epoch's figures."""
        self._bar.close()
        print("  " + "  ".join(f"{name} {value:.4f}" for name, value in logs.items()))


class LossStop(keras.callbacks.Callback):
    """Stops at a loss that is not a number, and says how to go on."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder of the checkpoints."""
        super().__init__()
        self._folder = folder

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Raises TrainingStopped if the loss is NaN or infinite."""
        if math.isfinite(logs["loss"]):
            return
        optimizer = self.model.optimizer
        saved = list_checkpoints(self._folder)
        last = f"the last good checkpoint is {saved[-1]}" if saved else "there is no checkpoint yet"
        raise TrainingStopped(
            f"loss {logs['loss']} at step {int(optimizer.iterations)}, learning rate "
            f"{float(optimizer.learning_rate):.3g}: lower learning_rate or set clipnorm; {last}"
        )


def read_losses(folder: str | Path) -> list[dict[str, str]]:
    """Returns the rows of a folder's losses.csv as dicts; an empty list where there is no such file."""
    path = Path(folder) / "losses.csv"
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def _losses_before(folder: Path, epoch: int) -> list[dict[str, str]]:
    return [row for row in read_losses(folder) if int(row["epoch"]) <= epoch]


class LossLog(keras.callbacks.Callback):
    """Keeps losses.csv, epoch_loss.txt, epoch_val_loss.txt and loss.png up to date."""

    def __init__(self, folder: str | Path) -> None:
        """Takes the folder of the logs; rows of earlier epochs are kept when training resumes."""
        super().__init__()
        self.path = Path(folder) / "losses.csv"

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds a row for the epoch and writes the files anew."""
        rows: list[dict[str, Any]] = _losses_before(self.path.parent, epoch)
        figures = {name: f"{value:.6f}" for name, value in logs.items()}
        rate = float(self.model.optimizer.learning_rate)
        rows.append({"epoch": epoch + 1, "learning_rate": f"{rate:.6g}", **figures})
        names = list(dict.fromkeys(name for row in rows for name in row))
        with replacing(self.path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
        for name in ("loss", "val_loss"):
            values = [row[name] for row in rows if row.get(name)]
            if values:
                with replacing(self.path.with_name(f"epoch_{name}.txt")) as temporary:
                    temporary.write_text("\n".join(values) + "\n")
        save_curves(self.path.with_name("loss.png"), loss_curves(rows), "loss")


def loss_curves(rows: Sequence[Mapping[str, str]]) -> dict[str, list[float]]:
    """Returns {name: loss of each epoch} from the rows of losses.csv; NaN where a loss is missing."""
    names = [name for name in rows[0] if name.endswith("loss")]
    return {name: [float(row.get(name) or "nan") for row in rows] for name in names}


class EpochWeights(keras.callbacks.Callback):
    """Writes the network's weights after epochs, and the best ones, named as in the originals."""

    def __init__(self, folder: str | Path, every: int, info: Mapping[str, Any]) -> None:
        """Takes the folder, the epochs from file to file, and the notes for `save_weights`."""
        super().__init__()
        self.folder, self.every, self.info = Path(folder), every, info

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes ep003-loss1.234-val_loss1.345.weights.h5 and best_epoch.weights.h5."""
        # The best loss so far is that of the log, which a resumed training goes on with.
        earlier = [float(row.get("val_loss") or row["loss"]) for row in _losses_before(self.folder, epoch)]
        losses = "-".join(f"{n}{logs[n]:.3f}" for n in ("loss", "val_loss") if n in logs)
        paths = [self.folder / "last_epoch.weights.h5"]
        if (epoch + 1) % self.every == 0:
            paths.append(self.folder / f"ep{epoch + 1:03d}-{losses}.weights.h5")
        if logs.get("val_loss", logs["loss"]) < min(earlier, default=math.inf):
            paths.append(self.folder / "best_epoch.weights.h5")
        with self.model.averaged():
            for path in paths:
                save_weights(self.model.network, path, **self.info)


class Checkpoints(keras.callbacks.Callback):
    """Writes a checkpoint after every `every` steps and after each epoch."""

    def __init__(self, settings: Mapping[str, Any], phase: int, steps: int, batch_size: int, done: int) -> None:
        """Says when checkpoints are written.

        Args:
            settings: those of train.py.
            phase: number of the phase, from 0.
            steps: steps of an epoch.
            batch_size: images of a step; an epoch can only be resumed with the same.
            done: steps of the first epoch that were made before.
        """
        super().__init__()
        self.folder, self.keep = Path(settings["save_dir"]) / "checkpoints", settings["keep_checkpoints"]
        self.every, self.steps, self.done = settings["checkpoint_steps"], steps, done
        self.state = {"phase": phase, "steps": steps, "batch_size": batch_size, "order": ORDER_VERSION}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Remembers the epoch for checkpoints inside it."""
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves in the middle of an epoch."""
        done = self.done + batch + 1
        if self.every and done % self.every == 0 and done < self.steps:
            self._save(self.epoch, done)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves between epochs."""
        self.done = 0
        self._save(epoch + 1, 0)

    def _save(self, epoch: int, step: int) -> None:
        state = {**self.state, "epoch": epoch, "step_of_epoch": step}
        save_checkpoint(self.folder, int(self.model.updates.numpy()), self.model.state(), state, self.keep)


class Skipped(keras.callbacks.Callback):
    """Prints the name of each image that a stream leaves out."""

    def __init__(self, skipped: SkippedImages) -> None:
        """Takes the record of the stream."""
        super().__init__()
        self._skipped = skipped

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Compares the positions of the batch with those expected, and prints what is missing."""
        for path in self._skipped.update(self.model.index.numpy()):
            print(f"\nleft out: {path}: {self._skipped.files[path]}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Prints how many images were left out so far."""
        if self._skipped.dropped:
            print(f"  {self._skipped.summary()}")


class TensorBoard(keras.callbacks.Callback):
    """Writes the figures of each epoch for TensorBoard, which need not be installed for it."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder of the event files."""
        super().__init__()
        self._writer = tf.summary.create_file_writer(str(folder))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes each figure as a scalar."""
        plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        metadata = tf.compat.v1.SummaryMetadata(plugin_data=plugin, data_class="DATA_CLASS_SCALAR")
        with self._writer.as_default():
            for name, value in logs.items():
                tf.summary.write(name, tf.constant(value, tf.float32), epoch + 1, metadata)
        self._writer.flush()


def create_callbacks(
    task: Any, settings: Mapping[str, Any], phase: int, steps: int, last_epoch: int, batch_size: int, done: int
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks of one call of `fit`, in the order in which they act.

    Args:
        task: a RecognitionTask or a DetectionTask.
        settings: those of train.py.
        phase: number of the phase, from 0.
        steps: steps of an epoch.
        last_epoch: the epoch that the phase ends with, counted from 1.
        batch_size: images of a step.
        done: steps of the first epoch that were made before.
    """
    folder = Path(settings["save_dir"])
    chosen = [
        LossStop(folder / "checkpoints"),
        *task.callbacks(),
        Progress(steps - done, last_epoch, batch_size),
        LossLog(folder),
        EpochWeights(folder, settings["save_period"], task.info),
        Checkpoints(settings, phase, steps, batch_size, done),
    ]
    if settings["tensorboard"]:
        chosen.append(TensorBoard(folder / "tensorboard"))
    if settings["early_stop"]:
        watched = "val_loss" if task.validation(batch_size) is not None else "loss"
        chosen.append(keras.callbacks.EarlyStopping(watched, patience=settings["early_stop"]))
    return chosen
