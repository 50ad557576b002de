import numpy as np
import pytest

from utils.evaluation.calibration import all_pairs, calibrate


def test_threshold_by_hand():
    distances = np.array([0.2, 0.9, 1.1, *np.linspace(1.0, 1.9, 10)])
    same = np.arange(13) < 3
    found = calibrate(distances, same, 0.2)
    assert 1.1 <= found["threshold"] < 1.2  # 1.0 and 1.1 of ten pass
    assert found["false_accept_rate"] == pytest.approx(0.2)
    assert found["true_accept_rate"] == 1.0
    assert sum(found["histogram"]["same"]) == pytest.approx(1, abs=1e-4)
    assert len(found["histogram"]["edges"]) == 1 + len(found["histogram"]["different"])


def test_all_pairs_by_hand():
    embeddings = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    distances, same = all_pairs(embeddings, np.array([7, 7, 8]))
    np.testing.assert_allclose(distances, [np.sqrt(2), 2, np.sqrt(2)])
    assert same.tolist() == [True, False, False]


@pytest.mark.parametrize("labels", [[1, 1], [1, 2]])
def test_pairs_of_both_kinds_are_needed(labels):
    with pytest.raises(ValueError, match="two people"):
        all_pairs(np.eye(2), np.array(labels))
