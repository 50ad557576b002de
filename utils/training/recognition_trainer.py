"""The losses that recognition networks are trained with."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from nets import recognition_losses as formulas
from nets.block_distillation import BlockDistillation
from nets.heads import move_centers
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
        self.head: Any = network.get_layer("Scores") if head else None
        self.loss_name, self.normalization = loss, normalization
        self.settings = {name: value for name, value in settings.items() if value is not None}
        self._teach: Any = _teaching(*teacher) if teacher else None
        if teacher and loss == "distill_blocks":
            self.blocks = BlockDistillation(network, teacher[0], self.settings["blocks"])
        if loss == "softmax+center":
            size, classes = network.get_layer("Scores").kernel.shape
            first = tf.VariableAggregation.ONLY_FIRST_REPLICA
            self.centers = tf.Variable(tf.zeros((classes, size)), trainable=False, aggregation=first)
            self.extra_variables = [self.centers]

    def losses(self, batch: Mapping[str, tf.Tensor], training: bool) -> dict[str, tf.Tensor]:
        """Returns the terms of the loss; see `Trainer.losses`."""
        images, labels = normalize(batch["image"], self.normalization), batch["label"]
        if self.loss_name == "distill_blocks":
            return {"blocks": self.blocks(images, training)}
        prelogits, embeddings = self.features(images, training=training)
        if self.loss_name == "distill":
            return self._distill(embeddings, self._teach(batch["image"]))
        if self.loss_name == "triplet":
            return self._triplet(embeddings, labels)
        if self.loss_name in ("arcface", "cosface"):
            return self._margin(embeddings, labels)
        terms = self._softmax(prelogits, labels)
        if self.loss_name == "softmax+center":
            terms |= self._center(prelogits, labels, training)
        if self.loss_name == "triplet+softmax":
            anchor, positive, negative = formulas.split_triplets(embeddings)
            terms["triplet"] = formulas.triplet_loss(anchor, positive, negative, self._setting("margin", 0.2))
        return terms

    @tf.function(reduce_retracing=True)
    def embed(self, pixels: tf.Tensor) -> tf.Tensor:
        """Returns the (B, D) embeddings of images (B, H, W, 3), 0..255."""
        return self.features(normalize(pixels, self.normalization), training=False)[1]

    def _setting(self, name: str, default: Any) -> Any:
        return self.settings.get(name, default)

    def _cross_entropy(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return formulas.softmax_cross_entropy(logits, labels, self._setting("label_smoothing", 0.0))

    def _softmax(self, prelogits: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = self.head(prelogits)
        return {"softmax": self._cross_entropy(logits, labels), "_accuracy": _accuracy(logits, labels)}

    def _center(self, prelogits: tf.Tensor, labels: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        center, norm = formulas.center_loss(prelogits, labels, self.centers), formulas.prelogits_norm(prelogits)
        if training:
            move_centers(self.centers, tf.stop_gradient(prelogits), labels, self._setting("center_rate", 0.5))
        return {
            "center": self._setting("center_factor", 0.01) * center,
            "prelogits": self._setting("prelogits_factor", 5e-4) * norm,
        }

    def _triplet(self, embeddings: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        hard = self._setting("mining", "semihard") == "hard"
        mine = formulas.triplet_batch_hard if hard else formulas.triplet_semihard
        triplet, active = mine(embeddings, labels, self._setting("margin", 0.2))
        return {"triplet": triplet, "_active": tf.cast(active, tf.float32)}

    def _margin(self, embeddings: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        seed = tf.stack([self._setting("seed", 0), tf.cast(self.optimizer.iterations, tf.int32)])
        cosine, places = self.head.sampled(embeddings, labels, seed)
        logits = formulas.arcface_logits if self.loss_name == "arcface" else formulas.cosface_logits
        chosen = {k: self.settings[k] for k in ("margin", "scale") if k in self.settings}
        entropy = self._cross_entropy(logits(cosine, places, **chosen), places)
        return {self.loss_name: entropy, "_accuracy": _accuracy(cosine, places)}

    def _distill(self, embeddings: tf.Tensor, wanted: tf.Tensor) -> dict[str, tf.Tensor]:
        loss = formulas.embedding_distance(embeddings, wanted)
        relational = self._setting("relational_factor", 0.0)
        if relational:
            loss += relational * formulas.relational_distance(embeddings, wanted)
        return {"distill": loss}


def _accuracy(scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    hits = tf.equal(tf.argmax(scores, axis=1, output_type=labels.dtype), labels)
    count = tf.maximum(tf.size(hits), 1)  # a replica may get no images
    return tf.reduce_sum(tf.cast(hits, tf.float32)) / tf.cast(count, tf.float32)


def _teaching(teacher: keras.Model, normalization: str) -> Any:
    """Returns a function from pixels to the embeddings of a network that is not trained.

    It is a closure, so that Keras does not count the teacher's weights as the trainer's.
    """

    def teach(images: tf.Tensor) -> tf.Tensor:
        images = tf.image.resize(images, teacher.input_shape[1:3])
        return tf.stop_gradient(teacher(normalize(images, normalization), training=False))

    return teach
