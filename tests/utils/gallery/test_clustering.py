import numpy as np
import pytest

from utils.faces.embeddings import unit_embeddings
from utils.gallery.clustering import METHODS, cluster


def groups(sizes, strangers=0, spread=0.05, seed=0):
    """People far apart, some with few photos, and strangers; in mixed order, with the truth."""
    rng = np.random.default_rng(seed)
    centers = np.eye(32)[: len(sizes) + strangers]
    truth = np.repeat(np.arange(len(sizes) + strangers), [*sizes, *[1] * strangers])
    rows = unit_embeddings(centers[truth] + spread * rng.standard_normal((len(truth), 32)))
    order = rng.permutation(len(truth))
    return rows[order], truth[order]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("threshold", [0.7, 0.9])
def test_finds_people(method, threshold):
    rows, truth = groups([4, 10, 7], strangers=5)
    labels = cluster(rows, threshold, method)
    expected = np.array([2, 0, 1, *[-1] * 5])  # numbered by size
    np.testing.assert_array_equal(labels, expected[truth])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("least, people", [(1, 4), (2, 3), (5, 2), (50, 0)])
def test_small_groups_are_noise(method, least, people):
    rows, _ = groups([10, 6, 2], strangers=1)
    assert cluster(rows, 0.8, method, least).max() == people - 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count, least, labels", [(0, 2, []), (1, 2, [-1]), (1, 1, [0]), (3, 2, [0, 0, 0])])
def test_few_faces(method, count, least, labels):
    assert cluster(np.eye(4)[[0] * count], 0.5, method, least).tolist() == labels


@pytest.mark.parametrize("method", METHODS)
def test_of_groups_of_one_size_the_one_with_the_first_face_comes_first(method):
    assert cluster(np.eye(4)[[2, 0, 0, 2]], 0.5, method).tolist() == [0, 1, 1, 0]


def test_dbscan_chains_where_averages_do_not():
    degrees = np.radians(np.arange(0, 91, 5))
    arc = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    assert cluster(arc, 0.1, "dbscan").max() == 0
    assert cluster(arc, 0.1, "agglomerative").max() > 3


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"method": "kmeans"}, "'kmeans' is not one of dbscan, agglomerative"),
        ({"threshold": 0}, "positive"),
        ({"least": 0}, "positive"),
        ({"embeddings": np.ones(3)}, r"must be \(N, D\)"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(ValueError, match=message):
        cluster(**{"embeddings": np.eye(3), "threshold": 1.0, **settings})
