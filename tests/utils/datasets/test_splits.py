import numpy as np
import pytest

from utils.datasets.splits import chart, split_by_identity, split_by_image, split_classes, summarise

LABELS = np.repeat([7, 3, 0, 9, 12], [1, 2, 10, 5, 30])


def test_class_ids_have_no_gaps_and_sorted_order():
    (_, labels), _ = split_classes(["b", "10", "b", "9", "张"], 0.0, "image", 0)
    assert labels.tolist() == [2, 0, 2, 1, 3]


PEOPLE = [name for name in "fghij" for _ in range(4)]


def test_split_nothing():
    (train, labels), (held, held_labels) = split_classes(PEOPLE, 0.0, "identity", 0)
    assert train.tolist() == list(range(20))
    assert labels.tolist() == [i // 4 for i in range(20)]
    assert len(held) == len(held_labels) == 0


def test_split_by_identity_numbers_each_side_from_0():
    (train, labels), (held, held_labels) = split_classes(PEOPLE, 0.4, "identity", 3)
    assert sorted([*train, *held]) == list(range(20))
    people = [sorted({PEOPLE[i] for i in side}) for side in (train, held)]
    assert [len(names) for names in people] == [3, 2]
    assert not set(people[0]) & set(people[1])
    for side, own, names in zip((train, held), (labels, held_labels), people, strict=True):
        assert [names[label] for label in own] == [PEOPLE[i] for i in side]


def test_split_by_image_keeps_ids():
    (train, labels), (held, held_labels) = split_classes(PEOPLE, 0.25, "image", 3)
    assert sorted([*train, *held]) == list(range(20))
    assert len(held) == 5
    assert ["fghij"[i] for i in labels] == [PEOPLE[i] for i in train]
    assert ["fghij"[i] for i in held_labels] == [PEOPLE[i] for i in held]


@pytest.mark.parametrize("by", ["identity", "image"])
def test_split_repeats_with_its_seed(by):
    def held(seed):
        return split_classes(PEOPLE, 0.5, by, seed)[1][0].tolist()

    assert held(1) == held(1)
    assert len({tuple(held(seed)) for seed in range(8)}) > 1


def test_split_refuses():
    with pytest.raises(ValueError, match="share 1"):
        split_classes(PEOPLE, 1.0, "image", 0)


def test_summarise():
    counts = {"a": 1, "b": 4, "c": 2, "d": 2000}
    assert summarise(counts) == "4 people, 2,007 images; each has 1 to 2000, median 3"


def test_chart_of_few_people():
    assert chart({"b": 5, "张": 1, "a": 2}) == ({"0": 2, "1": 5, "2": 1}, "class id", "images")


def test_chart_of_many_people():
    counts = {f"p{i}": 1 + i % 3 for i in range(50)}
    bars, x_label, y_label = chart(counts)
    assert bars == {"1": 17, "2": 17, "3": 16}
    assert (x_label, y_label) == ("images of a person", "people")


def test_chart_of_many_people_with_many_images():
    counts = {f"p{i}": 10 + i for i in range(100)}
    bars, _, _ = chart(counts)
    assert sum(bars.values()) == 100
    assert list(bars)[0] == "10-12" and list(bars)[-1] == "109"
    assert len(bars) <= 40


def test_chart_leaves_gaps_in():
    counts = {f"p{i}": 1 if i else 4 for i in range(41)}
    assert chart(counts)[0] == {"1": 40, "2": 0, "3": 0, "4": 1}


def test_labels_are_integers():
    assert split_classes(["a"], 0.0, "image", 0)[0][1].dtype == np.int64


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("split", [split_by_identity, split_by_image])
def test_splits_are_partitions_that_the_seed_decides(split, share):
    kept, held = split(LABELS, share, seed=1)
    assert sorted([*kept, *held]) == list(range(len(LABELS)))
    assert np.array_equal(split(LABELS, share, seed=1)[1], held)
    assert share > 0 or len(held) == 0


def test_split_by_identity_parts_people():
    kept, held = split_by_identity(LABELS, 0.4, seed=0)
    assert not set(LABELS[kept]) & set(LABELS[held])
    assert len(set(LABELS[held])) == 2
    assert any(set(LABELS[split_by_identity(LABELS, 0.4, s)[1]]) != set(LABELS[held]) for s in (1, 2))
    assert len(set(LABELS[split_by_identity(LABELS, 0.01, 0)[1]])) == 1
    with pytest.raises(ValueError, match="two are needed"):
        split_by_identity([1, 1], 0.5, 0)


def test_split_by_image_takes_each_persons_share():
    labels = np.repeat(np.arange(2000), 4)
    _, held = split_by_image(labels, 0.1, seed=0)
    assert set(np.bincount(labels[held], minlength=2000)) == {0, 1}
    assert abs(len(held) / len(labels) - 0.1) < 0.01
    kept, held = split_by_image(LABELS, 0.5, seed=3)
    assert set(LABELS[kept]) == set(LABELS)
    assert np.count_nonzero(LABELS[held] == 12) == 15
    # Which image goes does not depend on its place in the list.
    places = np.concatenate([split_by_image(np.zeros(10), 0.1, seed=s)[1] for s in range(40)])
    assert len(set(places)) > 6


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_splits_refuse_impossible_shares(share):
    for split in (split_by_identity, split_by_image):
        with pytest.raises(ValueError, match="share"):
            split(LABELS, share, 0)


def test_empty_splits():
    for split in (split_by_identity, split_by_image):
        kept, held = split(np.array([], int), 0.0, 0)
        assert len(kept) == len(held) == 0
