"""Learning rates: formulas of the step, schedule files, and scaling with the batch size."""

import dataclasses
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from nets.layers import PACKAGE

SCHEDULES = ("cosine", "step", "constant")  # anything else is a file
STOP = -1.0  # in a schedule file: training ends with this epoch


@keras.saving.register_keras_serializable(package=PACKAGE)
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A line up from `start` to `peak`, then half a cosine down to `minimum` (Loshchilov, 2017).

    minimum + (peak - minimum) (1 + cos(pi t)) / 2, where t goes from 0 at the end of the warm-up
    to 1 at `total_steps`; the rate stays at the minimum after that.
    """

    def __init__(self, peak, total_steps, warmup_steps=0, minimum=0.0, start=0.0):
        """Sets up the schedule.

        Args:
            peak: highest rate, reached at step `warmup_steps`.
            total_steps: optimizer steps of the whole training, warm-up included.
            warmup_steps: steps of the line up.
            minimum: rate at the end.
            start: rate at step 0 of a warm-up.

        Raises:
            ValueError: the warm-up is not shorter than the training.
        """
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                f"warmup_steps {warmup_steps} must be in [0, total_steps {total_steps})"
            )
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.minimum = minimum
        self.start = start

    def __call__(self, step):
        """Returns the rate at a step, counted from 0, as a float32 scalar."""
        step = tf.cast(step, tf.float32)
        line = self.start + (self.peak - self.start) * step / max(self.warmup_steps, 1)
        progress = (step - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        cosine = tf.cos(math.pi * tf.clip_by_value(progress, 0.0, 1.0))
        decayed = self.minimum + 0.5 * (self.peak - self.minimum) * (1.0 + cosine)
        return tf.where(step < self.warmup_steps, line, decayed)

    def get_config(self):
        """Returns the settings that rebuild the schedule."""
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "minimum": self.minimum,
            "start": self.start,
        }


@keras.saving.register_keras_serializable(package=PACKAGE)
class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A staircase: initial * factor ** floor(step / every)."""

    def __init__(self, initial, factor, every):
        """Sets up the schedule.

        Args:
            initial: rate at step 0.
            factor: of each drop.
            every: steps between two drops; for a drop every e epochs, e * steps_per_epoch.

        Raises:
            ValueError: every is less than 1.
        """
        if every < 1:
            raise ValueError(f"every {every} must be at least 1 step")
        self.initial = initial
        self.factor = factor
        self.every = int(every)

    @classmethod
    def between(cls, peak, minimum, total_steps, levels=10):
        """Returns the staircase of `levels` equal steps that starts at peak and ends at minimum.

        Raises:
            ValueError: a minimum of 0, which no staircase of this kind reaches.
        """
        if minimum <= 0:
            raise ValueError("schedule step: min_learning_rate must be above 0")
        factor = (minimum / peak) ** (1 / (levels - 1))
        return cls(peak, factor, max(1, math.ceil(total_steps / levels)))

    def __call__(self, step):
        """Returns the rate at a step, counted from 0, as a float32 scalar."""
        drops = tf.cast(step, tf.int64) // self.every
        return self.initial * tf.pow(
            tf.constant(self.factor, tf.float32), tf.cast(drops, tf.float32)
        )

    def get_config(self):
        """Returns the settings that rebuild the schedule."""
        return {"initial": self.initial, "factor": self.factor, "every": self.every}


@keras.saving.register_keras_serializable(package=PACKAGE)
class PiecewiseConstant(keras.optimizers.schedules.LearningRateSchedule):
    """Constant rates between milestones, such as those of `read_schedule_file`."""

    def __init__(self, milestones, steps_per_epoch):
        """Sets up the schedule.

        Args:
            milestones: (epoch, rate) pairs, epochs counted from 0 and ascending; a rate holds from
                its epoch on, the first one before it too. A rate of STOP learns nothing.
            steps_per_epoch: optimizer steps of an epoch.
        """
        self.milestones = [(int(epoch), float(rate)) for epoch, rate in milestones]
        self.steps_per_epoch = steps_per_epoch

    def __call__(self, step):
        """Returns the rate at a step, counted from 0, as a float32 scalar."""
        starts = [epoch * self.steps_per_epoch for epoch, _ in self.milestones[1:]]
        rates = tf.constant([max(rate, 0.0) for _, rate in self.milestones], tf.float32)
        passed = tf.cast(step, tf.int64) >= tf.constant(starts, tf.int64)
        return rates[tf.math.count_nonzero(passed)]

    def get_config(self):
        """Returns the settings that rebuild the schedule."""
        return {"milestones": self.milestones, "steps_per_epoch": self.steps_per_epoch}


def _parse_milestone(text, where):
    epoch, colon, rate = text.partition(":")
    try:
        if not colon:
            raise ValueError
        epoch, rate = int(epoch), STOP if rate.strip() == "-" else float(rate)
        if epoch < 0 or not math.isfinite(rate):
            raise ValueError
    except ValueError:
        raise ValueError(f"{where}: {text!r} is not 'epoch: learning rate'") from None
    return epoch, rate if rate > 0 else STOP


