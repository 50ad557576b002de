"""Fonts of the system that have the characters of a text."""

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from anyascii import anyascii
from PIL import ImageFont, features

# Tried first, by file name in the system's font folders; between them they cover most scripts.
_FONTS = tuple(
    "DejaVuSans.ttf, NotoSans-Regular.ttf, NotoSansCJK-Regular.ttc, wqy-microhei.ttc, DroidSansFallbackFull.ttf, "
    "Arial Unicode.ttf, PingFang.ttc, msyh.ttc, meiryo.ttc, malgun.ttf, Nirmala.ttf, arial.ttf".split(", ")
)
_NO_GLYPH = "\U0010fffe"  # no font has it: drawn as the mark of what is missing
_RIGHT_TO_LEFT = range(0x0590, 0x0900)  # Hebrew, Arabic, Syriac, Thaana, N'Ko ...


def typeset(text: str, size: float) -> tuple[str, ImageFont.FreeTypeFont]:
    """Finds a font for a text.

    Args:
        text: in any script.
        size: of the font in pixels.

    Returns:
        The text on one line, and a font that has its characters. If no font of the system has them
        all, the text is spelt in ASCII by its sound, and the font is Pillow's own.
    """
    text = " ".join(text.split())
    # A caption's figures change with every picture, but only the other characters need a search.
    name = _font_name("".join(sorted({c for c in text if not c.isascii()})))
    return text if name else anyascii(text), _font(name, max(1, round(size)))


@lru_cache(maxsize=1024)
def _font_name(characters: str) -> str | None:
    """Returns the first installed font that has all the characters, or None."""
    if not features.check("raqm") and any(ord(c) in _RIGHT_TO_LEFT for c in characters):
        return None  # Pillow would write it from left to right, the letters not joined
    for name in chain(_FONTS, _system_fonts() if characters else ()):
        try:
            font = ImageFont.truetype(name, 16)
        except OSError:
            continue
        if all(_has_glyph(font, character) for character in characters):
            return name
    return None


def _has_glyph(font: ImageFont.FreeTypeFont, character: str) -> bool:
    return bytes(font.getmask(character)) != bytes(font.getmask(_NO_GLYPH))


@lru_cache(maxsize=64)
def _font(name: str | None, size: int) -> Any:
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[str, ...]:
    """Returns the paths of all fonts, regular ones first.

    Fonts of last resort are left out, as their glyphs say nothing.
    """
    found = [
        path
        for folder in _font_folders()
        for path in folder.rglob("*")
        if path.suffix.lower() in (".ttf", ".otf", ".ttc") and "LastResort" not in path.name
    ]
    return tuple(str(p) for p in sorted(found, key=lambda p: ("regular" not in p.name.lower(), p)))


def _font_folders() -> Iterator[Path]:
    """Yields the folders where the system and the user keep fonts.

    matplotlib can list fonts, too, but takes half a second to import and would become a need of
    drawing a box.
    """
    home = Path.home()
    if sys.platform == "win32":
        yield Path(os.environ.get("WINDIR", r"C:\Windows"), "Fonts")
        yield Path(os.environ.get("LOCALAPPDATA", home), "Microsoft", "Windows", "Fonts")
    elif sys.platform == "darwin":
        yield from (Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts")
    else:
        shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
        own = os.environ.get("XDG_DATA_HOME") or home / ".local/share"
        yield from (Path(folder, "fonts") for folder in [own, *shared.split(":")])
        yield home / ".fonts"
