"""Keras layers with the weights of the stock ones and cheaper TensorFlow kernels."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

PACKAGE = "faces"


@keras.saving.register_keras_serializable(package=PACKAGE)
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation that runs TensorFlow's fused kernel on (B, H, W, C) inputs.

    Weights, names, settings and inference results are those of the Keras layer, which takes about
    ten element-wise ops instead. As in Keras 2, the moving variance is updated with the unbiased
    batch variance. Inputs of another rank, and a synchronized layer, take the Keras path.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Normalises `inputs` over all axes but the last; statistics are always float32."""
        fusible = len(inputs.shape) == 4 and self.axis in (-1, 3) and not self.synchronized
        if not fusible or mask is not None:
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        scale = ops.convert_to_tensor(self.gamma) if self.scale else tf.ones(channels)
        offset = ops.convert_to_tensor(self.beta) if self.center else tf.zeros(channels)
        fused = tf.compat.v1.nn.fused_batch_norm
        if not (training and self.trainable):
            statistics = [ops.convert_to_tensor(x) for x in (self.moving_mean, self.moving_variance)]
            return fused(inputs, scale, offset, *statistics, epsilon=self.epsilon, is_training=False)[0]
        outputs, mean, variance = fused(inputs, scale, offset, epsilon=self.epsilon, is_training=True)
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return outputs


def configure_batch_norms(network: keras.Model, momentum: float | None = None, synchronized: bool = False) -> None:
    """Sets all batch normalisations of a network.

    Args:
        network: model that has not been trained yet.
        momentum: share of the old statistics kept each step; None leaves each layer's own.
        synchronized: whether statistics are of the batches of all devices.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = synchronized
            layer.momentum = momentum or layer.momentum


@keras.saving.register_keras_serializable(package=PACKAGE)
class PReLU(keras.layers.PReLU):
    """Parametric ReLU, max(x, 0) + alpha * min(x, 0), with one slope for each channel (He et al., 2015)."""

    def __init__(
        self, shared_axes: Sequence[int] | None = (1, 2), alpha_initializer: Any = None, **kwargs: Any
    ) -> None:
        """Starts at the slope 0.25 that the paper uses, unless an initializer is given."""
        initializer = alpha_initializer or keras.initializers.Constant(0.25)
        super().__init__(shared_axes=shared_axes, alpha_initializer=initializer, **kwargs)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Applies the slope to the negative part."""
        return _prelu(inputs, tf.convert_to_tensor(self.alpha))


@tf.custom_gradient
def _prelu(x: tf.Tensor, alpha: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Computes PReLU; its gradient takes half as many passes over memory as automatic differentiation."""

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        below = tf.raw_ops.ReluGrad(gradients=upstream, features=-x)  # where x < 0
        slopes = tf.raw_ops.BiasAddGrad(out_backprop=tf.cast(below * x, tf.float32))
        slopes = tf.cast(tf.reshape(slopes, alpha.shape), alpha.dtype)
        return upstream + (alpha - 1) * below, slopes

    return tf.maximum(x, 0) + alpha * tf.minimum(x, 0), gradient


@keras.saving.register_keras_serializable(package=PACKAGE)
class UpsampleLike(keras.layers.Layer):
    """Resizes a feature map to the height and width of another by nearest neighbour."""

    def call(self, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
        """Takes [source (B, h, w, C), target (B, H, W, _)] and returns (B, H, W, C)."""
        source, target = inputs
        return tf.image.resize(source, tf.shape(target)[1:3], method="nearest")

    def compute_output_shape(self, input_shape: Sequence[tuple]) -> tuple:
        """Returns the target's batch, height and width with the source's channels."""
        source, target = input_shape
        return (*target[:3], source[3])


@keras.saving.register_keras_serializable(package=PACKAGE)
class Scale(keras.layers.Layer):
    """Multiplies by a constant: the residual scaling of Inception-ResNet (Szegedy et al., 2016)."""

    def __init__(self, factor: float, **kwargs: Any) -> None:
        """Keeps the factor."""
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns inputs * factor."""
        return inputs * self.factor

    def get_config(self) -> dict[str, Any]:
        """Returns the settings that rebuild the layer."""
        return {**super().get_config(), "factor": self.factor}


def strided_padding(
    x: keras.KerasTensor, kernel_size: int, stride: int, symmetric: bool, name: str
) -> tuple[keras.KerasTensor, str]:
    """Pads the input of a convolution of stride 1 or 2 and says how the convolution must pad.

    On even sizes TensorFlow's "same" pads the end only, PyTorch pads both sides; weights trained
    with one give wrong features under the other.

    Args:
        x: (B, H, W, C) feature map.
        kernel_size: odd kernel size of the convolution that follows.
        stride: of that convolution; with 1, "same" pads both sides in TensorFlow, too.
        symmetric: whether to pad both sides, as PyTorch does, or as TensorFlow's "same".
        name: name of the convolution; the padding layer is called `<name>_pad`.

    Returns:
        The feature map, padded or not, and the `padding` argument of the convolution.
    """
    if stride == 1 or not symmetric:
        return x, "same"
    return keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x), "valid"
