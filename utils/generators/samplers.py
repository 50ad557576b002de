"""Orders in which training sees images: pure functions from a position in the stream to an image.

An order is made of rounds, such as epochs. The seed and the number of a round decide everything in
it, so a training is resumed by starting at a position. Only the last rounds are kept in memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

# Raised when the same seed gives another order. A checkpoint inside an epoch notes it.
ORDER_VERSION = 2

_KEPT_ROUNDS = 2
# What random numbers are for; keeps the streams of one seed apart. NumPy takes a 0 at the end of a
# seed for nothing, so none of them is 0.
_ROUND, _DEAL, _NEGATIVES = 1, 2, 3


@dataclass(frozen=True)
class Sampler:
    """An endless order of images.

    Attributes:
        image: maps positions (N,) int64, from 0, to indices of images (N,) int64.
        epoch_length: number of positions of an epoch, about as many as there are images.
        block: number of consecutive positions, from a multiple of it, that were drawn together.
        group: number of consecutive positions that are used together only: three of a triplet.
        note: what to tell the user about people left out; may be empty.
    """

    image: Callable[[np.ndarray], np.ndarray]
    epoch_length: int
    block: int = 1
    group: int = 1
    note: str = ""


def plain(labels: Sequence[Any], seed: int) -> Sampler:
    """Returns an order in which each epoch is a fresh permutation of all images.

    Args:
        labels: (N,) class ids; only their number counts.
        seed: of the permutations.
    """
    count = len(labels)

    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch]).permutation(count)

    return Sampler(_round_by_round(order, count), count)


def balanced(labels: Sequence[int], seed: int) -> Sampler:
    """Returns an order that shows each person equally often, however many images there are of each.

    Every round over the people is a fresh permutation of them; a person's images come in turn,
    freshly permuted once all have been seen.

    Args:
        labels: (N,) class ids.
        seed: of the permutations.
    """
    people = _group_by_person(labels)
    count = len(people.counts)
    return Sampler(_round_by_round(_turns(people, count, 1, seed), count), len(labels))


def identities(labels: Sequence[int], people_per_batch: int, images_per_person: int, seed: int) -> Sampler:
    """Returns blocks of P different people with K images of each, for losses over pairs.

    Every round over the people is a fresh permutation of them. K images of a person are different
    ones where there are K, else each is repeated as evenly as possible. People with a single image
    are left out.

    Args:
        labels: (N,) class ids.
        people_per_batch: P.
        images_per_person: K, at least 2.
        seed: of the permutations.

    Raises:
        ValueError: fewer than P people have two images, or K is below 2.
    """
    if images_per_person < 2 or people_per_batch < 2:
        raise ValueError(f"{people_per_batch} people x {images_per_person} images: both must be at least 2")
    people = _group_by_person(labels, at_least=2)
    count = len(people.counts)
    if count < people_per_batch:
        raise ValueError(
            f"{people_per_batch} people a batch, but only {count} have two images or more: lower it or add images"
        )
    # A round that does not divide into batches would let a person appear twice in one.
    in_a_round = count // people_per_batch * people_per_batch
    order = _turns(people, in_a_round, images_per_person, seed)
    block = people_per_batch * images_per_person
    return Sampler(
        _round_by_round(order, in_a_round * images_per_person),
        epoch_length=max(len(labels) // block, 1) * block,
        block=block,
        note=_left_out(labels, count, "the batches"),
    )


def triplets(labels: Sequence[int], seed: int) -> Sampler:
    """Returns anchor, positive, negative in turn: two images of a person, one of another.

    Anchors come from each person equally often; the person of a negative is drawn uniformly from
    all others. People with a single image serve as negatives only.

    Args:
        labels: (N,) class ids.
        seed: of the choices.

    Raises:
        ValueError: there is only one person, or nobody has two images.
    """
    everyone, pairs = _group_by_person(labels), _group_by_person(labels, at_least=2)
    people, anchors = len(everyone.counts), len(pairs.counts)
    if people < 2 or anchors < 1:
        found = f"no triplets in {people} people, {anchors} of them with two images or more"
        raise ValueError(f"{found}: two people and two images of one are needed")
    turns = _turns(pairs, anchors, 2, seed)

    def order(number: int) -> np.ndarray:
        same = turns(number).reshape(-1, 2)
        rng = np.random.default_rng([seed, number, _NEGATIVES])
        step = rng.integers(1, people, anchors)
        other = (everyone.person_of_image[same[:, 0]] + step) % people
        negative = everyone.offsets[other] + rng.integers(everyone.counts[other])
        return np.column_stack([same, everyone.order[negative]]).ravel()

    return Sampler(
        _round_by_round(order, 3 * anchors),
        epoch_length=max(len(labels) // 3, 1) * 3,
        block=3,
        group=3,
        note=_left_out(labels, anchors, "the anchors (they serve as negatives)"),
    )


def _round_by_round(order: Callable[[int], np.ndarray], length: int) -> Callable[[np.ndarray], np.ndarray]:
    """Returns `Sampler.image` of an order that comes in rounds of `length` positions."""
    order = lru_cache(_KEPT_ROUNDS)(order)

    def image(position: np.ndarray) -> np.ndarray:
        number, place = np.divmod(np.asarray(position, np.int64), length)
        images = np.empty_like(place)
        for one in np.unique(number):
            here = number == one
            images[here] = order(int(one))[place[here]]
        return images

    return image


class _People(NamedTuple):
    """Images by person: p has order[offsets[p] : offsets[p] + counts[p]].

    order (N,), offsets (C,) and counts (C,) are int64; person_of_image (N,) int64 is the row among
    all people, also where this table leaves some out.
    """

    order: np.ndarray
    offsets: np.ndarray
    counts: np.ndarray
    person_of_image: np.ndarray


def _group_by_person(labels: Sequence[int], at_least: int = 1) -> _People:
    _, person, counts = np.unique(labels, return_inverse=True, return_counts=True)
    offsets = np.cumsum(counts) - counts
    kept = counts >= at_least
    return _People(np.argsort(person, kind="stable"), offsets[kept], counts[kept], person)


def _turns(people: _People, in_a_round: int, each: int, seed: int) -> Callable[[int], np.ndarray]:
    """Returns an order in which people take turns of `each` images, (in_a_round * each,) a round.

    A person's images are dealt from a permutation, `each` a turn; a rest that is too small for a
    turn waits for the next permutation. People with equally many images are dealt together.
    """
    groups = {int(n): np.flatnonzero(people.counts == n) for n in np.unique(people.counts)}

    @lru_cache(len(groups))
    def deal(count: int, cycle: int) -> np.ndarray:
        first = people.offsets[groups[count]]
        images = people.order[first[:, None] + np.arange(count)]
        return np.random.default_rng([seed, cycle, count, _DEAL]).permuted(images, axis=1)

    def order(number: int) -> np.ndarray:
        turns = np.empty((len(people.counts), each), np.int64)
        for count, members in groups.items():
            cycle, turn = divmod(number, max(count // each, 1))
            turns[members] = deal(count, cycle)[:, (turn * each + np.arange(each)) % count]
        rng = np.random.default_rng([seed, number, _ROUND])
        return turns[rng.permutation(len(turns))[:in_a_round]].ravel()

    return order


def _left_out(labels: Sequence[int], used: int, where: str) -> str:
    people = len(np.unique(labels))
    if used == people:
        return ""
    return f"{people - used} of {people} people have a single image and are left out of {where}"
