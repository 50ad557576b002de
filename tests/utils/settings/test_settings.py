import pytest

from utils.settings import settings
from utils.settings.settings import override

DEFAULTS = {
    "backbone": "mobilenet",
    "input_shape": (112, 112, 3),
    "batch_size": 64,
    "learning_rate": 1e-3,
    "flip": False,
    "min_sizes": [[16, 32], [64, 128]],
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


def test_describe_marks_what_differs():
    text = settings.describe({"a": 1, "size": (2, 3)}, "train.py on CPU", {"a": 1, "size": (2, 2)})
    assert text.splitlines() == [
        "train.py on CPU (* differs from the default)",
        "    a     1",
        "  * size  (2, 3)",
    ]
    assert settings.describe({"a": 1}, "title") == "title\n    a  1"
    assert settings.describe({}, "title") == "title"
