"""Phases of a training: first the head alone, for example, then all layers."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Phase:
    """Epochs in a row that are trained in the same way.

    Attributes:
        frozen: whether only the head is trained.
        epochs: number of epochs.
        learning_rate: peak rate; None for that of the settings.
        batch_size: None for that of the settings.
    """

    frozen: bool
    epochs: int
    learning_rate: float | None = None
    batch_size: int | None = None


def read_phases(texts: Sequence[str]) -> list[Phase]:
    """Reads phases written as "frozen:10" or "all:40:1e-4:16".

    Args:
        texts: what is trained ("frozen": the head only, or "all"), epochs and, if they differ from
            the settings, learning rate and batch size, separated by colons.

    Returns:
        A list of Phase.

    Raises:
        ValueError: there is no phase, or one is written otherwise; the message quotes it.
    """
    if not texts:
        raise ValueError("phases: at least one is needed, such as all:50")
    return [_read(text) for text in texts]


def _read(text: str) -> Phase:
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
