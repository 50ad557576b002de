from itertools import pairwise

import numpy as np
import pytest

from utils.generators import samplers
from utils.generators.positions import global_position, local_position, ordered_images


@pytest.mark.parametrize("block", [1, 3, 12])
def test_shards_deal_blocks_in_turn(block):
    local = np.arange(10 * block)
    dealt = [global_position(local, block, (worker, 3)) for worker in range(3)]
    assert sorted(np.concatenate(dealt)) == list(range(30 * block))
    for worker, positions in enumerate(dealt):
        assert set(positions // block % 3) == {worker}
        np.testing.assert_array_equal(local_position(positions, block, (worker, 3)), local)
        assert all(b - a == 1 for a, b in pairwise(positions[:block]))


def test_ordered_images_are_those_of_the_workers_positions():
    labels = np.repeat(np.arange(6), 50)
    sampler = samplers.triplets(labels, 0)
    for worker in range(2):
        dataset = ordered_images(sampler, 6, (worker, 2)).take(3)
        positions, images = zip(*dataset.as_numpy_iterator(), strict=True)
        assert len(positions) > 1 and all(len(chunk) % 3 == 0 for chunk in positions)
        positions = np.concatenate(positions)
        wanted = np.arange(6, 6 + 2 * len(positions)).reshape(-1, 2, 3)[:, worker].ravel()
        np.testing.assert_array_equal(positions, wanted)
        np.testing.assert_array_equal(np.concatenate(images), sampler.image(positions))
