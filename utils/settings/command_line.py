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
from typing import Any, NamedTuple, NoReturn

from utils.settings.settings import Choices, Ranges, check, show_choices, show_range, unknown

_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}
# What is imported under another name than it is installed by
_PACKAGES = {"sklearn": "scikit-learn", "keras": "tensorflow"}
_METAVARS = {bool: "[yes|no]", int: "N", float: "X", str: "TEXT", list: "A,B,..", tuple: "A,B,.."}


class Comment(NamedTuple):
    """What the source says about a key: its group ("" outside any group) and its comment."""

    group: str
    text: str


def from_command_line(
    defaults: Mapping[str, Any],
    script_path: str | Path,
    description: str,
    argv: Sequence[str] | None = None,
    positional: tuple[str, str, str | int | None] | None = None,
    choices: Choices | None = None,
    ranges: Ranges | None = None,
) -> dict:
    """Returns the settings of a script: its defaults, overridden by `--key value` arguments.

    `--batch-size 64`, `--batch_size=64` and, for a boolean, a bare `--flip` are understood; a value
    is parsed by `parse_value`. `--help` prints each key with its comment. A mistake on the command
    line prints one line and leaves with status 2.

    Args:
        defaults: every known setting with its default value; a default fixes the type.
        script_path: the `__file__` of the script, whose `_defaults` comments are the help.
        description: what the script does, a sentence or more.
        argv: the arguments; None takes those of the process.
        positional: (name, help, nargs as in argparse) of arguments without a key, such as photos.
            They are returned under `name`. If `name` is a setting, too, they override its default.
        choices: {key: allowed values}, see `utils.settings.settings.check`.
        ranges: {key: (lowest, highest)}, see there; `--help` shows both behind the comment.

    Raises:
        ValueError: on a value that is not among its choices, or not in its range.
    """
    allowed = {key: show_choices(values) for key, values in (choices or {}).items()}
    allowed |= {key: show_range(bounds) for key, bounds in (ranges or {}).items()}
    parser = _parser(defaults, script_path, description, positional, allowed)
    arguments = sys.argv[1:] if argv is None else argv
    try:
        given = vars(parser.parse_args(_normalised(arguments, defaults)))
    except ValueError as error:
        parser.error(str(error))
    given.pop("debug")  # `run` reads it from sys.argv.
    if positional:
        name, _, nargs = positional
        values = given.pop("positional", [] if nargs == "*" else None)
        if values or name not in defaults:
            given[name] = values
    settings = {**defaults, **given}
    check(settings, choices, ranges, defaults=defaults)
    return settings


