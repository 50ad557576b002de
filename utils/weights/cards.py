"""What is known of a network's weights, in a JSON file beside them."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utils.files.atomic_file import replacing


def card_path(weights_path: str | os.PathLike) -> Path:
    """Returns where the card of weights is: `x.json` for `x.weights.h5`, `x.h5.json` for `x.h5`.

    Published files may lie beside ours under the same name, and must not get its threshold.
    """
    path = Path(weights_path)
    return path.with_name(f"{path.name.removesuffix('.weights.h5')}.json")


def read_card(weights_path: str | os.PathLike) -> dict[str, Any]:
    """Reads the card of a weight file; {} if it has none.

    Its `threshold` is the largest distance of one person's photos, 0 to 2.

    Raises:
        ValueError: the card is damaged; the message names it.
    """
    path = card_path(weights_path)
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}); restore or delete it") from error
    threshold = card.get("threshold", 0.0) if isinstance(card, dict) else None
    if not isinstance(threshold, int | float):
        raise ValueError(f"{path}: an object with a number `threshold` expected; delete or mend it")
    return card


def update_card(weights_path: str | os.PathLike, entries: Mapping[str, Any]) -> Path:
    """Puts entries into the card of a weight file and leaves its others; returns its path."""
    path = card_path(weights_path)
    text = json.dumps({**read_card(weights_path), **entries}, indent=2, ensure_ascii=False)
    # a list in one line
    text = re.sub(r"\[[^][{}\"]*\]", lambda found: " ".join(found[0].split()), text)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return path
