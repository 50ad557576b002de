"""Which network embeddings are of: those of another one must not be compared with them."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from utils.evaluation.embedding_cache import weights_digest

ALIGNMENT = "five points, 1"
"""How faces are cut out; the number goes up when `utils.faces.alignment` changes the crops."""

_SHOWN = 12  # characters of a value in a message


def model_identity(
    model_path: str | os.PathLike,
    backbone: str,
    input_shape: Sequence[int],
    normalization: str,
    detector: str | None = None,
    detector_model_path: str | os.PathLike | None = None,
    letterbox_image: bool = True,
) -> dict[str, Any]:
    """Names all that decides an embedding of a photo, but for how sure the detector must be.

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
    crop = {"letterbox_image": bool(letterbox_image)}
    if detector is not None:
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
    """Says in what two identities differ, "weights 3f2a.. there, 91bc.. here"; "" if in nothing."""
    keys = [key for key in {**stored, **given} if stored.get(key) != given.get(key)]
    texts = [f"{key} {_short(stored, key)} there, {_short(given, key)} here" for key in keys]
    return "; ".join(texts)


def _short(identity: Mapping[str, Any], key: str) -> str:
    if key not in identity:
        return "not stated"
    text = str(identity[key])
    return text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]}.."
