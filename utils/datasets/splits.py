"""Splits of a training list: people numbered, images held out for validation, photos counted."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

_BARS = 40  # of a chart that is still legible


def split_by_identity(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits images so that no person is on both sides, to test on people never trained on.

    Args:
        labels: (N,) integers, the person on each image.
        share: of the people to hold out, 0 <= share < 1; if it is positive, each side has at least one
            person.
        seed: of the choice.

    Returns:
        Indices of the images that stay and of those held out, int64, each ascending.

    Raises:
        ValueError: share is out of range, or positive with fewer than two people.
    """
    _check_share(share)
    people, person = np.unique(np.asarray(labels), return_inverse=True)
    held = np.zeros(len(people), bool)
    if share > 0:
        if len(people) < 2:
            raise ValueError(f"cannot hold out people of {len(people)}: two are needed")
        count = int(np.clip(round(share * len(people)), 1, len(people) - 1))
        held[np.random.default_rng(seed).permutation(len(people))[:count]] = True
    return _sides(held[person])


def split_by_image(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits each person's images, to test on new photos of people trained on.

    A person of n images gives n * share of them, rounded up or down at random so that the mean is
    exact for small n too, but keeps at least one.

    Args:
        labels: (N,) integers, the person on each image.
        share: of the images to hold out, 0 <= share < 1.
        seed: of the choice.

    Returns:
        Indices of the images that stay and of those held out, int64, each ascending.

    Raises:
        ValueError: share is out of range.
    """
    _check_share(share)
    rng = np.random.default_rng(seed)
    _, person, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(person))
    by_person = shuffled[np.argsort(person[shuffled], kind="stable")]
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.empty(len(person), np.int64)
    rank[by_person] = np.arange(len(person)) - starts
    # Of n ranks, those with (rank + u) / n >= 1 - share are n * share on average over u in [0, 1).
    fraction = (rank + rng.random(len(counts))[person]) / counts[person]
    return _sides((fraction >= 1 - share) & (rank > 0))


SPLITS = {"identity": split_by_identity, "image": split_by_image}
"""Ways to split, (labels, share, seed) -> indices that stay, indices held out."""


def split_classes(people: Sequence[str], share: float, by: str, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Splits images for training and validation; people are numbered from 0 in the order of their names.

    Args:
        people: the person on each image.
        share: of the people or images to hold out, 0 <= share < 1.
        by: a key of `SPLITS`. "identity": other people are held out, and each side has ids of its
            own from 0; "image": other images of the same people, whose ids are the same in both.
        seed: of the choice.

    Returns:
        (indices, class ids) of the images for training, then of those held out; both int64.

    Raises:
        ValueError: share is out of range, or too few people are there.
    """
    labels = np.unique(people, return_inverse=True)[1]
    sides = [(side, labels[side]) for side in SPLITS[by](labels, share, seed)]
    if by == "image":
        return sides
    return [(side, np.unique(own, return_inverse=True)[1]) for side, own in sides]


def summarise(counts: Mapping[str, int]) -> str:
    """Returns one line on how many photos how many people have.

    Args:
        counts: {person: photos}, at least one person.
    """
    photos = np.array(list(counts.values()))
    return (
        f"{len(counts):,} people, {photos.sum():,} images; each has {photos.min()} to "
        f"{photos.max()}, median {np.median(photos):g}"
    )


def chart(counts: Mapping[str, int]) -> tuple[dict[str, int], str, str]:
    """Returns the bars of a chart of how many photos people have.

    Few people get a bar each, named by their class id, which every font has; many are counted by
    their number of photos.

    Args:
        counts: {person: photos}, at least one person.

    Returns:
        The bars {name: height}, then what the names and what the heights are.
    """
    if len(counts) <= _BARS:
        bars = {str(number): counts[person] for number, person in enumerate(sorted(counts))}
        return bars, "class id", "images"
    people = Counter(counts.values())
    low, high = min(people), max(people)
    step = -(-(high - low + 1) // _BARS)
    bars = {}
    for start in range(low, high + 1, step):
        end = min(start + step - 1, high)
        name = str(start) if start == end else f"{start}-{end}"
        bars[name] = sum(people[number] for number in range(start, end + 1))
    return bars, "images of a person", "people"


def _check_share(share: float) -> None:
    if not 0 <= share < 1:
        raise ValueError(f"share {share}: 0 <= share < 1 expected")


def _sides(held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.flatnonzero(~held), np.flatnonzero(held)
