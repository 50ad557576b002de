"""The losses that RetinaFace is trained with."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from nets.block_distillation import BlockDistillation
from nets.detection_losses import imitation_loss, multibox_loss
from nets.retinaface import MOBILENET_BLOCKS
from utils.training.trainer import Trainer


class DetectionTrainer(Trainer):
    """Trains RetinaFace on batches of `utils.generators.detection`."""

    loss_names = ("box", "class", "landmarks")

    def __init__(self, network: keras.Model, box_weight: float = 2.0, ema: float = 0.0) -> None:
        """Wraps a network of `nets.retinaface.RetinaFace`; `box_weight` scales the box loss."""
        super().__init__(network, ema)
        self.box_weight = box_weight

    def losses(self, batch: Mapping[str, Any], training: bool) -> dict[str, tf.Tensor]:
        """Returns the three terms of the multibox loss; see `Trainer.losses`."""
        bbox, cls, ldm = self.network(batch["image"], training=training)
        return multibox_loss(batch["targets"], bbox, cls, ldm, box_weight=self.box_weight)


class DetectionBlockDistiller(Trainer):
    """Teaches each block of RetinaFace the output of a teacher's block, from the teacher's features."""

    loss_names: tuple[str, ...] = ("blocks",)
    guided = True

    def __init__(self, network: keras.Model, teacher: keras.Model, ema: float = 0.0) -> None:
        """Wraps a network of `nets.retinaface.RetinaFace` on mobilenet; see `BlockDistillation`."""
        super().__init__(network, ema)
        self.blocks = BlockDistillation(network, teacher, MOBILENET_BLOCKS, self.guided)

    def losses(self, batch: Mapping[str, Any], training: bool) -> dict[str, tf.Tensor]:
        """Returns the error of the blocks; see `Trainer.losses`."""
        return {"blocks": self.blocks(batch["image"], training)}


class DetectionDistiller(DetectionBlockDistiller):
    """Teaches RetinaFace all features and the outputs of another one; labels are not used."""

    loss_names = ("blocks", "box", "class", "landmarks")
    guided = False

    def losses(self, batch: Mapping[str, Any], training: bool) -> dict[str, tf.Tensor]:
        """Returns the error of the blocks and of the outputs; see `Trainer.losses`."""
        compared = self.blocks.compare(batch["image"], training)
        student, teacher, _ = zip(*compared[-3:], strict=True)  # the last blocks are the three outputs
        return {"blocks": self.blocks.mean_error(compared), **imitation_loss(teacher, student)}
