"""Optimizers by name, with weight decay that spares biases, normalisation and PReLU slopes."""

from collections.abc import Mapping
from typing import Any

import keras

from utils.training.phases import Phase
from utils.training.schedules import phase_schedule

# Weights that decay would only hinder. Anchored, since Keras searches names for the pattern, and
# inside an update a name is TensorFlow's, `layer/bias:0`.
UNDECAYED = r"(^|/)(bias|beta|gamma|alpha)(:\d+)?$"


def _choices(momentum: float) -> dict:
    """Returns, for each name, the Keras class and the settings that differ from Keras's defaults."""
    sgd = (keras.optimizers.SGD, {"momentum": momentum, "nesterov": momentum > 0})
    return {
        "adam": (keras.optimizers.Adam, {"beta_1": momentum}),
        "adamw": (keras.optimizers.AdamW, {"beta_1": momentum}),
        "sgd": sgd,
        "mom": sgd,
        "rmsprop": (keras.optimizers.RMSprop, {"momentum": momentum, "epsilon": 1.0}),
        "adagrad": (keras.optimizers.Adagrad, {}),
        "adadelta": (keras.optimizers.Adadelta, {"rho": 0.9, "epsilon": 1e-6}),
    }


def build_optimizer(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    clipnorm: float | None = None,
    epsilon: float | None = None,
) -> keras.optimizers.Optimizer:
    """Builds an optimizer with the settings of the Keras and TensorFlow FaceNets.

    - adam, adamw: beta_1 is the momentum, as in Keras FaceNet; epsilon 1e-7. FaceNet in TensorFlow
      takes an epsilon of 0.1, without which its rate of 0.05 is far too high.
    - sgd, or mom as FaceNet in TensorFlow calls it: Nesterov momentum.
    - rmsprop: rho 0.9 and epsilon 1.0, inside the root, as FaceNet in TensorFlow has it. Keras
      starts its mean square at 0 and TensorFlow 1 at 1, so the first ten steps or so differ.
    - adagrad: squared gradients start at 0.1. adadelta: rho 0.9, epsilon 1e-6.

    The decay is decoupled (Loshchilov and Hutter, 2019): each step takes rate * weight_decay of a
    weight off it, besides the gradient's step. It leaves out biases, gamma and beta of a batch
    normalisation, and the alpha of a PReLU. The originals add an L2 penalty, weight_decay / 2 times
    the sum of squares, to the loss instead. For sgd without momentum the two are one; with a
    momentum m the penalty decays 1 / (1 - m) times as fast, so its 5e-4 under 0.9 is 5e-3 here.

    Args:
        name: adam, adamw, sgd, mom, rmsprop, adagrad or adadelta; case does not matter.
        learning_rate: float or Keras schedule.
        momentum: of sgd and rmsprop, beta_1 of the Adams; unused by the others.
        weight_decay: share taken off a weight each step, before the rate; 0 for none.
        clipnorm: largest norm of the gradient of one weight; None for any.
        epsilon: replaces the optimizer's own; None keeps that.

    Returns:
        A Keras optimizer, not yet built.

    Raises:
        ValueError: an unknown name, or an epsilon for sgd.
    """
    choices = _choices(momentum)
    if name.lower() not in choices:
        raise ValueError(f"unknown optimizer {name!r}; choose one of {', '.join(choices)}")
    optimizer_class, settings = choices[name.lower()]
    if epsilon is not None:
        if optimizer_class is keras.optimizers.SGD:
            raise ValueError(f"optimizer {name!r} has no epsilon; leave it None")
        settings = {**settings, "epsilon": epsilon}
    none = 0.0 if optimizer_class is keras.optimizers.AdamW else None  # AdamW wants a number
    optimizer = optimizer_class(learning_rate, weight_decay=weight_decay or none, clipnorm=clipnorm, **settings)
    optimizer.exclude_from_weight_decay(var_names=[UNDECAYED])
    return optimizer


def phase_optimizer(
    settings: Mapping[str, Any], phase: Phase, batch_size: int, steps: int, epochs: range
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a phase, with its schedule over the phase's steps.

    Args:
        settings: those of train.py.
        phase: the phase; its learning rate goes before that of the settings.
        batch_size: images of a step.
        steps: steps of an epoch.
        epochs: the epochs of the phase, counted from 0.
    """
    schedule = phase_schedule(settings, phase.learning_rate or settings["learning_rate"], batch_size, steps, epochs)
    chosen = {name: settings[name] for name in ("momentum", "weight_decay", "clipnorm", "epsilon")}
    return build_optimizer(settings["optimizer"], schedule, **chosen)
