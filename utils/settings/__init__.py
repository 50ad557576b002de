"""Settings of scripts: `_defaults`, overridden on the command line, checked.

It needs no other wing. Users get `describe`, `from_command_line`, `override`, `run`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {"describe": "settings", "from_command_line": "command_line", "override": "settings", "run": "command_line"},
)
