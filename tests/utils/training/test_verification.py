import numpy as np

from utils.training.verification import sample_pairs


def test_sampled_pairs_are_of_one_person_or_of_two():
    labels = np.array([0, 0, 0, 1, 1, 2, 3, 3])
    pairs, same = sample_pairs(labels, 4, np.random.default_rng(0))
    assert len(pairs) == len(same) == 8 and same.sum() == 4
    np.testing.assert_array_equal(labels[pairs[:, 0]] == labels[pairs[:, 1]], same)
    assert (pairs[:, 0] != pairs[:, 1]).all()
