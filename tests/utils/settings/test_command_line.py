import sys
from pathlib import Path

import pytest

from tests.utils.settings.test_settings import DEFAULTS
from utils.settings.command_line import from_command_line, parse_value, read_comments, run

SCRIPT = '''
"""A script."""
_other = {"batch_size": 1}  # not this one

_defaults = {  # the opening line belongs to no key
    # Network:
    "backbone": "mobilenet",  # one of two: mobilenet or resnet50
    # longest side, 50 % of
    # the original.
    "input_shape": (112, 112, 3),  # pixels
    # Training:
    "batch_size": 64,  # images a step
    "learning_rate": (
        1e-3
    ),  # at the start
    "flip": False,
    "lr_steps": [
        16,  # first step,
        64,  # second step
    ],
    "model_path": None,  # weights, "#" is fine here
}
'''


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def parsed(script, *argv, **kwargs):
    return from_command_line(DEFAULTS, script, "Trains.", argv, **kwargs)


@pytest.mark.parametrize(
    ("text", "default", "expected"),
    [
        ("64", 1, 64),
        ("-3", 1, -3),
        ("none", 1, None),
        ("1", 0.5, 1.0),
        ("1e-3", 0.5, 0.001),
        ("true", False, True),
        ("Yes", False, True),
        ("1", False, True),
        ("no", True, False),
        ("0", True, False),
        ("arcface", "mobilenet", "arcface"),
        ("None", "retinaface", None),
        ("12", "mobilenet", "12"),
        ("", "mobilenet", ""),
        ("a.jpg", Path("b.jpg"), Path("a.jpg")),
        ("112,112,3", (1, 1, 1), (112, 112, 3)),
        ("(112, 112, 3)", (1, 1, 1), (112, 112, 3)),
        ("[112,112,3]", (1, 1, 1), (112, 112, 3)),
        ("7", [1, 2], [7]),
        ("7,", [1, 2], [7]),
        ("[]", [1, 2], []),
        ("", [1, 2], []),
        ("none", [1, 2], None),
        ("0.5,1", (1, 0.5), (0.5, 1.0)),
        ("a,[b]", ["x"], ["a", "[b]"]),
        ("2, x", [], [2, "x"]),
        ("yes,no", [True], [True, False]),
        ("none", None, None),
        ("5", None, 5),
        ("-1e-3", None, -0.001),
        ("off", None, False),
        ("1", None, 1),
        ("112,112,3", None, (112, 112, 3)),
        ("[1, 2]", None, [1, 2]),
        ("logs/best.h5", None, "logs/best.h5"),
        ("2026-10-15", None, "2026-10-15"),
        ("192.168.0.1", None, "192.168.0.1"),
        ("1_001", None, "1_001"),
    ],
)
def test_parse_value(text, default, expected):
    value = parse_value(text, default)
    assert value == expected
    assert type(value) is type(expected)


def test_a_path_is_not_taken_for_a_number():
    assert parse_value("2026", None, "model_path") == "2026"
    assert parse_value("none", None, "model_path") is None


