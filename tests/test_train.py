"""train.py on small sets made here, with a tiny backbone."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import train
from nets.backbones import BACKBONES, Backbone
from nets.layers import BatchNormalization
from utils.datasets.cls_list import read_cls_txt
from utils.generators.decoding import read_face
from utils.images.image_files import read_image, save_image
from utils.training.checkpoints import list_checkpoints, read_state
from utils.training.detection_task import DETECTION_LOSSES
from utils.training.recognition_trainer import LOSSES
from utils.weights.loading import save_weights
from utils.weights.weight_files import read_weight_file

PEOPLE, PHOTOS, SIDE = 6, 8, 16


def tiny(inputs, embedding_size, keep_probability, symmetric):
    x = layers.Conv2D(8, 3, strides=2, use_bias=False, name="conv1")(inputs)
    x = layers.Activation("relu", name="relu1")(BatchNormalization(name="bn1")(x))
    x = layers.Dropout(1 - keep_probability, name="dropout")(layers.Flatten(name="flat")(x))
    return layers.Dense(embedding_size, name="linear")(x)


def tiny_of(keep_probability, blocks=()):
    shape, head, signature = (SIDE, SIDE, 3), ("linear",), ("conv1", "relu1")
    return Backbone(tiny, shape, 8, "unit", head, signature, keep_probability, blocks)


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch):
    monkeypatch.setitem(BACKBONES, "tiny", tiny_of(0.9))
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """Photos of people, each a colour of its own with noise, and their list."""
    folder = tmp_path_factory.mktemp("faces")
    rng, lines = np.random.default_rng(0), []
    for person in range(PEOPLE):
        colour = rng.integers(40, 215, 3)
        for photo in range(PHOTOS):
            image = np.clip(colour + rng.normal(0, 25, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
            path = folder / f"人 {person}" / f"{photo}.png"
            save_image(path, image)
            lines.append(f"{person};{path}")
    (folder / "cls_train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "cls_train.txt"


def settings(faces, folder, **changes):
    common = {
        "backbone": "tiny",
        "annotation_path": str(faces),
        "save_dir": str(folder),
        "batch_size": 12,
        "phases": ["all:2"],
        "learning_rate": 0.01,
    }
    unknown = set(changes) - set(train._defaults)
    assert not unknown
    return train._defaults | common | changes


def losses(folder, name="loss"):
    with open(folder / "losses.csv", newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("loss", [name for name in LOSSES if "distill" not in name])
def test_every_loss_falls(loss, faces, tmp_path):
    train.train(settings(faces, tmp_path, loss=loss, phases=["all:6"], warmup_epochs=0.0))
    history = losses(tmp_path)
    assert len(history) == 6 and np.isfinite(history).all()
    assert min(history[3:]) < history[0]


def test_distill_learns_the_teacher(faces, tmp_path):
    from nets.facenet import facenet

    teacher = facenet(backbone="tiny", embedding_size=4)
    save_weights(teacher, tmp_path / "t.weights.h5", embedding_size=4, symmetric=False)
    chosen = {"teacher_path": str(tmp_path / "t.weights.h5"), "teacher_backbone": "tiny"}
    trainer = train.train(settings(faces, tmp_path / "l", loss="distill", phases=["all:8"], ema=0.9, **chosen))
    assert losses(tmp_path / "l")[-1] < 0.5 * losses(tmp_path / "l")[0]
    assert trainer.network.output_shape == (None, 4)
    np.testing.assert_array_equal(teacher.get_weights()[0], read_weight_file(chosen["teacher_path"]).layers["conv1"][0])


def test_distill_blocks_comes_near_the_teacher(faces, tmp_path, monkeypatch):
    from nets.facenet import facenet

    cut = tiny_of(1.0, ("relu1", "Prelogits"))
    monkeypatch.setitem(BACKBONES, "tiny", cut)
    teacher = facenet(backbone="tiny", embedding_size=4)
    save_weights(teacher, tmp_path / "t.weights.h5", embedding_size=4, symmetric=False)
    chosen = {"teacher_path": str(tmp_path / "t.weights.h5"), "teacher_backbone": "tiny"}
    chosen |= {"batch_norm_momentum": 0.9, "phases": ["all:12"], "augmentation": "none"}
    trainer = train.train(settings(faces, tmp_path / "l", loss="distill_blocks", **chosen))
    assert losses(tmp_path / "l")[-1] < 0.2 * losses(tmp_path / "l")[0]
    images = np.stack([read_image(path) for path in read_cls_txt(faces)[0]]) / np.float32(255)
    pair = [network(images, training=False).numpy() for network in (teacher, trainer.network)]
    assert np.sum(pair[0] * pair[1], axis=1).mean() > 0.95


def test_files_of_a_training(faces, tmp_path):
    train.train(settings(faces, tmp_path, val_images=0.25, val_people=0.4, tensorboard=True, loss="softmax"))
    names = {path.name for path in tmp_path.iterdir()}
    wanted = {"losses.csv", "epoch_loss.txt", "epoch_val_loss.txt", "loss.png", "tensorboard"}
    assert wanted | {"last_epoch.weights.h5", "best_epoch.weights.h5"} <= names
    epochs = sorted(name for name in names if name.startswith("ep0"))
    assert len(epochs) == 2 and epochs[0].startswith("ep001-loss") and "-val_loss" in epochs[0]
    assert not any(name.startswith(".") for name in names)
    info = read_weight_file(tmp_path / "last_epoch.weights.h5").info
    assert info["backbone"] == "tiny" and info["normalization"] == "unit"
    assert 0 <= losses(tmp_path, "held_out_accuracy")[0] <= 1


class Interruption(Exception):
    pass


def stop_after(steps, monkeypatch):
    """Breaks training off as a kill would: nothing is saved on the way out."""
    from utils.training.callbacks import LossStop

    done = {"steps": 0}
    original = LossStop.on_train_batch_end

    def count(self, batch, logs=None):
        done["steps"] += 1
        if done["steps"] > steps:
            raise Interruption
        original(self, batch, logs)

    monkeypatch.setattr(LossStop, "on_train_batch_end", count)
    return lambda: monkeypatch.setattr(LossStop, "on_train_batch_end", original)


@pytest.mark.parametrize("loss", ["arcface", "triplet", "softmax+center"])
def test_resumed_training_equals_an_uninterrupted_one(loss, faces, tmp_path, monkeypatch):
    chosen = {
        "loss": loss,
        "phases": ["frozen:1", "all:2"],
        "checkpoint_steps": 2,
        "ema": 0.9,
        "augmentation": "strong",
        "optimizer": "adam",
    }
    whole = train.train(settings(faces, tmp_path / "a", **chosen))
    carry_on = stop_after(7, monkeypatch)
    with pytest.raises(Interruption):
        train.train(settings(faces, tmp_path / "b", **chosen))
    carry_on()
    resumed = train.train(settings(faces, tmp_path / "b", resume=True, **chosen))
    assert int(resumed.optimizer.iterations) == int(whole.optimizer.iterations) == 8
    for a, b in zip(whole.state(), resumed.state(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=getattr(a, "path", a.name))
    assert losses(tmp_path / "a")[-1] == losses(tmp_path / "b")[-1]


def test_frozen_phase_leaves_the_backbone_alone(faces, tmp_path):
    from utils.training.recognition_task import RecognitionTask

    task = RecognitionTask(settings(faces, tmp_path), tf.distribute.get_strategy())
    before = {layer.name: layer.get_weights() for layer in task.trainer.network.layers}
    trainer = train.train(settings(faces, tmp_path, phases=["frozen:1"], seed=0))
    after = {layer.name: layer.get_weights() for layer in trainer.network.layers}
    del before
    fresh = train.train(settings(faces, tmp_path / "x", phases=["frozen:1"], seed=0))
    for name in ("conv1", "bn1"):
        for a, b in zip(after[name], fresh.network.get_layer(name).get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert not trainer.network.get_layer("conv1").trainable
    assert trainer.network.get_layer("linear").trainable


def test_checkpoints_of_another_training_are_not_overwritten(faces, tmp_path):
    train.train(settings(faces, tmp_path, phases=["all:1"]))
    with pytest.raises(ValueError, match="set resume"):
        train.train(settings(faces, tmp_path, phases=["all:1"]))
    train.train(settings(faces, tmp_path, phases=["all:2"], resume=True))
    assert len(losses(tmp_path)) == 2


def test_random_crops_are_parts_of_larger_images_and_held_out_images_show_their_middle(faces, tmp_path):
    from utils.training.recognition_task import RecognitionTask

    chosen = {"augmentation": "none", "random_crop": 0.5, "val_images": 0.25, "batch_size": 6}
    task = RecognitionTask(settings(faces, tmp_path, **chosen), tf.distribute.get_strategy())
    side = SIDE + SIDE // 2
    batch = next(iter(task.dataset(6, 0)))
    for index, image in zip(batch["index"].numpy(), batch["image"].numpy(), strict=True):
        path = task.paths[task.sampler.image(np.array([index]))[0]]
        whole = read_face(tf.constant(str(path)), (side, side)).numpy().astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(whole, (SIDE, SIDE, 3))[:, :, 0]
        assert (windows == image).all(axis=(2, 3, 4)).any()
    middle = next(iter(task.validation(6)))["image"].numpy()[0]
    whole = read_face(tf.constant(str(task.val_paths[0])), (side, side)).numpy()
    edge = SIDE // 4
    np.testing.assert_array_equal(middle, whole[edge : edge + SIDE, edge : edge + SIDE])


def test_a_loss_that_is_not_a_number_stops_with_step_rate_and_checkpoint(faces, tmp_path):
    chosen = {"learning_rate": 1e30, "loss": "softmax", "optimizer": "sgd", "warmup_epochs": 0.0}
    with pytest.raises(ValueError, match=r"at step \d+, learning rate .* there is no checkpoint"):
        train.train(settings(faces, tmp_path, **chosen))
    assert not list_checkpoints(tmp_path / "checkpoints")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("loss", ["arcface", "softmax+center", "triplet+softmax"])
def test_mixed_precision_trains(policy, loss, faces, tmp_path):
    train.train(settings(faces, tmp_path, loss=loss, precision=policy, phases=["all:6"]))
    history = losses(tmp_path)
    assert np.isfinite(history).all() and min(history[3:]) < history[0]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop", "adagrad", "adadelta"])
@pytest.mark.parametrize("schedule", ["step", "constant"])
def test_optimizers_and_schedules_run(optimizer, schedule, faces, tmp_path):
    chosen = {"optimizer": optimizer, "schedule": schedule, "weight_decay": 1e-4, "clipnorm": 1.0}
    train.train(settings(faces, tmp_path, steps_per_epoch=2, **chosen))
    assert np.isfinite(losses(tmp_path)).all()


def test_schedule_file(faces, tmp_path):
    (tmp_path / "rates.txt").write_text("0: 0.01\n1: 0.001\n")
    chosen = {"schedule": str(tmp_path / "rates.txt"), "loss": "softmax"}
    train.train(settings(faces, tmp_path, **chosen))
    rates = losses(tmp_path, "learning_rate")
    assert rates == [pytest.approx(0.001), pytest.approx(0.001)] or rates[0] == pytest.approx(0.01)


def test_a_schedule_file_ends_the_training(faces, tmp_path):
    (tmp_path / "rates.txt").write_text("0: 0.01\n2: -\n")
    chosen = {"schedule": str(tmp_path / "rates.txt"), "phases": ["all:1", "all:1", "all:4"]}
    train.train(settings(faces, tmp_path, **chosen))
    assert len(losses(tmp_path)) == 2
    with pytest.raises(ValueError, match="a file sets the rates alone"):
        train.train(settings(faces, tmp_path / "2", **chosen, lr_batch=64))


def test_a_phase_of_larger_batches_keeps_its_checkpoints(faces, tmp_path):
    train.train(settings(faces, tmp_path, phases=["all:2:0.01:6", "all:2:0.01:24"]))
    newest = read_state(list_checkpoints(tmp_path / "checkpoints")[-1])
    assert (newest["phase"], newest["epoch"], newest["step"]) == (1, 4, 2 * 8 + 2 * 2)


def test_a_broken_epoch_is_resumed_with_its_own_batches_only(faces, tmp_path, monkeypatch):
    chosen = {"checkpoint_steps": 1, "batch_size": 6}
    with monkeypatch.context() as patch, pytest.raises(Interruption):
        stop_after(5, patch)
        train.train(settings(faces, tmp_path, **chosen))
    with pytest.raises(ValueError, match="inside an epoch of 8 steps with batch_size 6, now 4"):
        train.train(settings(faces, tmp_path, batch_size=12, resume=True))


def test_early_stop(faces, tmp_path):
    chosen = {"learning_rate": 0.0, "early_stop": 1, "phases": ["all:9"], "schedule": "constant"}
    train.train(settings(faces, tmp_path, keep_probability=1.0, augmentation="none", **chosen))
    assert len(losses(tmp_path)) < 9


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"loss": "magic"}, "loss 'magic' is not one of"),
        ({"batch_size": 1000}, "batch_size 1000 is more than the 48 images"),
        ({"sampler": "odd"}, "sampler 'odd' is not one of plain, balanced"),
        ({"loss": "distill"}, "needs teacher_path"),
        ({"loss": "distill_blocks"}, "needs teacher_path"),
        ({"loss": "retinaface_blocks", "backbone": "resnet50"}, "backbone mobilenet only"),
        ({"backbone": "none"}, "backbone 'none' is not one of"),
        ({"loss": "triplet", "images_per_person": 1}, "must be at least 2"),
        ({"annotation_path": "nowhere.txt"}, "nowhere.txt"),
        ({"optimizer": "magic"}, "unknown optimizer"),
        ({"loss": "retinaface", "backbone": "tiny"}, "is not mobilenet or resnet50"),
        ({"phases": ["all"]}, "phases"),
        ({"mining": "hardest"}, "mining 'hardest' is not one of semihard, hard"),
        ({"save_period": 0}, "save_period 0: at least 1"),
        ({"input_shape": 16}, "input_shape 16: height, width, 3 expected"),
        ({"lfw_dir_path": "lfw"}, "lfw_dir_path and lfw_pairs_path need each other"),
        ({"loss": "triplet", "val_images": 0.1}, "val_images: loss triplet has no val_loss"),
        ({"loss": "distill", "embedding_size": 9}, "embedding_size: loss distill takes"),
        ({"schedule": "step", "min_learning_rate": 0.0}, "min_learning_rate must be above 0"),
        ({"val_people": 0.2}, "the 1 people held out make too few pairs"),
        ({"augmentation": "odd"}, "augmentation 'odd' is not one of none, light, strong"),
        ({"ema": 1.5}, "ema 1.5: .*0 to 1"),
        ({"optimizer": "sgd", "epsilon": 0.1}, "optimizer 'sgd' has no epsilon"),
    ],
)
def test_mistakes_are_one_clear_line_before_the_first_step(changes, message, faces, tmp_path):
    with pytest.raises((ValueError, OSError), match=message) as error:
        train.train(settings(faces, tmp_path, **changes))
    assert "\n" not in str(error.value)
    assert not list_checkpoints(tmp_path / "checkpoints")


def test_every_loss_can_be_chosen():
    assert sorted(train._choices["loss"]) == sorted([*LOSSES, *DETECTION_LOSSES])


def test_weights_of_another_backbone_are_refused(faces, tmp_path):
    from nets.facenet import facenet

    path = tmp_path / "m.weights.h5"
    save_weights(facenet((32, 32, 3), backbone="arcface_mobilefacenet"), path)
    with pytest.raises(ValueError, match="holds arcface_mobilefacenet weights, backbone is tiny"):
        train.train(settings(faces, tmp_path, model_path=str(path)))


def test_bad_images_are_named_and_training_goes_on(faces, tmp_path, capsys):
    lines = faces.read_text(encoding="utf-8").splitlines()
    good = save_image(tmp_path / "x.jpg", np.full((SIDE, SIDE, 3), 90, np.uint8))
    del good
    data = (tmp_path / "x.jpg").read_bytes()
    (tmp_path / "broken.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    extra = [f"0;{tmp_path / name}" for name in ("broken.jpg", "empty.jpg", "missing.jpg")]
    (tmp_path / "list.txt").write_text("\n".join(lines + extra) + "\n", encoding="utf-8")
    train.train(settings(tmp_path / "list.txt", tmp_path / "logs", phases=["all:3"]))
    printed = capsys.readouterr().out
    for name in ("broken.jpg", "empty.jpg", "missing.jpg"):
        assert f"left out: {tmp_path / name}" in printed
    assert len(losses(tmp_path / "logs")) == 3


def test_two_replicas_give_the_loss_of_one(faces, tmp_path):
    devices = tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        pytest.skip("needs two logical CPU devices, set by tests/conftest.py")
    chosen = {"loss": "softmax", "sync_batch_norm": True, "keep_probability": 1.0}
    one = train.train(settings(faces, tmp_path / "1", **chosen))
    two = train.train(settings(faces, tmp_path / "2", **chosen), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
    np.testing.assert_allclose(losses(tmp_path / "1"), losses(tmp_path / "2"), atol=1e-4)
    for a, b in zip(one.network.get_weights(), two.network.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
