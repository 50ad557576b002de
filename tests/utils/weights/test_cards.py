import pytest

from utils.weights.cards import card_path, read_card, update_card


@pytest.mark.parametrize(
    "weights, card",
    [
        ("a/x.weights.h5", "x.json"),
        ("x.pth", "x.pth.json"),
        ("x.y.h5", "x.y.h5.json"),
        ("x", "x.json"),
    ],
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