def parse_value(text: str, default: Any, key: str = "") -> Any:
    """Returns `text` as a value of the type of `default`.

    "none" is None wherever the default is not a boolean. Lists and tuples are comma-separated,
    with or without brackets, and their items take the type of the default's items. Where the
    default is None, text that reads as a boolean word, a number or a list of numbers becomes one,
    unless the key ends in path, dir, file or folder; all other text stays as it is.

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
        return _parse_number(text, type(default))
    if default is None and not key.endswith(("path", "dir", "file", "folder")):
        return _parse_untyped(text)
    return text if default is None else type(default)(text)


def read_comments(script_path: str | Path) -> dict[str, Comment]:
    """Returns the comment of each key of the `_defaults` dict in a source file.

    Raises:
        ValueError: if the file has no `_defaults = {...}`.
    """
    source = Path(script_path).read_bytes()
    node = _defaults_node(ast.parse(source), script_path)
    # A `**other` entry has no key; it is kept as None, so that its comment is not taken for the next key's.
    keys = {
        (key or value).lineno: getattr(key, "value", None) for key, value in zip(node.keys, node.values, strict=True)
    }
    tokens = tokenize.tokenize(io.BytesIO(source).readline)
    comments = {token.start[0]: token for token in tokens if token.type == tokenize.COMMENT}

    groups, texts, group, above, key = {}, {}, "", [], None
    for line in range(node.lineno + 1, node.end_lineno + 1):
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
    joined = {key: "; ".join(t.rstrip(" .,;") for t in texts[key] if t) for key in texts}
    return {key: Comment(groups[key], text) for key, text in joined.items() if key is not None}


def run(main: Callable[[], Any]) -> None:
    """Calls a script's `main`; a user's mistake becomes one line on stderr instead of a traceback.

    ValueError, OSError and a missing package leave with status 1, Ctrl-C with status 130, anything
    else as it is. With `--debug`, or FACES_DEBUG=1 in the environment, those too show their
    traceback.
    """
    warnings.showwarning = _show_warning
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        if "--debug" in sys.argv or os.environ.get("FACES_DEBUG", "0") != "0":
            raise
        fail(_message(error))


def fail(message: str) -> NoReturn:
    """Prints `script: message` as one line on stderr and leaves with status 1."""
    print(f"{Path(sys.argv[0]).name}: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(1)


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
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
    defaults: Mapping[str, Any],
    script_path: str | Path,
    description: str,
    positional: tuple[str, str, str | int | None] | None,
    allowed: Mapping[str, str],
) -> _Parser:
    """Builds the parser of arguments that `_normalised` has put in order."""
    comments = read_comments(script_path)
    parser = _Parser(
        Path(script_path).name,
        usage="%(prog)s" + (f" [{positional[0]} ...]" if positional else "") + " [--key value ...]",
        description=description,
        formatter_class=partial(argparse.HelpFormatter, max_help_position=32),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--debug", action="store_true", default=False, help="show the traceback of an error")
    if positional:
        name, text, nargs = positional
        parser.add_argument("positional", metavar=name, nargs=nargs, help=text)
    groups = {}
    for key, default in defaults.items():
        comment = comments.get(key, Comment("", ""))
        if comment.group not in groups:
            groups[comment.group] = parser.add_argument_group(comment.group or "settings")
        groups[comment.group].add_argument(
            f"--{key}",
            type=partial(_argument, default=default, key=key),
            metavar=_METAVARS.get(type(default), "VALUE"),
            help=_help(comment.text, allowed.get(key, ""), default),
        )
    return parser


def _help(comment: str, allowed: str, default: Any) -> str:
    parts = [comment, f"[{allowed}]" if allowed else "", f"(default: {_shown(default)})"]
    return " ".join(part for part in parts if part).replace("%", "%%")


def _argument(text: str, default: Any, key: str) -> Any:
    try:
        return parse_value(text, default, key)
    except ValueError as error:  # argparse hides the message of a ValueError
        raise argparse.ArgumentTypeError(str(error)) from error


def _shown(value: Any) -> str:
    """Returns a default as one would type it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(f"[{_shown(v)}]" if isinstance(v, list | tuple) else str(v) for v in value)
    return "none" if value is None else str(value)


def _normalised(argv: Sequence[str], defaults: Mapping[str, Any]) -> list[str]:
    """Writes every setting as `--key=value` and puts the other arguments last.

    So argparse accepts dashes for underscores and values such as -1e-3, and a bare flag does not
    take the photo behind it for its value.
    """
    options, others, tokens = [], [], deque(argv)
    while tokens:
        token = tokens.popleft()
        if token == "--":
            others.extend(tokens)
            break
        if not token.startswith("--") or token in ("--help", "--debug"):
            is_option = token.startswith("-") and token != "-"
            (options if is_option else others).append(token)
            continue
        name, equals, value = token[2:].partition("=")
        key = name.replace("-", "_")
        if key not in defaults:
            raise ValueError(f"{unknown(key, defaults)} (--help explains them)")
        options.append(f"--{key}={value if equals else _take_value(tokens, key, defaults[key])}")
    mark = ["--"] if any(token.startswith("-") for token in others) else []
    return [*options, *mark, *others]


def _take_value(tokens: deque[str], key: str, default: Any) -> str:
    """Takes the value of `--key` off the front of the tokens; a bare boolean is true."""
    following = tokens[0] if tokens else None
    if isinstance(default, bool):
        return tokens.popleft() if str(following).lower() in _TRUE | _FALSE else "true"
    if following is None or following.startswith("--"):
        raise ValueError(f"--{key} needs a value")
    return tokens.popleft()


def _parse_number(text: str, kind: type) -> int | float:
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{text!r} is not {what}") from None


def _parse_items(text: str, default: Sequence[Any]) -> list:
    """Parses each item of a list like the items of the default, a float if any of those is one."""
    sample = next((item for item in default if isinstance(item, float)), next(iter(default), None))
    items = _split(text)
    if len(items) == 1 and re.fullmatch(r"\[.*\]|\(.*\)", items[0], re.DOTALL):
        items = _split(items[0][1:-1])
    return [parse_value(item, sample) for item in items]


def _split(text: str) -> list[str]:
    """Splits at the commas outside brackets."""
    items, depth = [""], 0
    for char in text:
        depth += (char in "[(") - (char in "])")
        if char == "," and depth == 0:
            items.append("")
        else:
            items[-1] += char
    return [item.strip() for item in items if item.strip()]


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


def _defaults_node(tree: ast.Module, path: str | Path) -> ast.Dict:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "_defaults" for target in targets):
                return node.value
    raise ValueError(f"{path}: has no `_defaults = {{...}}` whose comments could be the help")
