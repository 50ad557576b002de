"""The weights in model_data/, by the wrappers' defaults, on the sample photos."""

import time
from pathlib import Path

import numpy as np
import pytest

from facenet import Facenet
from retinaface import Retinaface
from utils.faces.detections import NoFaceError
from utils.weights.cards import read_card
from utils.weights.loading import load_weights

RECOGNISER, DETECTOR = Facenet._defaults["model_path"], Retinaface._defaults["model_path"]


@pytest.fixture(scope="module")
def network():
    return Facenet()


def test_sizes():
    assert Path(RECOGNISER).stat().st_size <= 5e6
    assert Path(DETECTOR).stat().st_size <= 2.5e6


def test_cards():
    for path in (RECOGNISER, DETECTOR):
        card = read_card(path)
        assert {"network", "recipe", "data", "date", "figures"} <= set(card)


def test_the_threshold_is_the_card_s(network):
    card = read_card(RECOGNISER)
    assert network.threshold == card["threshold"]
    assert list(network.input_shape) == card["input_shape"]
    assert network.normalization == card["normalization"]
    assert network.model.output_shape[-1] == card["embedding_size"]


@pytest.mark.parametrize(
    "first, second, same", [("1_001", "1_002", True), ("1_001", "2_001", False), ("1_002", "2_001", False)]
)
def test_samples_are_judged_rightly(network, first, second, same):
    distance = network.detect_image(f"img/{first}.jpg", f"img/{second}.jpg")
    assert (distance <= network.threshold) == same


def test_group_and_nobody(network):
    group, nobody = network.detect_batch(["img/group.jpg", "img/nobody.jpg"])
    assert len(group) == 4 and len(nobody) == 0
    assert np.all(np.diff(np.sort(group.boxes[:, 0])) > 50)
    with pytest.raises(NoFaceError, match="nobody.jpg"):
        network.embed("img/nobody.jpg")


def test_weights_load_in_half_a_second(network):
    for model, path in ((network.model, RECOGNISER), (network._detector.model, DETECTOR)):
        start = time.perf_counter()
        load_weights(model, path)
        assert time.perf_counter() - start < 0.5
