import pytest

from utils.weights.cards import card_path, differences, model_identity, read_card, update_card


@pytest.mark.parametrize(
    "weights, card", [("a/x.weights.h5", "x.json"), ("x.pth", "x.pth.json"), ("x.y.h5", "x.y.h5.json"), ("x", "x.json")]
)
def test_the_card_lies_beside_the_weights(weights, card):
    assert card_path(weights).name == card


def test_entries_are_added_and_replaced(tmp_path):
    weights = tmp_path / "net.weights.h5"
    assert read_card(weights) == {}
    update_card(weights, {"threshold": 1.5, "data": "фото"})
    assert update_card(weights, {"threshold": 1}) == tmp_path / "net.json"
    assert read_card(weights) == {"threshold": 1, "data": "фото"}
    assert [path.name for path in tmp_path.iterdir()] == ["net.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"threshold": "high"}', '{"threshold": null}'])
def test_a_damaged_card_is_named(tmp_path, text):
    (tmp_path / "net.json").write_text(text)
    with pytest.raises(ValueError, match=r"net\.json.*delete") as error:
        read_card(tmp_path / "net.weights.h5")
    assert "\n" not in str(error.value)


@pytest.fixture
def settings(tmp_path):
    for name, content in (("net.h5", b"net"), ("detector.h5", b"detector"), ("other.h5", b"other")):
        (tmp_path / name).write_bytes(content)
    return {
        "model_path": tmp_path / "net.h5",
        "backbone": "mobilenet",
        "input_shape": (160, 160, 3),
        "normalization": "unit",
        "detector": "retinaface",
        "detector_model_path": tmp_path / "detector.h5",
        "letterbox_image": True,
    }


@pytest.mark.parametrize(
    "key, value, same",
    [
        ("model_path", "other.h5", False),
        ("model_path", "copy.h5", True),
        ("backbone", "inception_resnetv1", False),
        ("input_shape", [160, 160, 3], True),
        ("input_shape", (112, 112, 3), False),
        ("normalization", "symmetric", False),
        ("detector", "mtcnn", False),
        ("detector", None, False),
        ("detector_model_path", "other.h5", False),
        ("letterbox_image", False, True),  # which says nothing where there is a detector
    ],
)
def test_what_decides(settings, tmp_path, key, value, same):
    (tmp_path / "copy.h5").write_bytes(b"net")
    changed = {**settings, key: tmp_path / value if key.endswith("path") else value}
    assert (model_identity(**changed) == model_identity(**settings)) == same


def test_without_a_detector_the_fit_of_the_crop_decides(settings):
    settings = {**settings, "detector": None, "detector_model_path": None}
    other = model_identity(**{**settings, "letterbox_image": False})
    assert differences(model_identity(**settings), other) == ("letterbox_image True there, False here")


def test_differences():
    assert differences({"a": 1, "b": [2]}, {"b": [2], "a": 1}) == ""
    text = differences({"weights": "0123456789abcdef0123456789", "b": 1}, {"weights": "f", "c": 2})
    assert text == ("weights 0123456789ab.. there, f here; b 1 there, not stated here; c not stated there, 2 here")
