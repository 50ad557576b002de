"""Phases of a training: first perhaps with the backbone frozen, then all of it."""

import dataclasses


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