@pytest.mark.parametrize(
    ("text", "default", "message"),
    [
        ("abc", 16, "'abc' is not a whole number"),
        ("6.5", 16, "'6.5' is not a whole number"),
        ("abc", 0.5, "'abc' is not a number"),
        ("maybe", True, "'maybe' is neither yes nor no"),
        ("none", True, "'none' is neither yes nor no"),
        ("1,x,3", (1, 1, 1), "'x' is not a whole number"),
        ("[1,2", [1, 2], "is not a whole number"),
    ],
)
def test_parse_value_refuses(text, default, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        parse_value(text, default)


@pytest.mark.parametrize(
    ("argv", "changes"),
    [
        ("", {}),
        ("--batch_size 8", {"batch_size": 8}),
        ("--batch-size 8", {"batch_size": 8}),
        ("--batch-size=8", {"batch_size": 8}),
        ("--batch_size 8 --batch_size 9", {"batch_size": 9}),
        ("--backbone=a=b", {"backbone": "a=b"}),
        ("--learning_rate -1e-3", {"learning_rate": -0.001}),
        ("--flip", {"flip": True}),
        ("--flip --batch_size 8", {"flip": True, "batch_size": 8}),
        ("--flip no", {"flip": False}),
        ("--flip=yes", {"flip": True}),
        ("--input_shape 160,160,3", {"input_shape": (160, 160, 3)}),
        ("--model_path none --debug", {}),
    ],
)
def test_command_line_overrides_defaults(script, argv, changes):
    assert parsed(script, *argv.split()) == {**DEFAULTS, **changes}


def test_command_line_is_that_of_the_process_by_default(script, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--batch_size", "3"])
    assert from_command_line(DEFAULTS, script, "Trains.")["batch_size"] == 3


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("--batch_size abc", "train.py: argument --batch_size: 'abc' is not a whole number"),
        ("--batch_siz 8", "train.py: unknown setting 'batch_siz'; did you mean 'batch_size'?"),
        ("--batch-siz=8", "train.py: unknown setting 'batch_siz'; did you mean 'batch_size'?"),
        ("--batch_size", "train.py: --batch_size needs a value"),
        ("--batch_size --flip", "train.py: --batch_size needs a value"),
        ("photo.jpg", "train.py: unrecognized arguments: photo.jpg"),
        ("-x", "train.py: unrecognized arguments: -x"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(script, capsys, argv, line):
    with pytest.raises(SystemExit) as exit_:
        parsed(script, *argv.split())
    output = capsys.readouterr()
    assert exit_.value.code == 2
    assert output.err.startswith(line)
    assert output.err.count("\n") == 1
    assert output.out == ""


@pytest.mark.parametrize(
    ("argv", "nargs", "photos"),
    [
        ("", "*", []),
        ("", "?", None),
        ("a.jpg", "?", "a.jpg"),
        ("a.jpg --flip b.jpg --batch_size 8 c.jpg", "*", ["a.jpg", "b.jpg", "c.jpg"]),
        ("--flip -- -a.jpg --b.jpg", "*", ["-a.jpg", "--b.jpg"]),
        ("a.jpg b.jpg", 2, ["a.jpg", "b.jpg"]),
    ],
)
def test_positional_arguments_stand_anywhere(script, argv, nargs, photos):
    settings = parsed(script, *argv.split(), positional=("photos", "to look at", nargs))
    assert settings["photos"] == photos
    assert settings["flip"] == ("--flip" in argv)


def test_positional_arguments_may_override_a_setting(script):
    positional = ("backbone", "its name", "?")
    assert parsed(script, positional=positional)["backbone"] == "mobilenet"
    assert parsed(script, "resnet50", positional=positional)["backbone"] == "resnet50"


def test_a_missing_positional_argument_is_named(script, capsys):
    with pytest.raises(SystemExit):
        parsed(script, positional=("photo", "to look at", None))
    assert capsys.readouterr().err == "train.py: the following arguments are required: photo\n"


def test_help_lists_keys_with_groups_comments_and_defaults(script, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as exit_:
        parsed(script, "--help", positional=("photo", "to look at", "*"))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert exit_.value.code == 0
    assert lines[0] == "usage: train.py [photo ...] [--key value ...]"
    expected = [
        "Network:",
        "--backbone TEXT one of two: mobilenet or resnet50 (default: mobilenet)",
        "--input_shape A,B,.. longest side, 50 % of the original; pixels (default: 112,112,3)",
        "",
        "Training:",
        "--batch_size N images a step (default: 64)",
        "--learning_rate X at the start (default: 0.001)",
        "--flip [yes|no] (default: no)",
        "--lr_steps A,B,.. first step; second step (default: 16,64)",
        '--model_path VALUE weights, "#" is fine here (default: none)',
    ]
    start = lines.index("Network:")
    assert lines[start : start + len(expected)] == expected


def test_help_shows_choices_and_ranges_behind_the_comment(script, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit):
        parsed(
            script,
            "--help",
            choices={"flip": (True, False), "model_path": ("a", None)},
            ranges={"batch_size": (1, None), "learning_rate": (0, 1)},
        )
    text = " ".join(capsys.readouterr().out.split())
    assert "images a step [at least 1] (default: 64)" in text
    assert "at the start [0 to 1] (default: 0.001)" in text
    assert "fine here [a, none] (default: none)" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--batch_size 0", "^batch_size 0: at least 1 expected$"),
        ("--batch_size none", "^batch_size None: at least 1 expected$"),
        ("--backbone vgg", "^backbone 'vgg' is not one of mobilenet, resnet50$"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(script, argv, message):
    allowed = {"choices": {"backbone": ("mobilenet", "resnet50")}, "ranges": {"batch_size": (1, None)}}
    assert parsed(script, **allowed) == DEFAULTS
    with pytest.raises(ValueError, match=message):
        parsed(script, *argv.split(), **allowed)


def test_read_comments_needs_a_defaults_dict(tmp_path):
    (tmp_path / "empty.py").write_text("x = {}\n")
    with pytest.raises(ValueError, match=r"empty\.py: has no `_defaults"):
        read_comments(tmp_path / "empty.py")


def raises(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("size: is odd;\n  make it even"), 1, "predict.py: size: is odd; make it even\n"),
        (ValueError(), 1, "predict.py: ValueError\n"),
        (FileNotFoundError(2, "No such file", "a.jpg"), 1, "predict.py: a.jpg: No such file\n"),
        (OSError("disk is full"), 1, "predict.py: disk is full\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_run_turns_a_user_error_into_one_line(monkeypatch, capsys, error, status, line):
    monkeypatch.setattr(sys, "argv", ["/somewhere/predict.py"])
    monkeypatch.delenv("FACES_DEBUG", raising=False)
    with pytest.raises(SystemExit) as exit_:
        run(raises(error))
    assert exit_.value.code == status
    assert capsys.readouterr().err == line


def test_run_lets_other_errors_and_success_through(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["predict.py"])
    with pytest.raises(KeyError):
        run(raises(KeyError("a bug")))
    assert run(lambda: 3) is None


@pytest.mark.parametrize("switch", ["--debug", "FACES_DEBUG"])
def test_run_shows_the_traceback_when_debugging(monkeypatch, switch):
    monkeypatch.setattr(sys, "argv", ["predict.py"] + ["--debug"] * (switch == "--debug"))
    monkeypatch.setenv("FACES_DEBUG", "1" if switch == "FACES_DEBUG" else "0")
    with pytest.raises(ValueError, match="wrong"):
        run(raises(ValueError("wrong")))


@pytest.mark.parametrize(
    ("module", "package"), [("sklearn.svm", "scikit-learn"), ("keras", "tensorflow"), ("scipy.io", "scipy")]
)
def test_missing_package_is_named_as_it_is_installed(monkeypatch, capsys, module, package):
    def main():
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(sys, "argv", ["predict.py"])
    with pytest.raises(SystemExit):
        run(main)
    assert capsys.readouterr().err.rstrip().endswith(f"not installed: pip install {package}")