def read_schedule_file(path):
    """Reads a learning-rate schedule in FaceNet-TensorFlow's text format.

    A line is `epoch: rate`, `#` starts a comment, blank lines are skipped. A rate that is not
    positive, or `-`, ends the training.

    Args:
        path: text file.

    Returns:
        A list of (epoch, rate), ascending; a rate of STOP is always the last.

    Raises:
        ValueError: names the file, and the line that cannot be read, is out of order or follows
            the end of the training.
    """
    milestones = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        epoch, rate = _parse_milestone(text, f"{path}:{number}")
        if milestones and epoch <= milestones[-1][0]:
            raise ValueError(f"{path}:{number}: epoch {epoch} does not come after the line before")
        if milestones and milestones[-1][1] == STOP:
            raise ValueError(f"{path}:{number}: epoch {epoch} comes after the end of the training")
        milestones.append((epoch, rate))
    if not milestones or milestones[0][1] == STOP:
        raise ValueError(f"{path}: sets no learning rate; add a line such as '0: 0.05'")
    return milestones


def last_epoch(milestones):
    """Returns the epoch, counted from 0, that a schedule stops before, or None if it never does."""
    epoch, rate = milestones[-1]
    return epoch if rate == STOP else None


def end_of_schedule(settings: Mapping[str, Any]) -> int:
    """Returns the epoch, counted from 0, that a schedule file stops before.

    Args:
        settings: those of train.py.

    Returns:
        `sys.maxsize` for a schedule without an end.

    Raises:
        ValueError: the file cannot be understood, or other settings change its rates.
    """
    if settings["schedule"] in SCHEDULES:
        return sys.maxsize
    rates = [phase for phase in settings["phases"] if str(phase).count(":") > 1]
    if rates or settings["lr_batch"]:
        raise ValueError("schedule: a file sets the rates alone, without lr_batch or a phase's")
    stop = last_epoch(read_schedule_file(settings["schedule"]))
    return sys.maxsize if stop is None else stop


def phase_schedule(
    settings: Mapping[str, Any], rate: float, batch_size: int, steps: int, epochs: range
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Returns the learning rate of a phase: a schedule over its steps, or a constant.

    Args:
        settings: those of train.py.
        rate: peak rate; a schedule file's rates replace it.
        batch_size: images of a step.
        steps: steps of an epoch.
        epochs: the epochs of the phase, counted from 0.
    """
    if settings["lr_batch"]:
        rate = scaled_learning_rate(rate, batch_size, settings["lr_batch"])
    total, kind = steps * len(epochs), settings["schedule"]
    lowest = rate * settings["min_learning_rate"]
    if kind == "constant":
        return rate
    if kind == "cosine":
        warmup = min(round(settings["warmup_epochs"] * steps), total // 2)
        return WarmupCosine(rate, total, warmup, lowest)
    if kind == "step":
        return StepDecay.between(rate, lowest, total)
    milestones = read_schedule_file(kind)
    return PiecewiseConstant([(epoch - epochs.start, value) for epoch, value in milestones], steps)


def scaled_learning_rate(base_lr, batch_size, reference_batch=64):
    """Scales a rate linearly with the batch size (Goyal et al., 2017).

    Args:
        base_lr: rate that suits `reference_batch`.
        batch_size: images of one optimizer step, all replicas together.
        reference_batch: 64 in the Keras originals.

    Returns:
        The rate, a float.
    """
    return base_lr * batch_size / reference_batch


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of epochs under one setting.

    Attributes:
        frozen: whether only the head is trained.
        epochs: how many.
        learning_rate: peak rate; None for that of the settings.
        batch_size: None for that of the settings.
    """

    frozen: bool
    epochs: int
    learning_rate: float | None = None
    batch_size: int | None = None


def read_phases(texts):
    """Reads phases written as "frozen:10" or "all:40:1e-4:16".

    Args:
        texts: what is trained ("frozen": the head only, or "all"), epochs and, if they differ from
            the settings, learning rate and batch size, separated by colons.

    Returns:
        A list of Phase.

    Raises:
        ValueError: none, or one that is not so written; names it.
    """
    if not texts:
        raise ValueError("phases: at least one is needed, such as all:50")
    return [_read(text) for text in texts]


def _read(text):
    scope, *numbers = str(text).split(":")
    try:
        epochs, *rest = numbers
        kinds = zip((float, int), rest, strict=False)
        phase = Phase(scope == "frozen", int(epochs), *(kind(text) for kind, text in kinds))
        good = scope in ("frozen", "all") and len(rest) <= 2 and phase.epochs > 0
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"phases: {text!r} is not like frozen:10, all:50 or all:50:1e-3:32")
    return phase
