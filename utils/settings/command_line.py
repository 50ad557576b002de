"""Command lines of scripts: `_defaults` overridden by `--key value`, errors in one line.

A script reads its settings in one line and hands its main function to `run`:

    settings = from_command_line(_defaults, __file__, "Trains a face recogniser.")
    print(describe(settings, f"train.py on {device_name()}", _defaults))

The comments beside the keys of `_defaults` are the help text. A comment on a line of its own
belongs to the key below it, or opens a group of keys if it ends with a colon.
"""

import argparse
import ast
import io
import os
import re
import sys
import tokenize
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from utils.settings.settings import Choices, Ranges, Settings, check, show_choices, show_range, unknown

_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}
# What is imported under another name than it is installed by
_PACKAGES = {"sklearn": "scikit-learn", "keras": "tensorflow"}
_METAVARS = {bool: "[yes|no]", int: "N", float: "X", str: "TEXT", list: "A,B,..", tuple: "A,B,.."}


def from_command_line(
    defaults: Settings,
    script_path: str | Path,
    description: str | None,
    argv: Sequence[str] | None = None,
    positional: tuple[str, str, str | int | None] | None = None,
    choices: Choices | None = None,
    ranges: Ranges | None = None,
) -> dict[str, Any]:
    """Returns the settings of a script: its defaults, overridden by `--key value` arguments.

    `--batch-size 64`, `--batch_size=64` and, for a boolean, a bare `--flip` are understood; a value is parsed by
    `parse_value`. `--help` prints each key with its comment. A mistake on the command line prints one line and leaves
    with status 2.

    Args:
        defaults: every known setting with its default value; a default fixes the type.
        script_path: the `__file__` of the script, whose `_defaults` comments are the help.
        description: what the script does, a sentence or more.
        argv: the arguments; None takes those of the process.
        positional: (name, help, nargs as in argparse) of arguments without a key, such as photos. They are returned
            under `name`. If `name` is a setting, too, they override its default.
        choices: {key: allowed values}, see `utils.settings.settings.check`.
        ranges: {key: (lowest, highest)}, see there; `--help` shows both behind the comment.

    Raises:
        ValueError: on a value that is not among its choices, or not in its range.
    """
    allowed = {key: show_choices(values) for key, values in (choices or {}).items()}
    allowed |= {key: show_range(bounds) for key, bounds in (ranges or {}).items()}
    parser = _parser(defaults, script_path, description, positional, allowed)
    try:
        given, others = _split(sys.argv[1:] if argv is None else argv, defaults)
    except ValueError as error:
        parser.error(str(error))
    values = vars(parser.parse_args(others)).get("positional")
    if positional and (values or positional[0] not in defaults):
        given[positional[0]] = values
    settings = {**defaults, **given}
    check(settings, defaults, choices, ranges)
    return settings


def parse_value(text: str, default: Any, key: str = "") -> Any:
    """Returns `text` as a value of the type of `default`.

    "none" is None wherever the default is not a boolean. Lists and tuples are comma-separated, with or without
    brackets, and their items take the type of the default's items. Where the default is None, text that reads as a
    boolean word, a number or a list of numbers becomes one, unless the key ends in path, dir, file or folder; all
    other text stays as it is.

    Raises:
        ValueError: if the text is no such value.
    """
    word = text.strip().lower()
    if isinstance(default, bool):
        if word not in _TRUE | _FALSE:
            raise ValueError(f"{text!r} is neither yes nor no")
        return word in _TRUE
    if word == "none":
        return None
    if isinstance(default, list | tuple):
        return type(default)(_parse_items(text, default))
    if isinstance(default, int | float):
        try:
            return type(default)(text)
        except ValueError:
            what = "a whole number" if isinstance(default, int) else "a number"
            raise ValueError(f"{text!r} is not {what}") from None
    if default is None and not key.endswith(("path", "dir", "file", "folder")):
        return _parse_untyped(text)
    return text if default is None else type(default)(text)


def read_comments(script_path: str | Path) -> dict[str, tuple[str, str]]:
    """Returns for each key of the `_defaults` dict in a source file its group, "" outside any, and its comment.

    Raises:
        ValueError: if the file has no `_defaults = {...}`.
    """
    source = Path(script_path).read_bytes()
    assignments = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    values = [node.value for node in assignments if ast.unparse(node.targets[0]) == "_defaults"]
    if not values or not isinstance(node := values[0], ast.Dict):
        raise ValueError(f"{script_path}: has no `_defaults = {{...}}` whose comments could be the help")
    keys = {key.lineno: str(key.value) for key in node.keys if isinstance(key, ast.Constant)}
    tokens = tokenize.tokenize(io.BytesIO(source).readline)
    comments = {token.start[0]: token for token in tokens if token.type == tokenize.COMMENT}

    groups: dict[str, str] = {}
    texts: dict[str, list[str]] = {}
    above: list[str] = []
    group = key = ""
    for line in range(node.lineno + 1, (node.end_lineno or 0) + 1):
        if line in keys:
            key = keys[line]
            groups[key], texts[key], above = group, [" ".join(above)], []
        if line not in comments:
            continue
        text = comments[line].string.lstrip("# ").rstrip()
        if not comments[line].line.lstrip().startswith("#"):
            texts[key].append(text)
        elif text.endswith(":"):
            group = text[:-1]
        else:
            above.append(text)
    return {key: (groups[key], "; ".join(text.rstrip(" .,;") for text in texts[key] if text)) for key in texts}


