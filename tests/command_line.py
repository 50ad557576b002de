"""Runs a script's main in this process, as the command line would."""

import sys

from utils.settings.command_line import run


def call(main, monkeypatch, capsys, arguments, settings):
    """Returns the status, the lines of stdout and those of stderr.

    Args:
        main: of the script.
        monkeypatch, capsys: of the test.
        arguments: words of the command line, of any type.
        settings: dict of keys to set, `--key=value`.
    """
    pairs = [f"--{key}={value}" for key, value in settings.items()]
    monkeypatch.setattr(sys, "argv", [f"{main.__module__}.py", *map(str, arguments), *pairs])
    capsys.readouterr()
    status = 0
    try:
        run(main)
    except SystemExit as leave:
        status = leave.code
    captured = capsys.readouterr()
    return status, captured.out.splitlines(), captured.err.splitlines()
