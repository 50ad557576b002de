import numpy as np
import pytest

from utils.faces.embeddings import unit_embeddings, unit_rows


def test_unit_rows():
    rows = unit_rows([[3, 4], [0, -1e-30], [0, 0]])
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, -1], [0, 0]], rtol=1e-12)
    np.testing.assert_allclose(unit_rows(np.float32([3, 4])), [0.6, 0.8], rtol=1e-12)
    assert unit_rows(np.ones((2, 3, 4), np.float32)).shape == (2, 3, 4)


def test_unit_embeddings():
    rows = unit_embeddings([[3, 4], [0, -1e-30], [1e30, 0]])
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, -1], [1, 0]], rtol=1e-6)
    assert rows.dtype == np.float32


@pytest.mark.parametrize("bad", [[[0, 0]], [[1, np.nan]], [[np.inf, 1]], [1, 2]])
def test_unit_embeddings_refuses(bad):
    with pytest.raises(ValueError, match="zero or not finite|must be"):
        unit_embeddings(bad)