def run(main: Callable[[], Any]) -> None:
    """Calls a script's `main`; a user's mistake becomes one line on stderr instead of a traceback.

    ValueError, OSError and a missing package leave with status 1, Ctrl-C with status 130, anything else as it is. With
    `--debug`, or FACES_DEBUG=1 in the environment, those too show their traceback.
    """
    warnings.showwarning = _show_warning
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if "--debug" in sys.argv or os.environ.get("FACES_DEBUG", "0") != "0":
            raise
        print(f"{Path(sys.argv[0]).name}: {' '.join(_message(error).split())}", file=sys.stderr)
        sys.exit(1)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    where = "" if issubclass(category, UserWarning) else f"{filename}:{lineno}: {category.__name__}: "
    print(f"warning: {where}{message}", file=file or sys.stderr)


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and error.name and str(error).startswith("No module named"):
        package = error.name.partition(".")[0]
        return f"this needs a package that is not installed: pip install {_PACKAGES.get(package, package)}"
    return str(error) or type(error).__name__


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _parser(
    defaults: Settings,
    script_path: str | Path,
    description: str | None,
    positional: tuple[str, str, str | int | None] | None,
    allowed: Mapping[str, str],
) -> _Parser:
    """Returns the parser of the arguments without a key; it knows the settings for `--help` alone."""
    comments = read_comments(script_path)
    parser = _Parser(
        Path(script_path).name,
        usage="%(prog)s" + (f" [{positional[0]} ...]" if positional else "") + " [--key value ...]",
        description=description,
        formatter_class=partial(argparse.HelpFormatter, max_help_position=32),
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")  # `run` sees to it
    if positional:
        name, text, nargs = positional
        parser.add_argument("positional", metavar=name, nargs=nargs, help=text)
    groups: dict[str, Any] = {}
    for key, default in defaults.items():
        group, comment = comments.get(key, ("", ""))
        if group not in groups:
            groups[group] = parser.add_argument_group(group or "settings")
        limits = f"[{allowed[key]}]" if allowed.get(key) else ""
        parts = filter(None, (comment, limits, f"(default: {_shown(default)})"))
        metavar, text = _METAVARS.get(type(default), "VALUE"), " ".join(parts).replace("%", "%%")
        groups[group].add_argument(f"--{key}", metavar=metavar, help=text)
    return parser


def _shown(value: Any) -> str:
    """Returns a default as one would type it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def _split(argv: Sequence[str], defaults: Settings) -> tuple[dict[str, Any], list[str]]:
    """Returns the settings that are given as `--key value`, and the other arguments, photos last.

    argparse would take -1e-3 for a flag, and the photo behind a bare boolean for its value.
    """
    given: dict[str, Any] = {}
    flags: list[str] = []
    others: list[str] = []
    tokens = deque(argv)
    while tokens:
        token = tokens.popleft()
        if token == "--":
            return given, [*flags, "--", *others, *tokens]
        if token.startswith("--") and token not in ("--help", "--debug"):
            key, value = _take_setting(token, tokens, defaults)
            given[key] = value
        else:
            (flags if token.startswith("-") and token != "-" else others).append(token)
    return given, [*flags, *others]


def _take_setting(token: str, tokens: deque[str], defaults: Settings) -> tuple[str, Any]:
    """Returns key and value of `--key` or `--key=value`; the value may be the next of the tokens."""
    name, equals, text = token[2:].partition("=")
    key = name.replace("-", "_")
    if key not in defaults:
        raise ValueError(f"{unknown(key, defaults)} (--help explains them)")
    default = defaults[key]
    if not equals and isinstance(default, bool):
        text = tokens.popleft() if tokens and tokens[0].lower() in _TRUE | _FALSE else "true"
    elif not equals:
        if not tokens or tokens[0].startswith("--"):
            raise ValueError(f"--{key} needs a value")
        text = tokens.popleft()
    try:
        return key, parse_value(text, default, key)
    except ValueError as error:
        raise ValueError(f"argument --{key}: {error}") from error


def _parse_items(text: str, default: Sequence[Any]) -> list[Any]:
    """Parses each item of a list like the items of the default, a float if any of those is one."""
    sample = next((item for item in default if isinstance(item, float)), next(iter(default), None))
    bare = re.sub(r"^[\[(](.*)[\])]$", r"\1", text.strip())
    return [parse_value(item.strip(), sample) for item in bare.split(",") if item.strip()]


def _parse_untyped(text: str) -> Any:
    word = text.strip().lower()
    if word in (_TRUE | _FALSE) - {"0", "1"}:
        return word in _TRUE
    if re.fullmatch(r"[-+\d.,e\s()\[\]]*\d[-+\d.,e\s()\[\]]*", word):
        try:
            return ast.literal_eval(word)
        except (SyntaxError, ValueError):  # a date, an address, 007: text after all
            return text
    return text
