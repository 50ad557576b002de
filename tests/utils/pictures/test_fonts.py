from pathlib import Path

import pytest
from PIL import ImageFont

from utils.pictures import fonts


@pytest.fixture
def no_fonts(monkeypatch):
    fonts._font_name.cache_clear()
    monkeypatch.setattr(fonts, "_FONTS", ("no such font.ttf",))
    monkeypatch.setattr(fonts, "_system_fonts", lambda: ())
    yield monkeypatch
    fonts._font_name.cache_clear()


def test_without_fonts_the_text_is_ascii(no_fonts):
    text, font = fonts.typeset("Zoë \n 李 0.5", 12)
    assert text == "Zoe Li 0.5" and font.getlength(text) > 40


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Ann-2 O'Neil", "Ann-2 O'Neil"),
        ("Zoë Çelik", "Zoe Celik"),
        ("Zoe\u0308", "Zoe"),
        ("Łukasz Øst", "Lukasz Ost"),
        ("Иван", "Ivan"),
        ("Ольга", "Ol'ga"),
        ("Ελένη", "Eleni"),
        ("გიორგი", "giorgi"),
        ("राज", "raj"),
        ("さくら カタ", "sakura kata"),
        ("محمد", "mhmd"),
        ("李明", "LiMing"),
        ("🙂", ":slight_smile:"),
    ],
)
def test_a_name_is_spelt_by_its_sound(no_fonts, text, expected):
    assert fonts.typeset(text, 12)[0] == expected


def test_names_in_ascii_stay_apart(no_fonts):
    names = ["李明", "王明", "明", "김", "이"]
    assert len({fonts.typeset(name, 12)[0] for name in names}) == len(names)


def test_ascii_needs_no_search(no_fonts):
    no_fonts.setattr(fonts, "_system_fonts", lambda: pytest.fail("searched"))
    assert fonts.typeset("Ann 0.53", 12)[0] == "Ann 0.53"


def test_any_font_of_the_system_will_do(no_fonts):
    have = [p for folder in fonts._font_folders() for p in folder.rglob("DejaVuSans.ttf")]
    if not have:
        pytest.skip("needs DejaVuSans.ttf")
    no_fonts.setattr(fonts, "_system_fonts", lambda: ("missing.ttf", str(have[0])))
    text, font = fonts.typeset("Иван", 12)
    assert text == "Иван" and Path(font.path).name == "DejaVuSans.ttf"


def test_right_to_left_needs_a_layout_engine(no_fonts):
    no_fonts.setattr(fonts, "_FONTS", fonts._FONTS + ("DejaVuSans.ttf",))
    no_fonts.setattr(fonts.features, "check", lambda name: False)
    assert fonts.typeset("דוד", 12)[0] == "dvd"


def test_a_change_of_figures_does_not_look_for_the_font_again():
    fonts.typeset("Иван 0.51", 12)
    misses = fonts._font_name.cache_info().misses
    fonts.typeset("Иван 0.52", 12)
    assert fonts._font_name.cache_info().misses == misses


def test_has_glyph():
    font = ImageFont.load_default(16)
    assert fonts._has_glyph(font, "A") and not fonts._has_glyph(font, "李")
