"""The training step that all networks share, on any number of devices."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf


class Trainer(keras.Model):
    """Trains a network on batches that are dicts; subclasses compute the losses.

    `fit` works on one device, under MirroredStrategy and under MultiWorkerMirroredStrategy: the
    step is run by the strategy here, since Keras 3's own cannot reduce what remote workers hold.

    Attributes:
        network: the Keras model that is trained and saved.
        index: int64 variable, the stream positions of this worker's last batch.
        position: int64 variable, the stream position after that batch.
        updates: int64 variable, steps made so far, over all phases.
    """

    loss_names: tuple[str, ...] = ()  # the names that `losses` returns, without underscores
    train_function: Any
    test_function: Any

    def __init__(self, network: keras.Model, ema: float = 0.0) -> None:
        """Wraps a network.

        Args:
            network: Keras model; its weights stay as they are until a step is made.
            ema: share of the old value in a moving average of all weights, batch-norm statistics
                too, such as 0.999; 0 for none.
        """
        super().__init__(name="trainer")
        self.network = network
        self.ema = ema
        first = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self.averages = [tf.Variable(w.numpy(), **first) for w in network.weights if ema]
        self.position = tf.Variable(0, dtype=tf.int64, trainable=False, name="position")
        self.updates = tf.Variable(0, dtype=tf.int64, trainable=False, name="updates")
        self.index = tf.Variable([], shape=(None,), dtype=tf.int64, trainable=False, name="index")
        self.extra_variables: list[tf.Variable] = []  # a subclass's own, besides the network's
        self.means = {name: keras.metrics.Mean(name=name) for name in ("loss", *self.loss_names)}
        self.built = True

    def losses(self, batch: Mapping[str, Any], training: bool) -> dict[str, tf.Tensor]:
        """Returns {name: float32 scalar} for the names in `loss_names`; their sum is minimised.

        Names that start with "_" are reported without the underscore and not minimised.
        """
        raise NotImplementedError

    def call(self, images: tf.Tensor, training: bool = False) -> Any:
        """Returns the outputs of the network."""
        return self.network(images, training=training)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means of the losses."""
        return list(self.means.values())

    def train_step(self, batch: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Makes one update; returns this replica's share of each loss."""
        with tf.GradientTape() as tape:
            losses = self._shares(batch, training=True)
            scaled = self.optimizer.scale_loss(losses["loss"])
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply(gradients, variables)
        if self.averages:
            self._update_averages()
        return losses

    def test_step(self, batch: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Returns this replica's share of each loss."""
        return self._shares(batch, training=False)

    def _shares(self, batch: Mapping[str, Any], training: bool) -> dict[str, tf.Tensor]:
        """Returns this replica's share of each loss, and of their sum as "loss"."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        losses = self.losses(batch, training)
        total = tf.add_n([loss for name, loss in losses.items() if not name.startswith("_")])
        named = {"loss": total, **{name.lstrip("_"): loss for name, loss in losses.items()}}
        return {name: loss / replicas for name, loss in named.items()}

    def _update_averages(self) -> None:
        # The average follows quickly while it is young: 1 / 11 of it is kept at the first step.
        step = tf.cast(self.updates + 1, tf.float32)
        kept = tf.minimum(self.ema, step / (10.0 + step))
        for average, weight in zip(self.averages, self.network.weights, strict=True):
            average.assign(kept * average + (1.0 - kept) * tf.convert_to_tensor(weight))

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Returns Keras's evaluation, of the moving averages where there are any: they are saved."""
        with self.averaged():
            return super().evaluate(*args, **kwargs)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Puts the moving averages in the place of the weights for a while, if there are any."""
        if not self.averages:
            yield
            return
        kept = self.network.get_weights()
        self.network.set_weights([average.numpy() for average in self.averages])
        try:
            yield
        finally:
            self.network.set_weights(kept)

    def state(self) -> list:
        """Returns every variable that decides how training goes on, in a fixed order."""
        own = [*self.network.variables, *self.extra_variables, *self.optimizer.variables]
        return [*own, *self.averages, self.position, self.updates]

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Does nothing: all is built, and Keras's own way of building fails with remote workers."""

    def make_train_function(self, force: bool = False) -> None:
        """Compiles the step over all replicas; the position moves past the batch."""
        if self.train_function is None or force:
            self.train_function = self._distributed(self.train_step, moves=True)

    def make_test_function(self, force: bool = False) -> None:
        """Compiles the evaluation of a batch over all replicas."""
        if self.test_function is None or force:
            self.test_function = self._distributed(self.test_step, moves=False)

    def _distributed(self, step: Callable, moves: bool) -> Callable:
        strategy = self.distribute_strategy

        @tf.function(reduce_retracing=True)
        def run(iterator: Iterator) -> dict[str, tf.Tensor]:
            batch = next(iterator)
            losses = strategy.run(step, args=(batch,))
            rows = strategy.run(lambda b: tf.size(b["index"]), args=(batch,))
            weight = tf.cast(strategy.reduce("SUM", rows, axis=None), tf.float32)
            for name, mean in self.means.items():
                mean.update_state(strategy.reduce("SUM", losses[name], axis=None), weight)
            if moves:
                self.updates.assign_add(1)
                self.index.assign(tf.concat(strategy.experimental_local_results(batch["index"]), 0))
                self.position.assign(tf.maximum(self.position, tf.reduce_max(self.index) + 1))
            return {name: mean.result() for name, mean in self.means.items()}

        return run
