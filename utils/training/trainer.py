"""The training step that all networks share: losses in, one update out, on any devices."""

import contextlib

import keras
import tensorflow as tf


class Trainer(keras.Model):
    """Trains a network on batches that are dicts; a subclass says what they cost.

    `fit` works on one device, under MirroredStrategy and under MultiWorkerMirroredStrategy: the
    step is run by the strategy here, since Keras 3's own cannot reduce what remote workers hold.

    Attributes:
        network: the Keras model that is trained and saved.
        index: int64 variable, the stream positions of the last batch, of this worker.
        position: int64 variable, the stream position after it.
        updates: int64 variable, steps made so far, over all phases.
    """

    loss_names = ()  # of the dict that `losses` returns

    def __init__(self, network, ema=0.0):
        """Wraps a network.

        Args:
            network: Keras model; no weight of it is touched here.
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
        names = ("loss", *self.loss_names)
        self.means = {name: keras.metrics.Mean(name=name) for name in names}
        self.built = True

    def losses(self, batch, training):
        """Returns {name: float32 scalar} for the names in `loss_names`; their sum is minimised.

        Names that start with "_" are reported without the underscore and not minimised.
        """
        raise NotImplementedError

    def call(self, images, training=False):
        """Runs the network."""
        return self.network(images, training=training)

    @property
    def metrics(self):
        """The running means of the losses."""
        return list(self.means.values())

    def train_step(self, batch):
        """Makes one update; returns this replica's share of each loss."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        with tf.GradientTape() as tape:
            losses = self._with_total(self.losses(batch, training=True))
            scaled = self.optimizer.scale_loss(losses["loss"] / replicas)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply(gradients, variables)
        if self.averages:
            self._update_averages()
        return {name: loss / replicas for name, loss in losses.items()}

    def test_step(self, batch):
        """Returns this replica's share of each loss."""
        replicas = self.distribute_strategy.num_replicas_in_sync
        losses = self._with_total(self.losses(batch, training=False))
        return {name: loss / replicas for name, loss in losses.items()}

    def _update_averages(self):
        # 1 / 10 at the first step: the average follows quickly while it is young
        step = tf.cast(self.updates + 1, tf.float32)
        kept = tf.minimum(self.ema, step / (10.0 + step))
        for average, weight in zip(self.averages, self.network.weights, strict=True):
            average.assign(kept * average + (1.0 - kept) * tf.convert_to_tensor(weight))

    def evaluate(self, *args, **kwargs):
        """Evaluates the moving averages, which are what is saved, if there are any."""
        with self.averaged():
            return super().evaluate(*args, **kwargs)

    @contextlib.contextmanager
    def averaged(self):
        """Puts the moving averages in the place of the weights for a while, if there are any."""
        if not self.averages:
            yield
            return
        kept = [weight.numpy() for weight in self.network.weights]
        for weight, average in zip(self.network.weights, self.averages, strict=True):
            weight.assign(average.numpy())
        try:
            yield
        finally:
            for weight, value in zip(self.network.weights, kept, strict=True):
                weight.assign(value)

    def state(self):
        """Returns every variable that decides how training goes on, in a fixed order."""
        own = [*self.network.variables, *self.extra_variables(), *self.optimizer.variables]
        return [*own, *self.averages, self.position, self.updates]

    def extra_variables(self):
        """Returns variables of the trainer that are not the network's; none here."""
        return []

    def _with_total(self, losses):
        total = tf.add_n([loss for name, loss in losses.items() if not name.startswith("_")])
        return {"loss": total, **{name.lstrip("_"): loss for name, loss in losses.items()}}

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Skips what Keras does before `fit`: all is built, and it fails with remote workers."""

    def make_train_function(self, force=False):
        """Compiles the step over all replicas; the position moves past the batch."""
        if self.train_function is None or force:
            self.train_function = self._distributed(self.train_step, moves=True)

    def make_test_function(self, force=False):
        """Compiles the evaluation of a batch over all replicas."""
        if self.test_function is None or force:
            self.test_function = self._distributed(self.test_step, moves=False)

    def _distributed(self, step, moves):
        strategy = self.distribute_strategy

        @tf.function(reduce_retracing=True)
        def run(iterator):
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
