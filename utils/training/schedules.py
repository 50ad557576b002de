"""Learning rates: schedules over the steps of a phase, schedule files, scaling with the batch size."""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras.optimizers import schedules
from keras.optimizers.schedules import LearningRateSchedule

SCHEDULES = ("cosine", "step", "constant")  # anything else is a file
STOP = -1.0  # in a schedule file: training ends with this epoch


def warmup_cosine(peak: float, total_steps: int, warmup_steps: int = 0, share: float = 0.0) -> LearningRateSchedule:
    """Returns a line up from 0 to the peak, then half a cosine down (Loshchilov and Hutter, 2017).

    Args:
        peak: highest rate, reached at step `warmup_steps`.
        total_steps: optimizer steps of the whole phase, warm-up included.
        warmup_steps: steps of the line up, fewer than `total_steps`; 0 starts at the peak.
        share: the last rate, as a share of the peak; it stays after `total_steps`.
    """
    decay_steps = total_steps - warmup_steps
    if not warmup_steps:
        return schedules.CosineDecay(peak, decay_steps, share)
    return schedules.CosineDecay(0.0, decay_steps, share, warmup_target=peak, warmup_steps=warmup_steps)


def staircase(peak: float, total_steps: int, share: float, levels: int = 10) -> LearningRateSchedule:
    """Returns `levels` steps of equal length and equal ratio, from the peak to a share of it.

    Raises:
        ValueError: a share of 0, which no such staircase reaches.
    """
    if share <= 0:
        raise ValueError("schedule step: min_learning_rate must be above 0")
    every = max(1, math.ceil(total_steps / levels))
    return schedules.ExponentialDecay(peak, every, share ** (1 / (levels - 1)), staircase=True)


def piecewise_constant(milestones: Sequence[tuple[int, float]], steps_per_epoch: int) -> float | LearningRateSchedule:
    """Returns constant rates between milestones, such as those of `read_schedule_file`.

    Args:
        milestones: (epoch, rate) pairs, epochs counted from 0 and ascending; a rate holds from its
            epoch on, the first one before it too. A rate of STOP learns nothing.
        steps_per_epoch: optimizer steps of an epoch.
    """
    rates = [max(rate, 0.0) for _, rate in milestones]
    if len(rates) == 1:  # Keras's class needs a boundary
        return rates[0]
    # Keras keeps a rate up to and including its boundary.
    boundaries = [epoch * steps_per_epoch - 1 for epoch, _ in milestones[1:]]
    return schedules.PiecewiseConstantDecay(boundaries, rates)


def _parse_milestone(text: str, where: str) -> tuple[int, float]:
    before, _, after = text.partition(":")
    try:
        epoch, rate = int(before), STOP if after.strip() == "-" else float(after)
    except ValueError:
        epoch, rate = -1, STOP
    if epoch < 0 or not math.isfinite(rate):
        raise ValueError(f"{where}: {text!r} is not 'epoch: learning rate'")
    return epoch, rate if rate > 0 else STOP


def read_schedule_file(path: str | Path) -> list[tuple[int, float]]:
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
    milestones: list[tuple[int, float]] = []
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
    epoch, rate = read_schedule_file(settings["schedule"])[-1]
    return epoch if rate == STOP else sys.maxsize


def phase_schedule(
    settings: Mapping[str, Any], rate: float, batch_size: int, steps: int, epochs: range
) -> float | LearningRateSchedule:
    """Returns the learning rate of a phase: a schedule over its steps, or a constant.

    Args:
        settings: those of train.py.
        rate: peak rate; a schedule file's rates replace it.
        batch_size: images of a step.
        steps: steps of an epoch.
        epochs: the epochs of the phase, counted from 0.
    """
    if settings["lr_batch"]:
        rate = rate * batch_size / settings["lr_batch"]  # linear scaling (Goyal et al., 2017)
    total, kind = steps * len(epochs), settings["schedule"]
    share = settings["min_learning_rate"]
    if kind == "constant":
        return rate
    if kind == "cosine":
        warmup = min(round(settings["warmup_epochs"] * steps), total // 2)
        return warmup_cosine(rate, total, warmup, share)
    if kind == "step":
        return staircase(rate, total, share)
    return piecewise_constant([(epoch - epochs.start, value) for epoch, value in read_schedule_file(kind)], steps)
