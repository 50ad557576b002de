"""Orders in which training sees images: pure functions from a stream position to an image.

A sampler holds no state and no shuffle buffer, so resuming is starting at a position, and a sample
costs the same however large the set. Everything is TensorFlow, vectorised over positions, and runs
inside `tf.data`.

The permutations are swap-or-not shuffles (Hoang, Morris and Rogaway, "An Enciphering Scheme Based
on a Card Shuffle", 2012), which fit any size exactly. `tf.random.experimental.index_shuffle` was
tried first: its cipher works on at least 2^16 values, so a choice of two photos takes 32,000 steps,
and its four rounds leave consecutive epochs correlated by 0.4 (TensorFlow 2.21).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

Shard = tuple[int, int]

# At 16 rounds no statistic of 450,000 values differs from chance; each further one halves the rest.
_ROUNDS = 24
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB

# What a random number is for; keeps the streams of one seed apart.
_IMAGES, _PEOPLE, _NEGATIVE_PERSON, _NEGATIVE_IMAGE = range(4)


@dataclass(frozen=True)
class Sampler:
    """An endless order of images.

    Attributes:
        image: Maps positions (N,) int64 >= 0, an array or a tensor, to image indices (N,) int64.
        epoch_length: Positions that make up an epoch: about as many as there are images.
        block: Consecutive positions, from a multiple of it, that were drawn together.
        group: Consecutive positions that are worth nothing apart: three of a triplet.
        note: What to tell the user about people left out; may be empty.
    """

    image: Callable[[tf.Tensor], tf.Tensor]
    epoch_length: int
    block: int = 1
    group: int = 1
    note: str = ""


def sequential(labels: np.ndarray) -> Sampler:
    """All images in their order, over and over; for validation.

    Args:
        labels: (N,) class ids; only their number counts.
    """
    count = _image_count(labels)
    return Sampler(lambda position: tf.convert_to_tensor(position, tf.int64) % count, count)


def plain(labels: np.ndarray, seed: int) -> Sampler:
    """Each epoch a fresh permutation of all images.

    Args:
        labels: (N,) class ids; only their number counts.
        seed: Of the permutations.
    """
    count = _image_count(labels)

    def image(position):
        epoch, place = _divide(tf.convert_to_tensor(position, tf.int64), count)
        return permute(place, _key(seed, _IMAGES, epoch), count)

    return Sampler(image, count)


def balanced(labels: np.ndarray, seed: int) -> Sampler:
    """Each person equally often, however many images there are of each.

    Every round over the C people is a fresh permutation of them; a person's images come in turn,
    freshly permuted once all have been seen.

    Args:
        labels: (N,) class ids.
        seed: Of the permutations.
    """
    people = _group_by_person(labels)
    count = int(people.counts.shape[0])

    def image(position):
        return _image_of_turn(people, count, 1, position, seed)

    return Sampler(image, _image_count(labels))


def identities(
    labels: np.ndarray, people_per_batch: int, images_per_person: int, seed: int
) -> Sampler:
    """P x K blocks: P different people, K images of each, for losses over the pairs of a batch.

    Every round over the people is a fresh permutation of them. K images of a person are different
    ones where there are K, else each is repeated as evenly as possible. People with a single image
    are left out.

    Args:
        labels: (N,) class ids.
        people_per_batch: P.
        images_per_person: K, at least 2.
        seed: Of the permutations.

    Raises:
        ValueError: Fewer than P people have two images, or K is below 2.
    """
    if images_per_person < 2 or people_per_batch < 2:
        raise ValueError(
            f"{people_per_batch} people x {images_per_person} images: both must be at least 2"
        )
    people = _group_by_person(labels, at_least=2)
    count = int(people.counts.shape[0])
    if count < people_per_batch:
        raise ValueError(
            f"{people_per_batch} people a batch, but only {count} have two images or more: lower "
            "it or add images"
        )
    # A round that does not divide into batches would let a person appear twice in one.
    in_a_round = count // people_per_batch * people_per_batch
    block = people_per_batch * images_per_person

    def image(position):
        return _image_of_turn(people, in_a_round, images_per_person, position, seed)

    epoch_length = max(_image_count(labels) // block, 1) * block
    return Sampler(image, epoch_length, block=block, note=_left_out(labels, count, "the batches"))


def triplets(labels: np.ndarray, seed: int) -> Sampler:
    """Anchor, positive, negative in turn: two different images of a person, one of another.

    Anchors come from each person equally often; the person of a negative is drawn uniformly from
    all others. People with a single image serve as negatives only.

    Args:
        labels: (N,) class ids.
        seed: Of the choices.

    Raises:
        ValueError: There is only one person, or nobody has two images.
    """
    everyone, pairs = _group_by_person(labels), _group_by_person(labels, at_least=2)
    people, anchors = int(everyone.counts.shape[0]), int(pairs.counts.shape[0])
    if people < 2 or anchors < 1:
        raise ValueError(
            f"no triplets in {people} people, {anchors} of them with two images or more: two "
            "people and two images of one are needed"
        )

    def image(position):
        triplet, role = _divide(tf.convert_to_tensor(position, tf.int64), 3)
        same = _image_of_turn(pairs, anchors, 2, 2 * triplet + tf.minimum(role, 1), seed)
        person = tf.gather(everyone.person_of_image, same)
        step = 1 + _draw(_key(seed, _NEGATIVE_PERSON, triplet), people - 1)
        other = (person + step) % people
        which = _draw(_key(seed, _NEGATIVE_IMAGE, triplet), tf.gather(everyone.counts, other))
        negative = tf.gather(everyone.order, tf.gather(everyone.offsets, other) + which)
        return tf.where(role < 2, same, negative)

    epoch_length = max(_image_count(labels) // 3, 1) * 3
    note = _left_out(labels, anchors, "the anchors (they serve as negatives)")
    return Sampler(image, epoch_length, block=3, group=3, note=note)


# Of any rank. Traced once for all samplers: 300 operations are slow to trace, and to run eagerly.
@tf.function(
    autograph=False,
    input_signature=[tf.TensorSpec(None, dtype) for dtype in (tf.int64, tf.uint64, tf.int64)],
)
def permute(index: tf.Tensor, key: tf.Tensor, size: tf.Tensor | int) -> tf.Tensor:
    """Where index lands in a pseudorandom permutation of 0..size-1.

    Work is O(1): the swap-or-not shuffle of Hoang et al. (2012). Arguments broadcast.

    Args:
        index: int64 in 0..size-1.
        key: uint64; selects the permutation.
        size: int64, at least 1.

    Returns:
        int64 in 0..size-1; different for different indices of one key and size.
    """
    x, size = tf.cast(index, tf.uint64), tf.cast(size, tf.uint64)
    key = key + tf.zeros_like(x + size)
    # All round keys at once, (rounds, ...): few large operations are cheaper than many small.
    round_keys = _mix(tf.stack([key + _uint64(step * _GOLDEN) for step in range(1, _ROUNDS + 1)]))
    per_round = (tf.unstack(keys, num=_ROUNDS) for keys in (round_keys, round_keys % size))
    shift, factors, half = _uint64(32), (_uint64(_MIX_1), _uint64(_MIX_2)), _uint64(1 << 63)
    for round_key, pivot in zip(*per_round, strict=True):
        partner = tf.where(pivot < x, pivot + size, pivot) - x
        # Both of a pair take the same decision, so that they swap or stay together.
        bits = tf.bitwise.bitwise_xor(tf.maximum(x, partner), round_key) * factors[0]
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, shift)) * factors[1]
        x = tf.where(bits < half, x, partner)
    return tf.cast(x, tf.int64)


def global_position(
    local: tf.Tensor | np.ndarray | int, block: int, shard: tuple[int, int]
) -> tf.Tensor | np.ndarray | int:
    """Position in the whole stream of a worker's local position: blocks are dealt in turn.

    Args:
        local: int64, of any shape.
        block: `Sampler.block`.
        shard: (which worker from 0, number of workers).
    """
    worker, workers = shard
    return (local // block * workers + worker) * block + local % block


def local_position(
    position: tf.Tensor | np.ndarray | int, block: int, shard: tuple[int, int]
) -> tf.Tensor | np.ndarray | int:
    """Inverse of `global_position`."""
    return position // block // shard[1] * block + position % block


class _People(NamedTuple):
    """Images by person, in compressed rows: p has order[offsets[p] : offsets[p] + counts[p]].

    order (N,), offsets (C,) and counts (C,) int64; person_of_image (N,) int64 is the row among all
    people, also where this table leaves some out.
    """

    order: tf.Tensor
    offsets: tf.Tensor
    counts: tf.Tensor
    person_of_image: tf.Tensor


def _group_by_person(labels: np.ndarray, at_least: int = 1) -> _People:
    _image_count(labels)
    _, person, counts = np.unique(labels, return_inverse=True, return_counts=True)
    offsets = np.cumsum(counts) - counts
    order = np.argsort(person, kind="stable")
    kept = counts >= at_least
    columns = (order, offsets[kept], counts[kept], person)
    # On the CPU, where tf.data runs, even if the default device is a GPU.
    with tf.device("CPU"):
        return _People(*(tf.constant(column, tf.int64) for column in columns))


def _image_of_turn(
    people: _People, in_a_round: int, images_per_turn: int, position: tf.Tensor, seed: int
) -> tf.Tensor:
    """The image at a position of an order in which people take turns of some images each.

    A person's images are dealt from a permutation, `images_per_turn` a turn; a rest that is too
    small for a turn waits for the next permutation.
    """
    turn, slot = _divide(tf.convert_to_tensor(position, tf.int64), images_per_turn)
    round_number, place = _divide(turn, in_a_round)
    person = permute(place, _key(seed, _PEOPLE, round_number), int(people.counts.shape[0]))
    count = tf.gather(people.counts, person)
    cycle, turn_of_cycle = _divide(round_number, tf.maximum(count // images_per_turn, 1))
    card = (turn_of_cycle * images_per_turn + slot) % count
    card = permute(card, _key(seed, _IMAGES, person, cycle), count)
    return tf.gather(people.order, tf.gather(people.offsets, person) + card)


def _left_out(labels: np.ndarray, used: int, where: str) -> str:
    people = len(np.unique(labels))
    if used == people:
        return ""
    return f"{people - used} of {people} people have a single image and are left out of {where}"


def _image_count(labels: np.ndarray) -> int:
    if len(labels) == 0:
        raise ValueError("no images to sample from")
    return len(labels)


def _divide(a: tf.Tensor, b: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
    return a // b, a % b


def _uint64(value: int) -> tf.Tensor:
    return tf.constant(value % (1 << 64), tf.uint64)


def _mix(x: tf.Tensor) -> tf.Tensor:
    """Scrambles uint64 numbers one to one (the finaliser of SplitMix64, Steele et al., 2014)."""
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        x = tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, _uint64(shift))) * _uint64(factor)
    return tf.bitwise.bitwise_xor(x, tf.bitwise.right_shift(x, _uint64(31)))


def _key(seed: int, purpose: int, *counters: tf.Tensor) -> tf.Tensor:
    key = _mix(_uint64(seed * _GOLDEN + purpose))
    for counter in counters:
        key = _mix(key + (tf.cast(counter, tf.uint64) + _uint64(1)) * _uint64(_GOLDEN))
    return key


def _draw(key: tf.Tensor, size: tf.Tensor | int) -> tf.Tensor:
    """A number in 0..size-1 as int64, uniform to within size / 2^64."""
    return tf.cast(key % tf.cast(size, tf.uint64), tf.int64)
