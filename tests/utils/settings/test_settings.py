import math

import numpy as np
import pytest

from utils.settings import settings
from utils.settings.settings import check, override

DEFAULTS = {
    "backbone": "mobilenet",
    "input_shape": (112, 112, 3),
    "batch_size": 64,
    "learning_rate": 1e-3,
    "flip": False,
    "lr_steps": [16, 64],
    "model_path": None,
}


def test_override_lays_overrides_over_a_copy():
    assert override(DEFAULTS, {"batch_size": 8}, "Facenet") == {**DEFAULTS, "batch_size": 8}
    assert DEFAULTS["batch_size"] == 64
    assert override(DEFAULTS, {}, "Facenet") == DEFAULTS


def test_override_names_the_nearest_key():
    with pytest.raises(ValueError) as error:
        override(DEFAULTS, {"backbon": "mobilenet"}, "Facenet")
    assert str(error.value) == "Facenet: unknown setting 'backbon'; did you mean 'backbone'?"


def test_override_lists_the_keys_where_none_is_near():
    with pytest.raises(ValueError, match="'zzz'; the settings are backbone, input_shape, batch_"):
        override(DEFAULTS, {"zzz": 1}, "Facenet")


CHOICES = {"backbone": ("mobilenet", "resnet50"), "engine": ("auto", None), "levels": (1, 2)}
RANGES = {
    "batch_size": (1, None),
    "share": (0, 1),
    "seconds": (0, None),
    "dropout": (None, 0.5),
    "rates": (0, 1),
    "shift": (None, None),
}
CHECKED = {
    "backbone": "mobilenet",
    "engine": "auto",
    "levels": [1],
    "batch_size": 8,
    "share": 0.5,
    "seconds": None,
    "dropout": 0.1,
    "rates": (0.1, 1.0),
    "shift": 0.0,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"engine": None},  # among the choices
        {"seconds": None},  # the default
        {"seconds": 1.5},
        {"batch_size": np.int64(1)},  # the lowest, of a whole kind
        {"share": 1},  # the highest; a whole number is a number
        {"share": np.float32(0)},
        {"levels": [2, 1]},
        {"levels": []},
        {"rates": [0.0]},
        {"dropout": -1e9},
    ],
)
def test_check_lets_pass(changes):
    check({**CHECKED, **changes}, CHECKED, CHOICES, RANGES, "Facenet")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("backbone", "vgg", "backbone 'vgg' is not one of mobilenet, resnet50"),
        ("backbone", None, "backbone None is not one of mobilenet, resnet50"),
        ("backbone", ["mobilenet"], "backbone ['mobilenet'] is not one of mobilenet, resnet50"),
        ("engine", "tpu", "engine 'tpu' is not one of auto, none"),
        ("levels", [1, 3], "levels [1, 3] is not one of 1, 2"),
        ("levels", [True], "levels [True] is not one of 1, 2"),
        ("levels", 1, "levels 1 is not one of 1, 2"),
        ("batch_size", 0, "batch_size 0: at least 1 expected"),
        ("batch_size", 2.5, "batch_size 2.5: a whole number of at least 1 expected"),
        ("batch_size", True, "batch_size True: at least 1 expected"),
        ("batch_size", None, "batch_size None: at least 1 expected"),
        ("batch_size", [8], "batch_size [8]: at least 1 expected"),
        ("batch_size", "8", "batch_size '8': at least 1 expected"),
        ("share", -0.1, "share -0.1: a number from 0 to 1 expected"),
        ("share", 1.1, "share 1.1: a number from 0 to 1 expected"),
        ("share", math.nan, "share nan: a number from 0 to 1 expected"),
        ("seconds", math.inf, "seconds inf: at least 0 expected"),
        ("dropout", 0.6, "dropout 0.6: at most 0.5 expected"),
        ("rates", (0.5, 2), "rates (0.5, 2): numbers from 0 to 1 expected"),
        ("rates", 0.5, "rates 0.5: numbers from 0 to 1 expected"),
        ("shift", math.inf, "shift inf: a number expected"),
        ("shift", False, "shift False: a number expected"),
    ],
)
def test_check_names_key_value_and_what_is_allowed(key, value, message):
    with pytest.raises(ValueError) as error:
        check({**CHECKED, key: value}, CHECKED, CHOICES, RANGES, "Facenet")
    assert str(error.value) == f"Facenet: {message}"


def test_check_without_owner():
    check({"size": None}, {"size": None}, None, {"size": (0, 1)})
    with pytest.raises(ValueError, match="^size 3: a number from 0 to 1 expected$"):
        check({"size": 3}, {"size": None}, None, {"size": (0, 1)})


def test_override_checks():
    with pytest.raises(ValueError, match="^Facenet: batch_size 0: at least 1 expected$"):
        override(DEFAULTS, {"batch_size": 0}, "Facenet", ranges={"batch_size": (1, None)})
    with pytest.raises(ValueError, match="^Facenet: backbone 'vgg' is not one of mobilenet$"):
        override(DEFAULTS, {"backbone": "vgg"}, "Facenet", {"backbone": ["mobilenet"]})


def test_describe_marks_what_differs():
    text = settings.describe({"a": 1, "size": (2, 3)}, "train.py on CPU", {"a": 1, "size": (2, 2)})
    assert text.splitlines() == ["train.py on CPU (* differs from the default)", "    a     1", "  * size  (2, 3)"]
    assert settings.describe({"a": 1}, "title", {"a": 1}) == "title\n    a  1"
    assert settings.describe({}, "title", {}) == "title"
