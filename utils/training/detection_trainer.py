"""What RetinaFace is trained to minimise."""

from nets.block_distillation import BlockDistillation
from nets.detection_losses import imitation_loss, multibox_loss
from utils.training.trainer import Trainer


class DetectionTrainer(Trainer):
    """Trains RetinaFace on batches of `utils.generators.detection`."""

    loss_names = ("box", "class", "landmarks")

    def __init__(self, network, box_weight=2.0, ema=0.0):
        """Wraps a network of `nets.retinaface.RetinaFace`; `box_weight` scales the box loss."""
        super().__init__(network, ema)
        self.box_weight = box_weight

    def losses(self, batch, training):
        """Returns the three terms of the multibox loss; see `Trainer.losses`."""
        outputs = self.network(batch["image"], training=training)
        return multibox_loss(batch["targets"], *outputs, box_weight=self.box_weight)


class DetectionBlockDistiller(Trainer):
    """Teaches each block of RetinaFace what a teacher's makes of the teacher's own features."""

    loss_names = ("blocks",)

    def __init__(self, network, teacher, last_layers, ema=0.0):
        """Wraps a network; see `BlockDistillation`."""
        super().__init__(network, ema)
        self.blocks = BlockDistillation(network, teacher, last_layers)

    def losses(self, batch, training):
        """Returns the error of the blocks; see `Trainer.losses`."""
        return {"blocks": self.blocks(batch["image"], training)}


class DetectionDistiller(Trainer):
    """Teaches RetinaFace all features and the outputs of another one; labels are not used."""

    loss_names = ("blocks", "box", "class", "landmarks")

    def __init__(self, network, teacher, last_layers, ema=0.0):
        """Wraps a network; `last_layers` end with the three outputs, see `BlockDistillation`."""
        super().__init__(network, ema)
        self.blocks = BlockDistillation(network, teacher, last_layers, guided=False)

    def losses(self, batch, training):
        """Returns the error of the blocks and of the outputs; see `Trainer.losses`."""
        compared = self.blocks.compare(batch["image"], training)
        student, teacher, _ = zip(*compared[-3:], strict=True)
        return {
            "blocks": self.blocks.mean_error(compared),
            **imitation_loss(teacher, student),
        }
