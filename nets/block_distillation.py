"""A student that learns a teacher of its own architecture block by block.

After Wang et al., "Progressive Blockwise Knowledge Distillation", IJCAI 2018, but all blocks at
once: each sees what the teacher's block sees, so none waits for another.
"""

from collections.abc import Iterator, Mapping, Sequence

import keras
import tensorflow as tf


def split_blocks(network: keras.Model, last_layers: Sequence[str]) -> list[tuple[list[int], keras.Model]]:
    """Returns the blocks that a network is cut into; they share its weights.

    Args:
        network: functional Keras model of one input.
        last_layers: names of the layers that end a block, each after those that it builds on.

    Returns:
        A pair (sources, block) for each name: the outputs that the block takes, as numbers of
        earlier names or -1 for the network's input, and the Keras model from those to the named
        layer's output.
    """
    tensors = [network.input, *(network.get_layer(name).output for name in last_layers)]
    blocks = []
    for number, end in enumerate(tensors[1:], start=1):
        sources = sorted(_sources(end, {id(tensor): i for i, tensor in enumerate(tensors[:number])}))
        blocks.append(([i - 1 for i in sources], keras.Model([tensors[i] for i in sources], end)))
    return blocks


def _sources(end: keras.KerasTensor, known: Mapping[int, int]) -> set[int]:
    """Returns the numbers of the nearest tensors, known by their ids, that `end` is computed from."""
    history = end._keras_history
    inputs = history.operation._inbound_nodes[history.node_index].input_tensors
    return set().union(*({known[id(x)]} if id(x) in known else _sources(x, known) for x in inputs))


class BlockDistillation:
    """Each block of a student learns the output of the teacher's block.

    Each block sees the teacher's features, so it learns in few steps. Errors that accumulate over
    the blocks are corrected afterwards by loss `distill`, or by `retinaface_distill`, where a block
    sees the student's own features. A block that ends in an addition is taken for a residual one,
    from one source.
    """

    def __init__(
        self, student: keras.Model, teacher: keras.Model, last_layers: Sequence[str], guided: bool = True
    ) -> None:
        """Cuts both networks, of one architecture, behind the same layers; see `split_blocks`.

        Args:
            student: Keras model to train.
            teacher: Keras model.
            last_layers: names of the layers that end a block.
            guided: whether a block is given the teacher's features, or the student's own.
        """
        self.blocks = split_blocks(student, last_layers)
        self._guided = guided
        ends = [teacher.get_layer(name).output for name in last_layers]
        # A closure hides the teacher from Keras, which would count its weights as the trainer's.
        features = keras.Model(teacher.input, ends)
        self._teach = lambda images: features(images, training=False)

    def calibrate(self, images: tf.Tensor) -> None:
        """Sets each block's last batch norm to the mean and spread of what the block has to add.

        Blocks without a batch norm of their output's size are left as they are. Without this, the
        first thousand steps go into shrinking what residual blocks add.

        Args:
            images: (B, H, W, 3), normalised.
        """
        for block, _, _, spread in self._lessons(images):
            norms = [x for x in block.layers if isinstance(x, keras.layers.BatchNormalization)]
            mean, variance = tf.nn.moments(spread, list(range(len(spread.shape) - 1)))
            if norms and norms[-1].gamma.shape == variance.shape:
                norms[-1].gamma.assign(tf.sqrt(variance))
                norms[-1].beta.assign(mean)

    def __call__(self, images: tf.Tensor, training: bool) -> tf.Tensor:
        """Returns the mean over the blocks of `relative_error`, a scalar; see `compare`."""
        return self.mean_error(self.compare(images, training))

    def compare(self, images: tf.Tensor, training: bool) -> list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        """Returns the outputs of both networks, block by block.

        Args:
            images: (B, H, W, 3), normalised.
            training: whether the student's batch norms use the batch.

        Returns:
            For each block its output, the teacher's, and the values whose spread its error is
            measured by, all (B, ..., C); see `relative_error`.
        """
        own, compared = {-1: images}, []
        for number, (block, sources, target, spread) in enumerate(self._lessons(images)):
            if not self._guided:
                sources = [own[source] for source in self.blocks[number][0]]
            own[number] = block(sources, training=training)
            compared.append((own[number], target, spread))
        return compared

    @staticmethod
    def mean_error(compared: Sequence[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]) -> tf.Tensor:
        """Returns the mean over the blocks of `relative_error`, a scalar."""
        return tf.add_n([relative_error(*block) for block in compared]) / len(compared)

    def _lessons(self, images: tf.Tensor) -> Iterator[tuple[keras.Model, list[tf.Tensor], tf.Tensor, tf.Tensor]]:
        """Yields each block, the teacher's inputs and output of it, and what it has to add.

        What it has to add is the output less the input of its shortcut, where there is one.
        """
        targets = [tf.stop_gradient(x) for x in self._teach(images)]
        known = [*targets, images]  # so that -1 is the input
        for (numbers, block), target in zip(self.blocks, targets, strict=True):
            sources = [known[number] for number in numbers]
            shortcut = isinstance(block.layers[-1], keras.layers.Add)
            yield block, sources, target, target - sources[0] if shortcut else target


def relative_error(outputs: tf.Tensor, targets: tf.Tensor, spread: tf.Tensor) -> tf.Tensor:
    """Returns the mean squared error over a channel's variance: 0 is equal, about 1 is chance.

    Args:
        outputs: (B, ..., C).
        targets: (B, ..., C), what they should be.
        spread: (B, ..., C), whose variances divide the error; a tenth of their mean over all
            channels is added, for channels that hardly vary.

    Returns:
        float32 scalar.
    """
    axes = list(range(len(targets.shape) - 1))
    error = tf.cast(tf.math.squared_difference(outputs, targets), tf.float32)
    # a replica may get no images: its error is 0, not NaN
    count = tf.maximum(tf.size(error) // error.shape[-1], 1)
    variance = tf.math.reduce_variance(tf.cast(spread, tf.float32), axes)
    variance = tf.where(tf.math.is_finite(variance), variance, 1.0)
    floor = 0.1 * tf.reduce_mean(variance) + keras.config.epsilon()
    error = tf.reduce_sum(error, axes) / tf.cast(count, tf.float32)
    return tf.reduce_mean(error / (variance + floor))
