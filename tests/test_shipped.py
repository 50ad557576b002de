"""The weights in model_data/, by the wrappers' defaults, on the sample photos."""

import time
from pathlib import Path

import numpy as np
import pytest

from facenet import Facenet
from nets.normalization import normalize
from retinaface import Retinaface
from utils.engine.conversion import keras_outputs
from utils.engine.litert import Interpreters
from utils.faces.detections import NoFaceError
from utils.images.image_files import read_image
from utils.images.placement import resize
from utils.weights.cards import read_card
from utils.weights.loading import load_weights
from utils.weights.networks import beside, recognizer, retinaface

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
    assert network.embed("img/1_001.jpg").shape[-1] == card["embedding_size"]


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


@pytest.mark.parametrize("of_network", [recognizer, retinaface])
def test_compiled_form_is_that_of_the_weights(tmp_path, monkeypatch, of_network):
    """A fresh clone starts with it: if this fails, run `python -m utils.weights compile` on both files."""
    pytest.importorskip("keras")
    monkeypatch.setenv("FACES_CACHE", str(tmp_path))
    path = RECOGNISER if of_network is recognizer else DETECTOR
    network = of_network(path)
    compiled = network.compiled()
    assert compiled.content == beside(path).absolute() and not list(tmp_path.iterdir())
    model, facts, _ = network.built()
    assert {**compiled.facts, **facts} == compiled.facts
    sides = [side or 160 for side in model.input_shape[1:3]]
    images = normalize(resize(read_image("img/group.jpg"), sides)[None], facts.get("normalization", "caffe"))
    for want, got in zip(keras_outputs(model, images), Interpreters(compiled.content, 1, 1)(images), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_weights_load_in_half_a_second(network):
    pytest.importorskip("keras")
    for model, path in ((network.model, RECOGNISER), (network._detector.model, DETECTOR)):
        seconds = []
        for _ in range(3):  # the best counts, as other programs may run, too
            start = time.perf_counter()
            load_weights(model, path)
            seconds.append(time.perf_counter() - start)
        assert min(seconds) < 0.5
