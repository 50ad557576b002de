import numpy as np
import pytest
from PIL import Image

from utils.evaluation.roc import roc
from utils.pictures import plots


@pytest.fixture
def curve():
    rng = np.random.default_rng(0)
    labels = np.arange(200) < 80
    return roc(rng.normal(np.where(labels, 0.8, 1.4), 0.2), labels)


def colours(path):
    """How many colours a picture that must be valid has."""
    with Image.open(path) as picture:
        assert picture.format == "PNG" and min(picture.size) >= 400
        return len(picture.convert("RGB").getcolors(maxcolors=2**24))


def test_shares_are_those_of_the_distances():
    distances = np.array([0.0, 0.1, 0.1, 0.5, 0.9, 1.0])
    labels = np.array([1, 1, 0, 1, 0, 0], bool)
    edges, same, different = plots.distance_shares(roc(distances, labels), bins=2)
    np.testing.assert_allclose(same, [2 / 3, 1 / 3])
    np.testing.assert_allclose(different, [1 / 3, 2 / 3])
    assert edges.shape == (3,)


def test_shares_against_a_histogram_of_the_distances(curve):
    rng = np.random.default_rng(0)
    labels = np.arange(200) < 80
    distances = rng.normal(np.where(labels, 0.8, 1.4), 0.2)
    edges, same, different = plots.distance_shares(curve, bins=10)
    assert same.sum() == pytest.approx(1) and different.sum() == pytest.approx(1)
    expected, _ = np.histogram(distances[labels], edges)
    # A distance is known to lie between two thresholds, so one near an edge may change its bin.
    assert np.abs(same * 80 - expected).sum() <= 4


def test_roc(tmp_path, curve):
    plots.save_roc(tmp_path / "plain.png", curve, "ROC", {})
    plots.save_roc(tmp_path / "points.png", curve, "ROC", {1e-3: 0.5, 1e-6: 0.1})
    assert 10 < colours(tmp_path / "plain.png") != colours(tmp_path / "points.png")


def test_roc_without_false_accepts_or_with_all_pairs_alike(tmp_path):
    labels = np.array([True, False])
    plots.save_roc(tmp_path / "perfect.png", roc([0.0, 1.0], labels), "ROC", {0.0: 1.0})
    plots.save_roc(tmp_path / "ties.png", roc([1.0, 1.0], labels), "ROC", {})
    plots.save_distances(tmp_path / "ties2.png", roc([1.0, 1.0], labels), 1.0, "Distances")
    assert all(colours(path) > 10 for path in tmp_path.iterdir())


def test_distances(tmp_path, curve):
    plots.save_distances(tmp_path / "a.png", curve, 1.1, "Distances")
    assert colours(tmp_path / "a.png") > 10


def test_precision_recall(tmp_path):
    recall = np.linspace(0, 0.9, 100)
    nothing = np.full(100, np.nan)
    curves = {"easy": (recall, 1 - recall / 3), "hard": (nothing, nothing)}
    plots.save_precision_recall(tmp_path / "a.png", curves, "Faces")
    assert colours(tmp_path / "a.png") > 10


def test_curves_and_bars(tmp_path):
    plots.save_curves(tmp_path / "a.png", {"loss": [3, 2, float("nan"), 1], "val": [2]}, "Loss")
    plots.save_curves(tmp_path / "b.png", {}, "Loss")
    plots.save_bars(tmp_path / "c.png", {"Anna": 3, "Bo": 1}, "Photos", "person", "photos")
    plots.save_bars(tmp_path / "d.png", {}, "Photos", "person", "photos")
    assert colours(tmp_path / "a.png") != colours(tmp_path / "b.png")
    assert colours(tmp_path / "c.png") != colours(tmp_path / "d.png")


def test_the_folder_is_made_and_no_temporary_file_stays(tmp_path, curve):
    plots.save_roc(tmp_path / "new" / "a.png", curve, "ROC", {})
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_an_error_while_drawing_leaves_no_file(tmp_path):
    with pytest.raises(ValueError):
        plots.save_precision_recall(tmp_path / "a.png", {"easy": (np.ones(3), np.ones(2))}, "Faces")
    assert not list(tmp_path.iterdir())
