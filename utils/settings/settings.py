"""Settings: `_defaults` dicts, their overrides and their report."""

import difflib
from collections.abc import Mapping
from typing import Any


def override(defaults: Mapping[str, Any], overrides: Mapping[str, Any], owner: str) -> dict:
    """Returns a copy of `defaults` with `overrides` laid over it.

    Args:
        defaults: every known setting with its default value.
        overrides: the settings to change.
        owner: the script or class the settings belong to; the error message starts with it.

    Raises:
        ValueError: on a key that `defaults` does not have; names the nearest one, or else all.
    """
    for key in overrides:
        if key not in defaults:
            raise ValueError(f"{owner}: {unknown(key, defaults)}")
    return {**defaults, **overrides}


def describe(
    settings: Mapping[str, Any], title: str, defaults: Mapping[str, Any] | None = None
) -> str:
    """Returns a table of the settings, one a line; a star marks those that are not the default.

    Without `defaults` nothing is marked.
    """
    defaults = settings if defaults is None else defaults
    width = max(map(len, settings), default=0)
    changed = {key for key, value in settings.items() if key in defaults and value != defaults[key]}
    rows = [
        f"  {'*' if key in changed else ' '} {key:<{width}}  {value}"
        for key, value in settings.items()
    ]
    return "\n".join([title + (" (* differs from the default)" if changed else ""), *rows])


def unknown(key: str, known: Mapping[str, Any]) -> str:
    """Returns the sentence about an unknown key, with the nearest known one."""
    near = difflib.get_close_matches(key.lower(), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the settings are {', '.join(known)}"
    return f"unknown setting {key!r}; {hint}"
