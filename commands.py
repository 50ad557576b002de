"""The scripts as commands of the installed package: `faces-predict` is `python predict.py`."""

from collections.abc import Callable
from functools import partial
from importlib import import_module

from utils.settings.command_line import run


def __getattr__(script: str) -> Callable[[], None]:
    """Returns the function that runs a script, as in `from faces.commands import predict`.

    Raises:
        AttributeError: Python asks for a name of its own, such as `__path__`.
    """
    if script.startswith("__"):
        raise AttributeError(script)
    return partial(run, import_module(f"{__package__}.{script}").main)
