"""Training a detector on a few small photos made here."""

import csv

import numpy as np
import pytest
import tensorflow as tf

import train
from nets.retinaface import RetinaFace
from utils.config import cfg_mnet
from utils.datasets.wider_labels import write_wider_labels
from utils.images.image_files import save_image
from utils.training.detection_task import DETECTION_LOSSES, DetectionTask
from utils.weights.loading import save_weights

FACE = np.float32([[20, 16, 44, 48]])
POINTS = np.float32([[[26, 28], [38, 28], [32, 34], [27, 40], [37, 40]]])


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "t.weights.h5"
    network = RetinaFace(cfg_mnet, "mobilenet")
    save_weights(network, path)
    return network, str(path)


@pytest.fixture
def settings(tmp_path, teacher):
    """Returns a function of changes -> settings of train.py for four photos of a face each."""
    rng, items = np.random.default_rng(0), []
    for number in range(4):
        name = f"photo {number}.png"
        save_image(tmp_path / name, rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        items.append((name, FACE, POINTS, np.array([True])))
    write_wider_labels(tmp_path / "label.txt", items)
    common = {
        "loss": "retinaface",
        "backbone": "mobilenet",
        "annotation_path": str(tmp_path / "label.txt"),
        "input_shape": [64, 64, 3],
        "teacher_path": teacher[1],
        "augmentation": "light",
        "batch_size": 4,
        "phases": ["all:2"],
        "save_dir": str(tmp_path / "logs"),
    }
    return lambda **changes: train._defaults | common | changes


def losses_of(task, training=False):
    batch = next(iter(task.dataset(4, 0)))
    return {name: float(x) for name, x in task.trainer.losses(batch, training).items()}


@pytest.mark.parametrize("loss", DETECTION_LOSSES)
def test_losses_have_their_names_and_are_finite(loss, settings):
    task = DetectionTask(settings(loss=loss), tf.distribute.get_strategy())
    losses = losses_of(task, training=True)
    assert tuple(losses) == task.trainer.loss_names
    assert np.isfinite(list(losses.values())).all() and min(losses.values()) > 0


@pytest.mark.parametrize("loss", ["retinaface_blocks", "retinaface_distill"])
def test_a_student_equal_to_its_teacher_has_nothing_to_learn(loss, settings, teacher):
    chosen = settings(loss=loss, model_path=teacher[1])
    task = DetectionTask(chosen, tf.distribute.get_strategy())
    np.testing.assert_array_equal(task.trainer.network.get_weights()[0], teacher[0].get_weights()[0])
    assert max(losses_of(task).values()) < 1e-6
    weights = task.trainer.trainable_variables
    assert len(weights) == len(task.trainer.network.trainable_variables)  # the teacher's are fixed


def test_train_teaches_a_detector_the_outputs_of_another(settings, tmp_path):
    train.train(settings(loss="retinaface_distill", learning_rate=3e-3, phases=["all:4"]))
    with open(tmp_path / "logs" / "losses.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows][-1] < float(rows[0]["loss"])
    for row in rows:
        parts = [float(row[name]) for name in ("blocks", "box", "class", "landmarks")]
        assert sum(parts) == pytest.approx(float(row["loss"]), rel=1e-4)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"teacher_path": None, "loss": "retinaface_distill"}, "needs teacher_path"),
        ({"backbone": "odd"}, "backbone 'odd' is not mobilenet or resnet50"),
    ],
)
def test_mistakes_are_told_before_the_labels_are_read(changes, message, settings):
    with pytest.raises(ValueError, match=message):
        DetectionTask(settings(annotation_path="nowhere.txt", **changes), None)
