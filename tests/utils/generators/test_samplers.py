import numpy as np
import pytest

from utils.generators import samplers

# Ids with gaps, out of order, one to thirteen images each; two people have a single image.
COUNTS = {4: 1, 9: 2, 2: 3, 30: 5, 7: 13, 11: 8, 5: 1, 6: 4}
LABELS = np.random.default_rng(0).permutation(np.repeat(list(COUNTS), list(COUNTS.values())))
SINGLE = {4, 5}

BUILDERS = {
    "plain": samplers.plain,
    "balanced": samplers.balanced,
    "identities": lambda labels, seed: samplers.identities(labels, 3, 4, seed),
    "triplets": samplers.triplets,
}


def draw(sampler, stop, start=0):
    return sampler.image(np.arange(start, stop))


def chi_square_per_degree(values, size):
    counts = np.bincount(values, minlength=size)
    expected = len(values) / size
    return np.sum((counts - expected) ** 2 / expected) / (size - 1)


@pytest.mark.parametrize("name", BUILDERS)
def test_samplers_are_pure_functions_of_seed_and_position(name):
    one, same, other = (BUILDERS[name](LABELS, seed) for seed in (1, 1, 2))
    stream = draw(one, 600)
    np.testing.assert_array_equal(stream, draw(same, 600))
    np.testing.assert_array_equal(stream[137:], draw(one, 600, start=137))
    shuffled = np.random.default_rng(0).permutation(600)
    np.testing.assert_array_equal(stream[shuffled], one.image(shuffled))
    assert stream.min() >= 0 and stream.max() < len(LABELS)
    assert (stream != draw(other, 600)).mean() > 0.5
    assert one.epoch_length % one.block == 0 and one.block % one.group == 0
    far = 10**12
    assert set(draw(one, far + 100, far)) <= set(range(len(LABELS)))


def test_plain_shows_every_image_once_an_epoch():
    sampler = samplers.plain(LABELS, seed=0)
    epochs = draw(sampler, 20 * len(LABELS)).reshape(20, -1)
    assert sampler.epoch_length == len(LABELS)
    assert (np.sort(epochs) == np.arange(len(LABELS))).all()
    assert len({tuple(epoch) for epoch in epochs}) == 20


def test_plain_is_numpys_permutation_of_seed_and_epoch():
    images = draw(samplers.plain(np.zeros(500), seed=7), 1500)
    epochs = [np.random.default_rng([7, epoch]).permutation(500) for epoch in range(3)]
    np.testing.assert_array_equal(images, np.concatenate(epochs))


def test_balanced_shows_people_equally_and_each_ones_images_in_turn():
    people, rounds = len(COUNTS), 26
    images = draw(samplers.balanced(LABELS, seed=0), people * rounds)
    persons = LABELS[images].reshape(rounds, people)
    assert (np.sort(persons) == np.sort(list(COUNTS))).all()
    for person, count in COUNTS.items():
        own = images[LABELS[images] == person]
        for cycle in own[: rounds // count * count].reshape(-1, count):
            assert len(set(cycle)) == count


@pytest.mark.parametrize(("people", "per_person"), [(2, 2), (3, 4), (6, 2), (4, 5)])
def test_identity_batches(people, per_person):
    sampler = samplers.identities(LABELS, people, per_person, seed=0)
    assert sampler.block == people * per_person
    assert sampler.note == ("2 of 8 people have a single image and are left out of the batches")
    images = draw(sampler, 60 * sampler.block)
    batches = LABELS[images].reshape(60, people, per_person)
    assert (batches == batches[..., :1]).all()
    assert all(len(set(batch[:, 0])) == people for batch in batches)
    assert not SINGLE & set(batches.ravel())
    for turn in images.reshape(-1, per_person):
        count = COUNTS[LABELS[turn[0]]]
        seen = np.unique(turn, return_counts=True)[1]
        assert len(seen) == min(count, per_person)
        assert seen.max() - seen.min() <= 1


def test_identity_batches_deal_all_of_a_persons_images_before_repeating():
    images = draw(samplers.identities(LABELS, 6, 2, seed=0), 12 * 60)
    own = images[LABELS[images] == 11]
    for cycle in own[: len(own) // 8 * 8].reshape(-1, 8):
        assert len(set(cycle)) == 8


def test_identity_batches_rotate_through_all_people():
    sampler = samplers.identities(LABELS, 4, 2, seed=0)
    shown = np.bincount(LABELS[draw(sampler, sampler.block * 300)], minlength=31)
    expected = 300 * sampler.block / 6
    assert all(abs(shown[person] - expected) < 0.3 * expected for person in set(COUNTS) - SINGLE)


def test_triplets():
    sampler = samplers.triplets(LABELS, seed=0)
    assert "2 of 8 people have a single image" in sampler.note and "negatives" in sampler.note
    anchor, positive, negative = draw(sampler, 3 * 4000).reshape(-1, 3).T
    assert (anchor != positive).all()
    assert (LABELS[anchor] == LABELS[positive]).all()
    assert (LABELS[anchor] != LABELS[negative]).all()
    assert set(LABELS[anchor]) == set(COUNTS) - SINGLE
    anchors = np.unique(LABELS[anchor], return_counts=True)[1]
    assert anchors.max() - anchors.min() <= 1
    # Uniform over all other people, whoever the anchor is, and over that person's images.
    for person in set(COUNTS) - SINGLE:
        others = LABELS[negative[LABELS[anchor] == person]]
        known = sorted(set(COUNTS) - {person})
        assert set(others) == set(known)
        assert chi_square_per_degree(np.searchsorted(known, others), len(known)) < 5
    images = np.unique(negative[LABELS[negative] == 7], return_counts=True)[1]
    assert len(images) == 13 and images.max() < 2.5 * images.min()
    # A pair of photos is not favoured: person 6 has 4, so 12 ordered pairs.
    pairs = [pair for pair in zip(anchor, positive, strict=True) if LABELS[pair[0]] == 6]
    assert len(set(pairs)) == 12


def test_everyone_has_two_images_leaves_no_note():
    labels = [0, 0, 1, 1]
    assert samplers.identities(labels, 2, 2, 0).note == samplers.triplets(labels, 0).note == ""


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: samplers.identities([0, 0, 1, 1, 2], 3, 2, 0), "only 2 have two images"),
        (lambda: samplers.identities([0, 0, 1, 1], 2, 1, 0), "at least 2"),
        (lambda: samplers.triplets([0, 0, 0], 0), "no triplets in 1 people"),
        (lambda: samplers.triplets([0, 1, 2], 0), "0 of them with two images"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()
