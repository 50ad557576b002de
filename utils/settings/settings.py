"""Settings: `_defaults` dicts, their overrides and their report."""

import difflib
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from numbers import Integral, Real
from typing import Any

Settings = Mapping[str, Any]
Choices = Mapping[str, Collection[Any]]
Bounds = tuple[float | None, float | None]
Ranges = Mapping[str, Bounds]


def override(
    defaults: Settings, overrides: Settings, owner: str, choices: Choices | None = None, ranges: Ranges | None = None
) -> dict[str, Any]:
    """Returns a copy of `defaults` with `overrides` laid over it, and checked.

    Args:
        defaults: every known setting with its default value.
        overrides: the settings to change.
        owner: the script or class the settings belong to; the error message starts with it.
        choices: the allowed values of some keys, see `check`.
        ranges: the allowed numbers of some keys, see `check`.

    Raises:
        ValueError: on a key that `defaults` does not have (names the nearest one, or else all), and
            on a value that is not allowed.
    """
    for key in overrides:
        if key not in defaults:
            raise ValueError(f"{owner}: {unknown(key, defaults)}")
    settings = {**defaults, **overrides}
    check(settings, defaults, choices, ranges, owner)
    return settings


def check(
    settings: Settings, defaults: Settings, choices: Choices | None, ranges: Ranges | None, owner: str = ""
) -> None:
    """Refuses a setting that is not among its choices, or not a number in its range.

    A range asks for a finite number (True and False are none), and for a whole one where the
    default is whole. Where the default is a list or tuple, each item is checked. None passes where
    it is the default or one of the choices.

    Args:
        settings: the values to check.
        defaults: the default values.
        choices: {key: allowed values}.
        ranges: {key: (lowest, highest)}, both allowed; None leaves an end open.
        owner: the script or class the settings belong to; the error message starts with it.

    Raises:
        ValueError: names the first key with a value that is not allowed, and what is allowed.
    """
    prefix = f"{owner}: " if owner else ""
    for key, allowed in (choices or {}).items():
        if not _passes(settings[key], defaults[key], partial(_is_among, allowed=allowed)):
            raise ValueError(f"{prefix}{key} {settings[key]!r} is not one of {show_choices(allowed)}")
    for key, bounds in (ranges or {}).items():
        whole = isinstance(defaults[key], Integral)
        if not _passes(settings[key], defaults[key], partial(_is_within, bounds=bounds, whole=whole)):
            expected = _expected(settings[key], defaults[key], bounds)
            raise ValueError(f"{prefix}{key} {settings[key]!r}: {expected} expected")


def describe(settings: Settings, title: str, defaults: Settings) -> str:
    """Returns a table with one line per setting; a star marks those that differ from the default."""
    width = max(map(len, settings), default=0)
    changed = {key for key, value in settings.items() if key in defaults and value != defaults[key]}
    rows = [f"  {'*' if key in changed else ' '} {key:<{width}}  {value}" for key, value in settings.items()]
    return "\n".join([title + (" (* differs from the default)" if changed else ""), *rows])


def unknown(key: str, known: Settings) -> str:
    """Returns the sentence about an unknown key, with the nearest known one."""
    near = difflib.get_close_matches(key.lower(), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the settings are {', '.join(known)}"
    return f"unknown setting {key!r}; {hint}"


def show_choices(allowed: Iterable[Any]) -> str:
    """Returns the allowed values in one line, as one would type them."""
    return ", ".join(dict.fromkeys("none" if value is None else str(value) for value in allowed))


def show_range(bounds: Bounds) -> str:
    """Returns a range in words, such as "0 to 1" or "at least 1"; "" where both ends are open."""
    low, high = bounds
    if low is not None and high is not None:
        return f"{low} to {high}"
    if low is not None:
        return f"at least {low}"
    return "" if high is None else f"at most {high}"


def _passes(value: Any, default: Any, allows: Callable[[Any], bool]) -> bool:
    """Whether a value, or each item of it where the default is a list, is allowed."""
    if value is None and default is None:
        return True
    if not isinstance(default, list | tuple):
        return allows(value)
    is_list = isinstance(value, Iterable) and not isinstance(value, str)
    return is_list and all(allows(item) for item in value)


def _is_among(value: Any, allowed: Iterable[Any]) -> bool:
    # The type is compared, too: True equals 1, and an array has no single answer to ==.
    return any(type(value) is type(choice) and value == choice for choice in allowed)


def _is_within(value: Any, bounds: Bounds, whole: bool) -> bool:
    low, high = bounds
    is_number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        return False
    return (low is None or value >= low) and (high is None or value <= high)


def _expected(value: Any, default: Any, bounds: Bounds) -> str:
    """Returns what a refused value should have been."""
    text = show_range(bounds)
    if isinstance(default, list | tuple):
        kind = "numbers"
    elif isinstance(default, Integral) and isinstance(value, Real) and value % 1:
        kind = "a whole number"
    elif text.startswith("at"):
        return text
    else:
        kind = "a number"
    return " ".join([kind, *(["from"] if " to " in text else ["of"] if text else []), text]).strip()
