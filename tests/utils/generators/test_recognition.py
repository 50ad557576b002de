import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from utils.generators import samplers
from utils.generators.decoding import read_face
from utils.generators.face_augmentations import PRESETS, Augmentation
from utils.generators.recognition import recognition_dataset, validation_dataset
from utils.generators.skipped_images import SkippedImages
from utils.images.image_files import ImageError

SIZE = (24, 20)
LABELS = np.repeat(np.arange(6), 4)
BROKEN = (3, 10, 11)
NONE, LIGHT, STRONG = (PRESETS[name] for name in ("none", "light", "strong"))


def picture(seed, height=24, width=20):
    """A smooth photo of middling colours: Pillow clips after each of two passes, we do once."""
    coarse = np.random.default_rng(seed).integers(70, 190, (4, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """24 JPEGs of 6 people, of two sizes."""
    folder = tmp_path_factory.mktemp("faces 脸")
    paths = [str(folder / f"{i}.jpg") for i in range(len(LABELS))]
    for i, path in enumerate(paths):
        height, width = SIZE if i % 3 else (31, 40)
        picture(i, height, width).save(path, quality=95)
    return paths


@pytest.fixture
def broken(faces, tmp_path):
    """The same, of which three are cut short, empty and missing."""
    paths = list(faces)
    whole = open(faces[BROKEN[0]], "rb").read()
    for i, content in zip(BROKEN, (whole[: len(whole) // 2], b"", None), strict=True):
        paths[i] = str(tmp_path / f"broken {i}.jpg")
        if content is not None:
            (tmp_path / f"broken {i}.jpg").write_bytes(content)
    return paths


def take(dataset, batches):
    return [{name: value.numpy() for name, value in batch.items()} for batch in dataset.take(batches)]


def assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


def read(path, size=SIZE):
    return read_face(tf.constant(str(path)), size).numpy().astype(int)


def test_batches_are_images_with_their_labels(faces):
    sampler = samplers.plain(LABELS, seed=5)
    dataset = recognition_dataset(faces, LABELS, SIZE, 5, sampler, NONE)
    spec = dataset.element_spec
    assert spec["image"] == tf.TensorSpec((5, *SIZE, 3), tf.float32)
    assert spec["label"] == tf.TensorSpec((5,), tf.int32)
    assert spec["index"] == tf.TensorSpec((5,), tf.int64)
    for step, batch in enumerate(take(dataset, 6)):
        assert batch["index"].tolist() == list(range(5 * step, 5 * step + 5))
        chosen = sampler.image(batch["index"])
        np.testing.assert_array_equal(batch["label"], LABELS[chosen])
        pixels = np.stack([read(faces[i]) for i in chosen])
        np.testing.assert_array_equal(batch["image"], pixels)


SAMPLERS = {
    "plain": samplers.plain(LABELS, 0),
    "balanced": samplers.balanced(LABELS, 0),
    "identities": samplers.identities(LABELS, 3, 2, 0),
    "triplets": samplers.triplets(LABELS, 0),
}
MIXED = Augmentation(crop=0.2, flip=0.5, warp=0.5, colour=0.5, blur=0.5, erase=0.5, jpeg=0.5)


@pytest.mark.parametrize(
    ("name", "augmentation"), [("plain", STRONG), ("plain", MIXED), ("identities", LIGHT), ("triplets", LIGHT)]
)
def test_resuming_gives_exactly_the_stream_that_was_left(faces, name, augmentation):
    def stream(start):
        return recognition_dataset(faces, LABELS, SIZE, 6, SAMPLERS[name], augmentation, seed=3, start=start)

    dataset = stream(0)
    whole = take(dataset, 9)
    assert_same(take(stream(6 * 4), 5), whole[4:])
    assert_same(take(dataset, 9), whole)


def test_augmentation_depends_on_the_seed_and_position_alone(faces):
    def images(seed):
        same = samplers.Sampler(lambda position: position % 24, 24)
        dataset = recognition_dataset(faces, LABELS, SIZE, 24, same, Augmentation(warp=1.0), seed=seed)
        return [batch["image"] for batch in take(dataset, 2)]

    first, second = images(0)
    # The second epoch shows the same photos, changed in another way.
    assert all(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first, images(1)[0])


def test_triplets_lie_as_anchors_positives_negatives(faces):
    sampler = SAMPLERS["triplets"]
    for replicas in (1, 2):
        dataset = recognition_dataset(faces, LABELS, SIZE, 12, sampler, NONE, replicas=replicas)
        (batch,) = take(dataset, 1)
        for part in np.split(np.arange(12), replicas):
            index, label = batch["index"][part], batch["label"][part]
            anchor, positive, negative = np.split(label, 3)
            assert (anchor == positive).all() and (anchor != negative).all()
            assert index.reshape(3, -1)[:, 0].tolist() == list(range(part[0], part[0] + 3))
        pixels = np.stack([read(faces[i]) for i in sampler.image(batch["index"])])
        np.testing.assert_array_equal(batch["image"], pixels)


@pytest.mark.parametrize("name", ["plain", "identities"])
def test_broken_images_are_skipped_counted_and_named(broken, name):
    sampler = SAMPLERS[name]
    dataset = recognition_dataset(broken, LABELS, SIZE, 6, sampler, LIGHT)
    skipped = SkippedImages(broken, sampler)
    assert skipped.dropped == 0
    batches = take(dataset, 12)
    news = [path for batch in batches for path in skipped.update(batch["index"])]
    assert all(batch["image"].shape == (6, *SIZE, 3) for batch in batches)
    seen = np.concatenate([batch["index"] for batch in batches])
    images = sampler.image(np.arange(seen[-1] + 1))
    bad = np.isin(images, BROKEN)
    # What remains is the stream without the broken images, nothing else.
    np.testing.assert_array_equal(seen, np.flatnonzero(~bad))
    assert skipped.dropped == bad.sum() > 3
    assert sorted(news) == sorted(skipped.files) == sorted(broken[i] for i in BROKEN)
    reasons = [skipped.files[broken[i]] for i in BROKEN]
    assert "damaged" in reasons[0] and "empty" in reasons[1] and "no such file" in reasons[2]
    assert f"{bad.sum()} samples left out: 3 images" in skipped.summary()


def test_resuming_after_a_skip(broken):
    def stream(start):
        sampler = SAMPLERS["identities"]
        return recognition_dataset(broken, LABELS, SIZE, 6, sampler, Augmentation(warp=0.5), start=start)

    whole = take(stream(0), 8)
    start = int(whole[3]["index"].max()) + 1
    assert start > 24
    assert_same(take(stream(start), 4), whole[4:])


def test_a_triplet_falls_as_a_whole_but_only_its_broken_image_is_named(broken):
    sampler = SAMPLERS["triplets"]
    dataset = recognition_dataset(broken, LABELS, SIZE, 6, sampler, LIGHT)
    skipped = SkippedImages(broken, sampler)
    for batch in take(dataset, 12):
        skipped.update(batch["index"])
        anchor, positive, negative = np.split(batch["label"], 3)
        assert (anchor == positive).all() and (anchor != negative).all()
    assert skipped.dropped % 3 == 0 and skipped.dropped > 3
    assert set(skipped.files) == {broken[i] for i in BROKEN}


def test_validation_shows_all_once_in_order_with_the_last_batch(broken):
    dataset = validation_dataset(broken, LABELS, SIZE, 5)
    batches = take(dataset, 99)
    assert [len(batch["label"]) for batch in batches] == [5, 5, 5, 5, 1]
    index = np.concatenate([batch["index"] for batch in batches])
    assert index.tolist() == [i for i in range(24) if i not in BROKEN]
    np.testing.assert_array_equal(np.concatenate([b["label"] for b in batches]), LABELS[index])
    pixels = np.stack([read(broken[i]) for i in index])
    images = np.concatenate([b["image"] for b in batches])
    np.testing.assert_array_equal(images, pixels)


def test_validation_keeps_the_middle_of_a_margin(faces):
    (batch,) = take(validation_dataset(faces[:3], [0] * 3, (20, 20), 3, margin=0.2), 1)
    expected = read(faces[1], (24, 24))[2:22, 2:22]
    np.testing.assert_array_equal(batch["image"][1], expected)


@pytest.mark.parametrize("name", ["plain", "triplets"])
def test_workers_share_the_stream_and_resume(broken, name):
    sampler = SAMPLERS[name]

    def stream(worker, start=0):
        return recognition_dataset(broken, LABELS, SIZE, 6, sampler, NONE, start=start, shard=(worker, 2))

    seen = []
    for worker in range(2):
        skipped = SkippedImages(broken, sampler, shard=(worker, 2))
        batches = take(stream(worker), 6)
        for batch in batches:
            skipped.update(batch["index"])
            assert set(batch["index"] // sampler.block % 2) == {worker}
        assert set(skipped.files) <= {broken[i] for i in BROKEN} and skipped.dropped > 0
        seen.append(np.concatenate([batch["index"] for batch in batches]))
    assert not set(seen[0]) & set(seen[1])
    stop = min(index.max() for index in seen)
    missing = sorted(set(range(stop)) - set(seen[0]) - set(seen[1]))
    images = sampler.image(np.array(missing)).reshape(-1, sampler.group)
    assert np.isin(images, BROKEN).any(axis=1).all()
    start = 4 * sampler.block
    (batch,) = take(stream(1, start), 1)
    assert batch["index"].min() >= start + sampler.block


def test_the_stream_is_the_same_under_a_strategy(faces):
    def stream():
        return recognition_dataset(faces, LABELS, SIZE, 6, SAMPLERS["plain"], LIGHT)

    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    batches = iter(strategy.experimental_distribute_dataset(stream()))
    assert_same([{k: v.numpy() for k, v in next(batches).items()}], take(stream(), 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paths": [], "labels": []}, "0 paths and 0 labels"),
        ({"labels": [0]}, "24 paths and 1 labels"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"batch_size": 5, "replicas": 2}, "multiple of 2"),
        ({"batch_size": 7, "sampler": SAMPLERS["triplets"]}, "multiple of 3"),
    ],
)
def test_arguments_that_do_not_fit(faces, changes, message):
    arguments = {"paths": faces, "labels": LABELS, "size": SIZE, "batch_size": 6}
    arguments |= {"sampler": SAMPLERS["plain"], "augmentation": NONE, **changes}
    with pytest.raises(ValueError, match=message):
        recognition_dataset(**arguments)


def test_a_set_in_which_nothing_can_be_read_is_an_error(tmp_path):
    paths = [str(tmp_path / f"{i}.jpg") for i in range(40)]
    for make in (
        lambda: validation_dataset(paths, [0] * 40, SIZE, 2),
        lambda: recognition_dataset(paths, [0] * 40, SIZE, 2, samplers.plain(paths, 0), NONE),
    ):
        with pytest.raises(ImageError, match=r"none of 16 images .*0\.jpg: no such file"):
            make()
