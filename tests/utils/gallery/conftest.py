import pytest

from tests.fake_embedder import FakeEmbedder, photo
from utils.gallery import grouping
from utils.gallery.gallery import Gallery

# Greens 12 apart are 12 * pi / 512 = 0.074 apart as embeddings (nearly: the chord of the angle).
ANN, BOB = 20, 120


class Embedder(FakeEmbedder):
    threshold = 0.2


@pytest.fixture
def settings(tmp_path):
    return {
        "gallery_path": tmp_path / "gallery.h5",
        "classifier_path": tmp_path / "classifier.h5",
        "dir_save_path": tmp_path / "out",
        "scoring": "mean",
        "take_largest": False,
        "threshold": None,
        "false_accept_rate": None,
        "train_images": None,
        "min_images": 2,
        "cluster_method": "agglomerative",
        "cluster_threshold": None,
    }


@pytest.fixture
def people(tmp_path, settings):
    """A gallery of two people, three photos each."""
    folder = tmp_path / "people"
    for name, green in (("安", ANN), ("Bob", BOB)):
        for i in range(3):
            photo(folder / name / f"{i}.png", green + 3 * i - 3)
    Gallery(settings["gallery_path"]).encode(folder, Embedder())
    return folder


@pytest.fixture
def run(settings):
    """Runs a mode: (mode, *paths) -> lines, pictures by name."""

    def call(mode, *paths, embedder=None):
        pictures = {}
        saved = {} if mode is grouping.group else {"save": lambda p, name: pictures.update({name: p})}
        lines = list(mode(embedder or Embedder(), paths, settings, **saved))
        return lines, pictures

    return call
