"""The losses that recognition networks are trained with."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from nets import recognition_losses as formulas
from nets.block_distillation import BlockDistillation
from nets.heads import CenterBank
from nets.normalization import normalize
from utils.training.trainer import Trainer

# loss -> (head of nets.facenet.facenet or None, order of the images, names of its terms)
LOSSES = {
    "triplet+softmax": ("softmax", "triplets", ("triplet", "softmax", "_accuracy")),
    "triplet": (None, "identities", ("triplet", "_active")),
    "softmax": ("softmax", "images", ("softmax", "_accuracy")),
    "softmax+center": ("softmax", "images", ("softmax", "center", "prelogits", "_accuracy")),
    "arcface": ("arcface", "images", ("arcface", "_accuracy")),
    "cosface": ("arcface", "images", ("cosface", "_accuracy")),
    "distill": (None, "images", ("distill",)),
    "distill_blocks": (None, "images", ("blocks",)),
}


class RecognitionTrainer(Trainer):
    """Trains a network of `nets.facenet.facenet`.

    Batches are dicts: image (B, H, W, 3) float32 pixels 0..255, label (B,), index (B,); for
    "triplet+softmax" in the order all anchors, all positives, all negatives.
    """

    def __init__(
        self,
        network: keras.Model,
        loss: str,
        normalization: str,
        teacher: tuple[keras.Model, str] | None = None,
        ema: float = 0.0,
        **settings: Any,
    ) -> None:
        """Sets up the loss.

        Args:
            network: in mode "train" with the head that LOSSES names, else in mode "predict".
            loss: a key of LOSSES.
            normalization: kind of `nets.normalization.normalize` that the network wants.
            teacher: for "distill", (Keras model, its normalization); it is not trained. For
                "distill_blocks" it has the network's own architecture and normalization.
            ema: see `Trainer`.
            **settings: margin (triplet alpha, or of arcface and cosface), scale (of the cosines),
                mining ("semihard" or "hard"), label_smoothing, center_factor, center_rate,
                prelogits_factor, relational_factor, seed, blocks (names, for "distill_blocks").
                None takes the formula's own.
        """
        head, _, terms = LOSSES[loss]
        self.loss_names = tuple(name.lstrip("_") for name in terms)
        super().__init__(network, ema)
        outputs = [network.get_layer(name).output for name in ("Prelogits", "Embedding")]
        self.features = keras.Model(network.input, outputs)
        self.head = network.get_layer("Scores") if head else None
        self.loss_name = loss
        self._embed = tf.function(
            lambda pixels: self.features(normalize(pixels, normalization), training=False)[1],
            input_signature=[tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)],
        )
        self.normalization = normalization
        self.settings = {name: value for name, value in settings.items() if value is not None}
        self._teach = teacher and _teaching(*teacher)
        if loss == "distill_blocks":
            self.blocks = BlockDistillation(network, teacher[0], self.settings["blocks"])
        if loss == "softmax+center":
            size, classes = self.head.kernel.shape
            self.centers = CenterBank(classes, size, self._setting("center_rate", 0.5))
        self._terms = {
            "triplet+softmax": self._triplet_softmax,
            "triplet": self._triplet,
            "softmax": self._softmax,
            "softmax+center": self._softmax_center,
            "arcface": self._margin,
            "cosface": self._margin,
            "distill": self._distill,
            "distill_blocks": None,
        }[loss]

    def _setting(self, name: str, default: Any) -> Any:
        return self.settings.get(name, default)

    def losses(self, batch: Mapping[str, tf.Tensor], training: bool) -> dict[str, tf.Tensor]:
        """Returns the terms of the loss; see `Trainer.losses`."""
        images = normalize(batch["image"], self.normalization)
        if self.loss_name == "distill_blocks":
            return {"blocks": self.blocks(images, training)}
        prelogits, embeddings = self.features(images, training=training)
        terms = self._terms(batch, prelogits, embeddings)
        if training and self.loss_name == "softmax+center":
            self.centers.update(tf.stop_gradient(prelogits), batch["label"])
        return terms

    def calibrate(self, pixels: tf.Tensor) -> None:
        """Prepares a randomly initialised network for "distill_blocks", see `BlockDistillation`.

        Args:
            pixels: images (B, H, W, 3), 0..255.
        """
        self.blocks.calibrate(normalize(pixels, self.normalization))

    def embed(self, pixels: tf.Tensor) -> tf.Tensor:
        """Returns the (B, D) embeddings of images (B, H, W, 3), 0..255."""
        return self._embed(pixels)

    def extra_variables(self) -> list:
        """Returns the class centres of center loss, where it is the loss."""
        return [self.centers.centers] if self.loss_name == "softmax+center" else []

    def _cross_entropy(self, logits, labels):
        return formulas.softmax_cross_entropy(logits, labels, self._setting("label_smoothing", 0.0))

    def _softmax(self, batch, prelogits, embeddings):
        logits, labels = self.head(prelogits), batch["label"]
        return {"softmax": self._cross_entropy(logits, labels), "_accuracy": _accuracy(logits, labels)}

    def _softmax_center(self, batch, prelogits, embeddings):
        center = formulas.center_loss(prelogits, batch["label"], self.centers.centers)
        prelogits_norm = formulas.prelogits_norm(prelogits)
        return self._softmax(batch, prelogits, embeddings) | {
            "center": self._setting("center_factor", 0.01) * center,
            "prelogits": self._setting("prelogits_factor", 5e-4) * prelogits_norm,
        }

    def _triplet_softmax(self, batch, prelogits, embeddings):
        triplets = formulas.split_triplets(embeddings)
        triplet = formulas.triplet_loss(*triplets, alpha=self._setting("margin", 0.2))
        return self._softmax(batch, prelogits, embeddings) | {"triplet": triplet}

    def _triplet(self, batch, prelogits, embeddings):
        hard = self._setting("mining", "semihard") == "hard"
        mine = formulas.triplet_batch_hard if hard else formulas.triplet_semihard
        triplet, active = mine(embeddings, batch["label"], self._setting("margin", 0.2))
        return {"triplet": triplet, "_active": tf.cast(active, tf.float32)}

    def _margin(self, batch, prelogits, embeddings):
        seed = tf.stack([self._setting("seed", 0), tf.cast(self.optimizer.iterations, tf.int32)])
        cosine, places = self.head.sampled(embeddings, batch["label"], seed)
        logits = {"arcface": formulas.arcface_logits, "cosface": formulas.cosface_logits}[self.loss_name]
        chosen = {k: self.settings[k] for k in ("margin", "scale") if k in self.settings}
        entropy = self._cross_entropy(logits(cosine, places, **chosen), places)
        return {self.loss_name: entropy, "_accuracy": _accuracy(cosine, places)}

    def _distill(self, batch, prelogits, embeddings):
        wanted = self._teach(batch["image"])
        loss = formulas.embedding_distance(embeddings, wanted)
        relational = self._setting("relational_factor", 0.0)
        if relational:
            loss += relational * formulas.relational_distance(embeddings, wanted)
        return {"distill": loss}


def _accuracy(scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    hits = tf.equal(tf.argmax(scores, axis=1, output_type=labels.dtype), labels)
    count = tf.maximum(tf.size(hits), 1)  # a replica may get no images
    return tf.reduce_sum(tf.cast(hits, tf.float32)) / tf.cast(count, tf.float32)


def _teaching(teacher: keras.Model, normalization: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function from pixels to the embeddings of a network that is not trained.

    It is a closure, so that Keras does not count the teacher's weights as the trainer's.
    """

    def teach(images):
        size = teacher.input_shape[1:3]
        if tuple(images.shape[1:3]) != tuple(size):
            images = tf.image.resize(images, size)
        return tf.stop_gradient(teacher(normalize(images, normalization), training=False))

    return teach
