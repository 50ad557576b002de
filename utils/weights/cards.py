"""The card of weights: a JSON file beside them that says what is known of them."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.files.atomic_file import replacing
from utils.files.digests import weights_digest

ALIGNMENT = "five points, 1"
_SHOWN = 12  # characters of a value in a message


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


def model_identity(
    model_path: str | os.PathLike,
    backbone: str,
    input_shape: Sequence[int],
    normalization: str,
    detector: str | None = None,
    detector_model_path: str | os.PathLike | None = None,
    letterbox_image: bool = True,
) -> dict[str, Any]:
    """Returns all that decides the embedding of a photo, but for the detector's own settings.

    Args:
        model_path: weights of the recognition network.
        backbone: its name.
        input_shape: its (height, width, channels).
        normalization: of its input, a kind of `nets.normalization`.
        detector: "retinaface", "mtcnn" or None: photos are face crops already.
        detector_model_path: its weights.
        letterbox_image: how such crops are fitted; says nothing where there is a detector.

    Returns:
        JSON values by name.

    Raises:
        FileNotFoundError: no weights there.
    """
    crop: dict[str, Any] = {"letterbox_image": bool(letterbox_image)}
    if detector is not None and detector_model_path is not None:
        weights = weights_digest(detector_model_path)
        crop = {"detector": detector, "detector_weights": weights, "alignment": ALIGNMENT}
    return {
        "weights": weights_digest(model_path),
        "backbone": backbone,
        "input_shape": [int(side) for side in input_shape],
        "normalization": normalization,
        **crop,
    }


def differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Returns how two identities differ, as "weights 3f2a.. there, 91bc.. here"; "" if they do not."""
    keys = [key for key in {**stored, **given} if stored.get(key) != given.get(key)]
    texts = [f"{key} {_short(stored, key)} there, {_short(given, key)} here" for key in keys]
    return "; ".join(texts)


def _short(identity: Mapping[str, Any], key: str) -> str:
    text = str(identity.get(key, "not stated"))
    return text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]}.."
