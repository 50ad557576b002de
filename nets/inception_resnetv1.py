"""Inception-ResNet-v1 (Szegedy et al., 2016, arXiv:1602.07261) as FaceNet uses it."""

from collections.abc import Sequence

from keras import KerasTensor, layers

from nets.layers import BatchNormalization, Scale

# Layers after the last feature map: trained while the rest is frozen. The last one gives the embedding.
HEAD = ("Bottleneck", "Bottleneck_BatchNorm")
SIGNATURE = ("Conv2d_1a_3x3",)  # layers by which a weight file is told to be of this network


def _norm(x: KerasTensor, name: str) -> KerasTensor:
    return BatchNormalization(momentum=0.995, scale=False, name=name)(x)


def _conv(
    x: KerasTensor, filters: int, kernel_size: int | tuple[int, int], name: str, strides: int = 1, padding: str = "same"
) -> KerasTensor:
    x = layers.Conv2D(filters, kernel_size, strides=strides, padding=padding, use_bias=False, name=name)(x)
    x = _norm(x, f"{name}_BatchNorm")
    return layers.Activation("relu", name=f"{name}_Activation")(x)


def _residual(
    x: KerasTensor, branches: Sequence[KerasTensor], scale: float, name: str, activate: bool = True
) -> KerasTensor:
    """Adds the scaled 1x1 projection of the concatenated branches to the block's input."""
    mixed = layers.Concatenate(name=f"{name}_Concatenate")(branches)
    up = layers.Conv2D(x.shape[-1], 1, name=f"{name}_Conv2d_1x1")(mixed)
    up = Scale(scale, name=f"{name}_Scale")(up)
    x = layers.Add(name=f"{name}_Add")([x, up])
    return layers.Activation("relu", name=f"{name}_Activation")(x) if activate else x


def _branch(x: KerasTensor, name: str, *convs: tuple) -> KerasTensor:
    """Chains convolutions (filters, kernel size, end of the name), and for a reduction (..., strides, padding)."""
    for filters, kernel_size, end, *reduction in convs:
        x = _conv(x, filters, kernel_size, f"{name}_Conv2d_{end}", *reduction)
    return x


def _block35(x: KerasTensor, name: str) -> KerasTensor:
    branch_0 = _branch(x, f"{name}_Branch_0", (32, 1, "1x1"))
    branch_1 = _branch(x, f"{name}_Branch_1", (32, 1, "0a_1x1"), (32, 3, "0b_3x3"))
    branch_2 = _branch(x, f"{name}_Branch_2", (32, 1, "0a_1x1"), (32, 3, "0b_3x3"), (32, 3, "0c_3x3"))
    return _residual(x, [branch_0, branch_1, branch_2], 0.17, name)


def _factorised_block(
    x: KerasTensor, filters: int, length: int, scale: float, name: str, activate: bool = True
) -> KerasTensor:
    """Block17 (1x7, 7x1) and Block8 (1x3, 3x1): one asymmetric pair in the second branch."""
    branch_0 = _branch(x, f"{name}_Branch_0", (filters, 1, "1x1"))
    pair = (filters, (1, length), f"0b_1x{length}"), (filters, (length, 1), f"0c_{length}x1")
    branch_1 = _branch(x, f"{name}_Branch_1", (filters, 1, "0a_1x1"), *pair)
    return _residual(x, [branch_0, branch_1], scale, name, activate)


def _reduction_a(x: KerasTensor) -> KerasTensor:
    branch_0 = _branch(x, "Mixed_6a_Branch_0", (384, 3, "1a_3x3", 2, "valid"))
    branch_1 = _branch(x, "Mixed_6a_Branch_1", (192, 1, "0a_1x1"), (192, 3, "0b_3x3"), (256, 3, "1a_3x3", 2, "valid"))
    pool = layers.MaxPooling2D(3, strides=2, name="Mixed_6a_Branch_2_MaxPool_1a_3x3")(x)
    return layers.Concatenate(name="Mixed_6a")([branch_0, branch_1, pool])


def _reduction_b(x: KerasTensor) -> KerasTensor:
    branch_0 = _branch(x, "Mixed_7a_Branch_0", (256, 1, "0a_1x1"), (384, 3, "1a_3x3", 2, "valid"))
    branch_1 = _branch(x, "Mixed_7a_Branch_1", (256, 1, "0a_1x1"), (256, 3, "1a_3x3", 2, "valid"))
    branch_2 = _branch(x, "Mixed_7a_Branch_2", (256, 1, "0a_1x1"), (256, 3, "0b_3x3"), (256, 3, "1a_3x3", 2, "valid"))
    pool = layers.MaxPooling2D(3, strides=2, name="Mixed_7a_Branch_3_MaxPool_1a_3x3")(x)
    return layers.Concatenate(name="Mixed_7a")([branch_0, branch_1, branch_2, pool])


def inception_resnetv1(
    inputs: KerasTensor, embedding_size: int = 128, keep_probability: float = 0.5, symmetric: bool = False
) -> KerasTensor:
    """Returns the (B, embedding_size) embedding before L2 of Inception-ResNet-v1.

    Args:
        inputs: (B, 160, 160, 3) tensor, normalised.
        embedding_size: numbers in an embedding: 128 in FaceNet in Keras, 512 in FaceNet in TensorFlow.
        keep_probability: of the dropout before the embedding.
        symmetric: has no effect: every strided convolution is "valid", the same in PyTorch.
    """
    x = _conv(inputs, 32, 3, SIGNATURE[0], strides=2, padding="valid")  # 79 x 79 x 32
    x = _conv(x, 32, 3, "Conv2d_2a_3x3", padding="valid")  # 77 x 77 x 32
    x = _conv(x, 64, 3, "Conv2d_2b_3x3")  # 77 x 77 x 64
    x = layers.MaxPooling2D(3, strides=2, name="MaxPool_3a_3x3")(x)  # 38 x 38 x 64
    x = _conv(x, 80, 1, "Conv2d_3b_1x1", padding="valid")  # 38 x 38 x 80
    x = _conv(x, 192, 3, "Conv2d_4a_3x3", padding="valid")  # 36 x 36 x 192
    x = _conv(x, 256, 3, "Conv2d_4b_3x3", strides=2, padding="valid")  # 17 x 17 x 256
    for i in range(1, 6):
        x = _block35(x, f"Block35_{i}")  # 17 x 17 x 256
    x = _reduction_a(x)  # 8 x 8 x 896
    for i in range(1, 11):
        x = _factorised_block(x, 128, 7, 0.1, f"Block17_{i}")  # 8 x 8 x 896
    x = _reduction_b(x)  # 3 x 3 x 1792
    for i in range(1, 6):
        x = _factorised_block(x, 192, 3, 0.2, f"Block8_{i}")  # 3 x 3 x 1792
    x = _factorised_block(x, 192, 3, 1.0, "Block8_6", activate=False)  # 3 x 3 x 1792
    x = layers.GlobalAveragePooling2D(name="AvgPool")(x)  # 1792
    x = layers.Dropout(1.0 - keep_probability, name="Dropout")(x)
    bottleneck, norm = HEAD
    x = layers.Dense(embedding_size, use_bias=False, name=bottleneck)(x)  # D
    return _norm(x, norm)
