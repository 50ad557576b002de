"""Names of any script in ASCII, for fonts that do not have it."""

from __future__ import annotations

import unicodedata

_LATIN = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l"}
_LATIN |= {"ı": "i", "’": "'", "–": "-", "—": "-"}  # noqa: RUF001
_CYRILLIC = dict(
    zip(
        "абвгдеёжзийклмнопрстуфхцчшщъыьэюяієїґђјљњћџў",
        "a b v g d e yo zh z i y k l m n o p r s t u f kh ts ch sh shch - y - e yu ya "
        "i ye yi g dj j lj nj c dz w".split(),
        strict=True,
    )
) | {"ъ": "", "ь": ""}
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρσςτυφχψω",
        "a v g d e z i th i k l m n x o p r s s t y f ch ps o".split(),
        strict=True,
    )
)
_LETTERS = _LATIN | _CYRILLIC | _GREEK
_FIRST_LETTER = ("ARABIC", "HEBREW")  # scripts whose letters start with their sound: MEEM, NOON
_LAST_WORD = ("LETTER", "SYLLABLE", "VOWEL SIGN")  # HANGUL SYLLABLE GIM, KATAKANA LETTER KA


def to_ascii(text: str) -> str:
    """Spells a text in ASCII, so that different names stay different as far as that goes.

    Accents are dropped, letters of other alphabets and syllabaries spelt by their sound, roughly;
    what has none, as an ideograph, becomes its Unicode number.

    Example:
        >>> to_ascii("Zoë Иван 김 李")
        'Zoe Ivan gim u674E'
    """
    return "".join(_spelt(character) for character in unicodedata.normalize("NFC", text))


def _spelt(character: str) -> str:
    """One character in ASCII; "" for a mark that only changes the letter before."""
    if character.isascii():
        return character
    if character.lower() in _LETTERS:
        plain = _LETTERS[character.lower()]
        return plain.capitalize() if character.isupper() else plain
    name = unicodedata.name(character, "")
    if name.startswith(_FIRST_LETTER) and "LETTER" in name:
        return name.partition("LETTER ")[2].removeprefix("FINAL ")[0].lower()
    if any(kind in name for kind in _LAST_WORD) and not name.startswith("LATIN"):
        if name.split()[0] not in ("CYRILLIC", "GREEK"):
            return name.rpartition(" ")[2].lower()
    if unicodedata.category(character).startswith("M"):
        return ""
    parts = unicodedata.normalize("NFKD", character)
    if parts != character:
        return "".join(_spelt(part) for part in parts)
    return f"u{ord(character):04X}"
