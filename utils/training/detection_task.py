"""The training of RetinaFace: its data and its network."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nets.layers import configure_batch_norms
from nets.retinaface import HEAD_PREFIXES, RetinaFace
from utils.config import cfg_mnet, cfg_re50
from utils.datasets.wider_labels import read_wider_labels
from utils.generators.detection import detection_dataset, validation_dataset
from utils.training.detection_trainer import DetectionBlockDistiller, DetectionDistiller, DetectionTrainer
from utils.training.trainer import Trainer
from utils.weights.loading import load_weights
from utils.weights.weight_files import read_weight_file

DETECTION_LOSSES = ("retinaface", "retinaface_blocks", "retinaface_distill")

# Changes to `utils.generators.photo_augmentations.AUGMENTATION` by the names of train.py.
_PLAIN = dict.fromkeys(("grey", "blur", "jpeg"), 0.0)
_AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "strong": {},
    "light": {**_PLAIN, "crop_scale": (0.5, 1.0)},
    "none": {  # the whole photo, as it is
        **_PLAIN,
        **dict.fromkeys(("mirror", "brightness", "contrast", "saturation", "hue"), 0.0),
        "zoom_out": 1.0,
        "zoom_out_scale": 1.0,
    },
}


class DetectionTask:
    """What train.py needs for training a detector.

    Attributes:
        trainer: DetectionTrainer.
        epoch_length: number of photos of an epoch.
        info: the notes of a weight file on how its network is built.
        summary: one line on the data.
    """

    def __init__(self, settings: Mapping[str, Any], strategy: tf.distribute.Strategy) -> None:
        """Reads the labels and builds the network.

        Args:
            settings: those of train.py.
            strategy: where the network is trained.

        Raises:
            ValueError, OSError: settings or data that cannot work.
        """
        self.settings, self.backbone = settings, settings["backbone"]
        self._check()
        self.cfg: Mapping[str, Any] = cfg_mnet if self.backbone == "mobilenet" else cfg_re50
        side = self.cfg["train_image_size"]
        self.size = tuple(settings["input_shape"] or (side, side))[:2]
        self._read_labels()
        self.epoch_length = len(self.items)
        self.info = {"backbone": f"retinaface_{self.backbone}"}
        with strategy.scope():
            network = RetinaFace(self.cfg, self.backbone)
            if settings["model_path"] is not None:
                self._load(network, settings["model_path"], skip_mismatch=True)
            configure_batch_norms(network, settings["batch_norm_momentum"], settings["sync_batch_norm"])
            self.trainer = self._trainer(network)

    def _check(self) -> None:
        """Raises ValueError where settings cannot work, before the labels are read."""
        loss = self.settings["loss"]
        if self.backbone not in ("mobilenet", "resnet50"):
            raise ValueError(f"loss retinaface: backbone {self.backbone!r} is not mobilenet or resnet50")
        if loss != "retinaface" and self.backbone != "mobilenet":
            raise ValueError(f"loss {loss}: backbone mobilenet only, not {self.backbone}")
        if loss != "retinaface" and not self.settings["teacher_path"]:
            raise ValueError(f"loss {loss} needs teacher_path, the detector to learn from")

    def _read_labels(self) -> None:
        settings = self.settings
        problems: list[str] = []
        items = read_wider_labels(settings["annotation_path"], problems=problems)
        if problems:
            print(f"left out: {len(problems)} impossible boxes, the first {problems[0]}")
        order = np.random.default_rng(settings["seed"]).permutation(len(items))
        held = round(settings["val_images"] * len(items))
        self.held = [items[i] for i in sorted(order[:held])]
        self.items = [items[i] for i in sorted(order[held:])]
        faces = sum(len(item[1]) for item in self.items)
        self.summary = f"{len(self.items)} photos with {faces} faces; {held} photos held out"

    def _trainer(self, network: keras.Model) -> Trainer:
        settings, loss = self.settings, self.settings["loss"]
        if loss == "retinaface":
            return DetectionTrainer(network, self.cfg["loc_weight"], settings["ema"])
        teacher = RetinaFace(self.cfg, self.backbone)
        self._load(teacher, settings["teacher_path"])
        teacher.trainable = False
        if loss == "retinaface_distill":
            return DetectionDistiller(network, teacher, settings["ema"])
        trainer = DetectionBlockDistiller(network, teacher, settings["ema"])
        if settings["model_path"] is None:
            batch = next(iter(self.dataset(settings["batch_size"], 0)))
            trainer.blocks.calibrate(batch["image"])
        return trainer

    def _load(self, network: keras.Model, path: str, skip_mismatch: bool = False) -> None:
        source = read_weight_file(path)
        if source.network() not in (None, network.name):
            raise ValueError(f"{source.path}: holds {source.network()} weights, not {network.name}")
        print(f"{source.path}: {load_weights(network, source, skip_mismatch=skip_mismatch)}")

    def freeze(self, frozen: bool) -> None:
        """Freezes the backbone, or nothing; frozen batch norms keep their statistics."""
        for layer in self.trainer.network.layers:
            layer.trainable = not frozen or layer.name.startswith(HEAD_PREFIXES)

    def dataset(self, batch_size: int, position: int) -> tf.data.Dataset:
        """Returns the endless stream of batches from a position on."""
        settings = self.settings
        changes = _AUGMENTATIONS[settings["augmentation"]]
        return detection_dataset(
            self.items, self.size, batch_size, changes, settings["seed"], position, self.cfg, settings["mosaic"]
        )

    def validation(self, batch_size: int) -> tf.data.Dataset | None:
        """Returns the held-out photos, or None."""
        if not self.held:
            return None
        return validation_dataset(self.held, self.size, batch_size, self.cfg)

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Returns no callbacks: a detector has none of its own."""
        return []
