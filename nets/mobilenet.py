"""MobileNetV1 (Howard et al., 2017, arXiv:1704.04861) and the two face networks built on it."""

from keras import KerasTensor, layers

from nets.layers import BatchNormalization, PReLU, strided_padding

# (pointwise filters at width 1.0, stride) of the thirteen depthwise separable blocks
BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1),
    (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip

# Layers after the last feature map of each face network: trained while the rest is frozen. The last one gives the
# embedding.
FACENET_HEAD = ("Bottleneck", "BatchNorm_Bottleneck")
FLAT_HEAD = ("bn2", "linear", "features")
ARCFACE_HEAD = ("sep", "sep_bn", "sep_prelu", *FLAT_HEAD)

# Layers by which a weight file is told to be of one of them.
FACENET_SIGNATURE = ("conv_pw_1", FACENET_HEAD[0])
ARCFACE_SIGNATURE = ("conv_pw_1", ARCFACE_HEAD[0])


def _norm_relu6(x: KerasTensor, name: str, epsilon: float) -> KerasTensor:
    x = BatchNormalization(epsilon=epsilon, name=f"{name}_bn")(x)
    return layers.Activation("relu6", name=f"{name}_relu")(x)


def _separable_block(
    x: KerasTensor, number: int, filters: int, stride: int, epsilon: float, symmetric: bool
) -> KerasTensor:
    name = f"conv_dw_{number}"
    x, padding = strided_padding(x, 3, stride, symmetric, name)
    x = layers.DepthwiseConv2D(3, strides=stride, padding=padding, use_bias=False, name=name)(x)
    x = _norm_relu6(x, name, epsilon)
    name = f"conv_pw_{number}"
    x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=name)(x)
    return _norm_relu6(x, name, epsilon)


def mobilenet_v1(
    inputs: KerasTensor, width: float = 1.0, first_stride: int = 2, epsilon: float = 1e-3, symmetric: bool = False
) -> list[KerasTensor]:
    """Returns the outputs of the thirteen blocks of the convolutional part.

    Args:
        inputs: (B, H, W, 3) tensor, normalised.
        width: multiplier of all channel counts.
        first_stride: stride of `conv1`; 2 divides the image by 32 in all, 1 by 16.
        epsilon: of the batch normalisations.
        symmetric: whether strided convolutions pad as PyTorch's do.

    Returns:
        The outputs, in order; with first_stride 2, indices 4, 10 and 12 are the last maps
        of strides 8, 16 and 32.
    """
    x, padding = strided_padding(inputs, 3, first_stride, symmetric, "conv1")
    x = layers.Conv2D(int(32 * width), 3, strides=first_stride, padding=padding, use_bias=False, name="conv1")(x)
    x = _norm_relu6(x, "conv1", epsilon)
    outputs = []
    for number, (filters, stride) in enumerate(BLOCKS, start=1):
        x = _separable_block(x, number, int(filters * width), stride, epsilon, symmetric)
        outputs.append(x)
    return outputs


def facenet_mobilenet(
    inputs: KerasTensor, embedding_size: int = 128, keep_probability: float = 0.5, symmetric: bool = False
) -> KerasTensor:
    """Returns the embedding of FaceNet in Keras before L2: (B, 160, 160, 3) -> (B, embedding_size)."""
    x = mobilenet_v1(inputs, symmetric=symmetric)[-1]  # 5 x 5 x 1024
    x = layers.GlobalAveragePooling2D(name="AvgPool")(x)  # 1024
    x = layers.Dropout(1.0 - keep_probability, name="Dropout")(x)
    bottleneck, norm = FACENET_HEAD
    x = layers.Dense(embedding_size, use_bias=False, name=bottleneck)(x)  # 128
    return BatchNormalization(momentum=0.995, scale=False, name=norm)(x)


def arcface_mobilenet(
    inputs: KerasTensor, embedding_size: int = 512, keep_probability: float = 0.5, symmetric: bool = False
) -> KerasTensor:
    """Returns the embedding of ArcFace's MobileNetV1 before L2: (B, 112, 112, 3) -> (B, embedding_size)."""
    x = mobilenet_v1(inputs, first_stride=1, epsilon=1e-5, symmetric=symmetric)[-1]  # 7 x 7 x 1024
    separable, norm, activation = ARCFACE_HEAD[:3]
    x = layers.Conv2D(512, 1, use_bias=False, name=separable)(x)  # 7 x 7 x 512
    x = BatchNormalization(epsilon=1e-5, name=norm)(x)
    x = PReLU(name=activation)(x)
    return flat_embedding(x, embedding_size, keep_probability)


def flat_embedding(x: KerasTensor, embedding_size: int, keep_probability: float) -> KerasTensor:
    """Returns ArcFace's last stage (BN - dropout - FC - BN): (B, 7, 7, C) -> (B, embedding_size)."""
    norm, linear, embedding = FLAT_HEAD
    x = BatchNormalization(epsilon=1e-5, name=norm)(x)
    x = layers.Dropout(1.0 - keep_probability, name="dropout")(x)
    x = layers.Flatten(name="flatten")(x)  # 25088
    x = layers.Dense(embedding_size, name=linear)(x)
    return BatchNormalization(epsilon=1e-5, name=embedding)(x)
