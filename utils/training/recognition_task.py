"""The training of a recognition network: its data, its network and its evaluation."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nets.backbones import BACKBONES, HEAD_LAYERS, find_backbone
from nets.facenet import facenet
from nets.layers import configure_batch_norms
from nets.normalization import normalize
from utils.datasets.cls_list import read_cls_txt
from utils.datasets.splits import split_by_identity, split_by_image
from utils.engine.devices import worker_shard
from utils.evaluation.lfw_pairs import load_pairs
from utils.generators import samplers
from utils.generators.face_augmentations import PRESETS
from utils.generators.recognition import recognition_dataset, validation_dataset
from utils.generators.skipped_images import SkippedImages, check_files
from utils.training.callbacks import Skipped
from utils.training.recognition_trainer import LOSSES, RecognitionTrainer
from utils.training.verification import Verification, sample_pairs
from utils.weights.loading import load_weights
from utils.weights.weight_files import WeightFile, read_weight_file

DISTILLATIONS = ("distill", "distill_blocks")  # a teacher stands in for labels
LOSS_SETTINGS = (
    *("margin", "scale", "mining", "label_smoothing", "center_factor", "center_rate"),
    *("prelogits_factor", "relational_factor", "seed"),
)
CALIBRATION_IMAGES = 64
VERIFIED_PAIRS = 3000  # pairs of one person, and as many of two, that held-out people make
LEAST_PAIRS = 10  # pairs of each kind, one for each fold of the verification


class RecognitionTask:
    """What train.py needs for training a recognition network.

    Attributes:
        trainer: RecognitionTrainer.
        epoch_length: number of images of an epoch.
        info: the notes of a weight file on how its network is built.
        summary: one line on the data.
    """

    def __init__(self, settings: Mapping[str, Any], strategy: tf.distribute.Strategy) -> None:
        """Reads the list of images and builds the network and its loss.

        Args:
            settings: those of train.py.
            strategy: where the network is trained.

        Raises:
            ValueError, OSError: settings or data that cannot work.
        """
        self.settings = settings
        self.head, self.order, _ = LOSSES[settings["loss"]]
        self._read_data()
        self.sampler = self._build_sampler(settings["batch_size"])
        self.epoch_length = self.sampler.epoch_length
        self.backbone = find_backbone(settings["backbone"])
        self.input_shape = tuple(settings["input_shape"] or self.backbone.input_shape)
        self.augmentation = dataclasses.replace(PRESETS[settings["augmentation"]], crop=settings["random_crop"])
        with strategy.scope():
            self._build()

    def _read_data(self) -> None:
        settings = self.settings
        paths, labels = read_cls_txt(settings["annotation_path"], check_images=False)
        bad = dict(check_files(paths))
        there = np.array([path not in bad for path in paths])
        if not there.any():
            raise ValueError(f"{settings['annotation_path']}: none of its images is there")
        for path, problem in bad.items():
            print(f"left out: {path}: {problem}")
        paths, labels = paths[there], labels[there]
        kept, held = split_by_identity(labels, settings["val_people"], settings["seed"])
        self.held_paths, self.held_labels = paths[held], labels[held]
        self._draw_pairs()
        paths, labels = paths[kept], np.unique(labels[kept], return_inverse=True)[1]
        kept, held = split_by_image(labels, settings["val_images"], settings["seed"])
        self.val_paths, self.val_labels = paths[held], labels[held]
        self.paths, self.labels = paths[kept], labels[kept]
        self.people = int(labels.max()) + 1
        if self.people < 2 and settings["loss"] not in DISTILLATIONS:
            raise ValueError(f"{settings['annotation_path']}: one person only; two are needed")

    def _draw_pairs(self) -> None:
        """Draws the pairs that held-out people are verified on."""
        rng = np.random.default_rng(self.settings["seed"])
        self.pairs, self.same = sample_pairs(self.held_labels, VERIFIED_PAIRS, rng)
        if self.settings["val_people"] and min(np.sum(self.same), np.sum(~self.same)) < LEAST_PAIRS:
            people = len(np.unique(self.held_labels))
            raise ValueError(
                f"val_people {self.settings['val_people']}: the {people} people held out make too "
                "few pairs to verify; hold out more, or none"
            )

    @property
    def summary(self) -> str:
        """One line on the data: images, people, what is held out and left out."""
        held = len(np.unique(self.held_labels))
        parts = [f"{len(self.paths)} images of {self.people} people"]
        parts += [f"{len(self.val_paths)} images held out"] if len(self.val_paths) else []
        parts += [f"{held} people held out"] if held else []
        parts += [self.sampler.note] if self.sampler.note else []
        return "; ".join(parts)

    def _build_sampler(self, batch_size: int) -> samplers.Sampler:
        settings, labels = self.settings, self.labels
        if self.order == "triplets":
            return samplers.triplets(labels, settings["seed"])
        if self.order == "identities":
            each = settings["images_per_person"]
            return samplers.identities(labels, max(batch_size // each, 1), each, settings["seed"])
        chosen = samplers.balanced if settings["sampler"] == "balanced" else samplers.plain
        return chosen(labels, settings["seed"])

    def _build(self) -> None:
        settings, teacher, size = self.settings, None, self.settings["embedding_size"]
        start = settings["model_path"] and read_weight_file(settings["model_path"])
        fitting: dict[str, Any] = start.build_settings() if start else {"symmetric": False}
        if settings["loss"] in DISTILLATIONS:
            teacher, taught = self._read_teacher()
            size = teacher[0].output_shape[-1]
            if settings["loss"] == "distill_blocks":
                self._check_blocks(start, taught)
                fitting = taught
        if start and start.network() not in (None, settings["backbone"]):
            raise ValueError(f"{start.path}: holds {start.network()} weights, backbone is {settings['backbone']}")
        built: dict[str, Any] = {
            "backbone": settings["backbone"],
            "embedding_size": size or fitting.get("embedding_size") or self.backbone.embedding_size,
            "symmetric": fitting["symmetric"],
        }
        normalization = fitting.get("normalization", self.backbone.normalization)
        self.info = {**built, "normalization": normalization}
        if self.head:
            built |= {"num_classes": self.people, "mode": "train", "head": self.head}
            built["sample_rate"] = settings["sample_rate"]
        network = facenet(self.input_shape, keep_probability=settings["keep_probability"], **built)
        if start:
            print(f"{start.path}: {load_weights(network, start, skip_mismatch=True)}")
        configure_batch_norms(network, settings["batch_norm_momentum"], settings["sync_batch_norm"])
        chosen = {name: settings[name] for name in LOSS_SETTINGS} | {"blocks": self.backbone.blocks}
        self.trainer = RecognitionTrainer(network, settings["loss"], normalization, teacher, settings["ema"], **chosen)
        if settings["loss"] == "distill_blocks" and not start:
            self._calibrate()

    def _calibrate(self) -> None:
        """Prepares the blocks of a randomly initialised network by some of the images."""
        count = min(CALIBRATION_IMAGES, len(self.paths))
        chosen = np.random.default_rng(self.settings["seed"]).permutation(len(self.paths))[:count]
        batch = next(iter(self._unchanged(self.paths[chosen], self.labels[chosen], count)))
        self.trainer.blocks.calibrate(normalize(batch["image"], self.info["normalization"]))

    def _check_blocks(self, start: WeightFile | None, taught: Mapping[str, Any]) -> None:
        """Raises ValueError where student and teacher cannot be cut into the same blocks."""
        backbone, teacher = self.settings["backbone"], self.settings["teacher_backbone"]
        if not self.backbone.blocks:
            known = [name for name, one in BACKBONES.items() if one.blocks]
            raise ValueError(f"backbone {backbone}: distill_blocks knows {', '.join(known)} only")
        if backbone != teacher:
            raise ValueError(f"distill_blocks: backbone {backbone} and teacher_backbone {teacher} must be equal")
        if start and start.build_settings()["symmetric"] != taught["symmetric"]:
            raise ValueError(f"{start.path}: pads its convolutions otherwise than the teacher does")

    def _read_teacher(self) -> tuple[tuple[keras.Model, str], dict[str, Any]]:
        """Returns (network, its normalization) and the build settings of its weight file."""
        settings = self.settings
        if not settings["teacher_path"]:
            raise ValueError(f"loss {settings['loss']} needs teacher_path, the weights to learn from")
        source, name = read_weight_file(settings["teacher_path"]), settings["teacher_backbone"]
        fitting = source.build_settings()
        size = fitting.get("embedding_size")
        network = facenet(backbone=name, embedding_size=size, symmetric=fitting["symmetric"])
        load_weights(network, source)
        network.trainable = False
        return (network, fitting.get("normalization", find_backbone(name).normalization)), fitting

    def freeze(self, frozen: bool) -> None:
        """Freezes all but the head, or nothing; frozen batch norms keep their statistics."""
        for layer in self.trainer.network.layers:
            layer.trainable = not frozen or layer.name in HEAD_LAYERS

    def dataset(self, batch_size: int, position: int) -> Any:
        """Returns the endless stream of batches from a position on; pixels, not normalised."""
        strategy, shard = self.trainer.distribute_strategy, worker_shard()
        self.sampler = self._build_sampler(batch_size)
        multiple = self.sampler.block * shard[1]
        start = -(-position // multiple) * multiple
        self.skipped = SkippedImages(self.paths, self.sampler, start, shard)

        def stream(batch_size: int, replicas: int) -> tf.data.Dataset:
            files, seed = (self.paths, self.labels, self.input_shape[:2]), self.settings["seed"]
            return recognition_dataset(
                *files, batch_size, self.sampler, self.augmentation, seed, start, shard, replicas
            )

        if shard[1] == 1:  # `fit` splits the batch over the replicas
            return stream(batch_size, strategy.num_replicas_in_sync)
        # Under several workers each replica draws batches of its own size from its worker's shard.
        return strategy.distribute_datasets_from_function(
            lambda context: stream(context.get_per_replica_batch_size(batch_size), 1)
        )

    def _unchanged(
        self, paths: Sequence[str], labels: Sequence[int], batch_size: int, margin: float = 0.0
    ) -> tf.data.Dataset:
        """Returns images without augmentation; a margin is cut off, as random crops lose it."""
        return validation_dataset(paths, labels, self.input_shape[:2], batch_size, margin)

    def validation(self, batch_size: int) -> tf.data.Dataset | None:
        """Returns the held-out images of known people, or None."""
        if not len(self.val_paths) or self.order != "images":
            return None
        return self._unchanged(self.val_paths, self.val_labels, batch_size, self.settings["random_crop"])

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Returns callbacks that name unreadable images and verify held-out people and LFW."""
        settings, batch_size = self.settings, self.settings["batch_size"]
        chosen: list[keras.callbacks.Callback] = [Skipped(self.skipped)]
        if len(self.held_paths):
            faces = self._unchanged(self.held_paths, self.held_labels, batch_size, settings["random_crop"])
            chosen.append(Verification("held_out", faces, self.pairs, self.same))
        if settings["lfw_dir_path"]:
            found = load_pairs(settings["lfw_dir_path"], settings["lfw_pairs_path"])
            faces = self._unchanged([str(p) for p in found.images], [0] * len(found.images), batch_size)
            chosen.append(Verification("lfw", faces, found.indices, found.labels, settings["lfw_period"]))
        return chosen
