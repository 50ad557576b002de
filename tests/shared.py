"""Where the research data of the tests lies; it is not part of the repository."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def need(relative: str) -> Path:
    """Returns the path of a shared file or folder, or skips the test and says what is missing."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs ../shared/{relative}")
    return path
