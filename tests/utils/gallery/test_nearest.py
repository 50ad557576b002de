import numpy as np
import pytest

from utils.faces.embeddings import unit_embeddings
from utils.gallery import nearest as module
from utils.gallery.nearest import group_means, nearest


def unit(count, width=16, seed=0):
    return unit_embeddings(np.random.default_rng(seed).standard_normal((count, width)))


def brute_force(queries, rows, k, hidden=None):
    offsets = queries[:, None].astype(np.float64) - rows[None]
    distances = np.sqrt((offsets**2).sum(axis=2))
    if hidden is not None:
        distances[hidden] = np.inf
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), order


@pytest.mark.parametrize("queries, rows, k", [(1, 1, 1), (3, 5, 5), (7, 100, 3), (300, 1000, 10), (2, 4, 9)])
def test_equals_brute_force(monkeypatch, queries, rows, k):
    monkeypatch.setattr(module, "_PRODUCTS", 64 * queries)
    queries, rows = unit(queries, seed=1), unit(rows)
    distances, indices = nearest(queries, rows, k)
    expected, order = brute_force(queries, rows, k)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, expected, rtol=1e-6)
    assert distances.dtype == np.float32


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_empty(shape):
    distances, indices = nearest(unit(shape[0]), unit(shape[1]), 2)
    assert distances.shape == indices.shape == (shape[0], min(2, shape[1]))


def test_finds_itself_at_exactly_zero(monkeypatch):
    monkeypatch.setattr(module, "_PRODUCTS", 64 * 256)
    rows = unit(500)
    distances, indices = nearest(rows, rows, 1)
    assert not distances.any()
    np.testing.assert_array_equal(indices[:, 0], np.arange(500))


def test_of_equal_rows_the_first_comes_first():
    rows = np.repeat(unit(2), 3, axis=0)
    distances, indices = nearest(rows[:1], rows, 6)
    assert indices[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert distances[0, :3].tolist() == [0, 0, 0]


def test_of_many_equal_rows_the_first_are_found():
    rows = np.repeat(unit(3), 100, axis=0)
    _, indices = nearest(rows[150:151], rows, 5)
    assert indices[0].tolist() == [100, 101, 102, 103, 104]


def test_near_ties_are_in_the_order_of_exact_distances():
    rng = np.random.default_rng(0)
    close = unit(1) + 1e-4 * rng.standard_normal((9, 16)).astype(np.float32)
    rows = unit_embeddings(np.concatenate([unit(100, seed=3), close]))
    queries = unit(1)
    np.testing.assert_array_equal(nearest(queries, rows, 3)[1], brute_force(queries, rows, 3)[1])


def test_own_label_is_not_seen(monkeypatch):
    monkeypatch.setattr(module, "_PRODUCTS", 16 * 10)
    rows, labels = unit(60), np.arange(60) % 4
    own = labels[:10]
    distances, indices = nearest(rows[:10], rows, 3, labels, own)
    expected, order = brute_force(rows[:10], rows, 3, own[:, None] == labels)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_allclose(distances, expected, rtol=1e-6)
    alone, _ = nearest(rows[:1], rows[:3], 2, np.array([0, 0, 1]), np.array([0]))
    assert np.isfinite(alone[0]).tolist() == [True, False]


def test_group_means():
    rows = np.float32([[1, 0], [0, 1], [0, 1], [1, 0], [-1, 0]])
    means = group_means(rows, np.array([0, 0, 2, 3, 3]), 4)
    np.testing.assert_allclose(means, [[0.5**0.5, 0.5**0.5], [0, 0], [0, 1], [0, 0]], atol=1e-7)


def test_group_means_of_nothing():
    assert group_means(np.zeros((0, 0), np.float32), np.zeros(0, int), 0).shape == (0, 0)
