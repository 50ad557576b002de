"""MobileFaceNet (Chen et al., 2018, arXiv:1804.07573)."""

from keras import KerasTensor, layers

from nets.layers import BatchNormalization, PReLU, strided_padding

# Layers after the last feature map: trained while the rest is frozen. The last one gives the embedding.
HEAD = ("sep", "sep_bn", "sep_prelu", "gdc_dw", "gdc_dw_bn", "linear", "embedding")
SIGNATURE = HEAD[-1:]  # layers by which a weight file is told to be of this network

# Where `nets.block_distillation` cuts the network.
MOBILEFACENET_BLOCKS = (
    *("conv2_dw_prelu", "conv_23_project_bn", *(f"conv_3_{i}_add" for i in range(4))),
    *("conv_34_project_bn", *(f"conv_4_{i}_add" for i in range(6))),
    *("conv_45_project_bn", *(f"conv_5_{i}_add" for i in range(2)), "Prelogits"),
)


def _norm(x: KerasTensor, name: str) -> KerasTensor:
    return BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)


def _conv(x: KerasTensor, filters: int, name: str, activate: bool = True) -> KerasTensor:
    x = layers.Conv2D(filters, 1, use_bias=False, name=name)(x)
    x = _norm(x, name)
    return PReLU(name=f"{name}_prelu")(x) if activate else x


def _depthwise(x: KerasTensor, stride: int, name: str, symmetric: bool) -> KerasTensor:
    x, padding = strided_padding(x, 3, stride, symmetric, name)
    x = layers.DepthwiseConv2D(3, strides=stride, padding=padding, use_bias=False, name=name)(x)
    return PReLU(name=f"{name}_prelu")(_norm(x, name))


def _bottleneck(x: KerasTensor, expanded: int, filters: int, stride: int, name: str, symmetric: bool) -> KerasTensor:
    """Expands, filters each channel, projects; adds the input where the stride is 1."""
    y = _conv(x, expanded, f"{name}_expand")
    y = _depthwise(y, stride, f"{name}_dw", symmetric)
    y = _conv(y, filters, f"{name}_project", activate=False)
    return layers.Add(name=f"{name}_add")([y, x]) if stride == 1 else y


def _residual_stage(x: KerasTensor, count: int, expanded: int, name: str, symmetric: bool) -> KerasTensor:
    for i in range(count):
        x = _bottleneck(x, expanded, x.shape[-1], 1, f"{name}_{i}", symmetric)
    return x


def mobilefacenet(
    inputs: KerasTensor, embedding_size: int = 128, keep_probability: float = 1.0, symmetric: bool = False
) -> KerasTensor:
    """Returns the (B, embedding_size) embedding before L2 of MobileFaceNet as ArcFace's authors trained it.

    Args:
        inputs: (B, 112, 112, 3) tensor, normalised "symmetric".
        embedding_size: numbers in an embedding.
        keep_probability: has no effect, as there is no dropout; all backbones share one signature.
        symmetric: whether strided convolutions pad as PyTorch's do.
    """
    x, padding = strided_padding(inputs, 3, 2, symmetric, "conv1")
    x = layers.Conv2D(64, 3, strides=2, padding=padding, use_bias=False, name="conv1")(x)
    x = PReLU(name="conv1_prelu")(_norm(x, "conv1"))  # 56 x 56 x 64
    x = _depthwise(x, 1, "conv2_dw", symmetric)  # 56 x 56 x 64
    x = _bottleneck(x, 128, 64, 2, "conv_23", symmetric)  # 28 x 28 x 64
    x = _residual_stage(x, 4, 128, "conv_3", symmetric)  # 28 x 28 x 64
    x = _bottleneck(x, 256, 128, 2, "conv_34", symmetric)  # 14 x 14 x 128
    x = _residual_stage(x, 6, 256, "conv_4", symmetric)  # 14 x 14 x 128
    x = _bottleneck(x, 512, 128, 2, "conv_45", symmetric)  # 7 x 7 x 128
    x = _residual_stage(x, 2, 256, "conv_5", symmetric)  # 7 x 7 x 128
    separable, _, _, depthwise, _, linear, embedding = HEAD
    x = _conv(x, 512, separable)  # 7 x 7 x 512
    x = layers.DepthwiseConv2D(x.shape[1:3], use_bias=False, name=depthwise)(x)  # 1 x 1 x 512
    x = _norm(x, depthwise)
    x = layers.Conv2D(embedding_size, 1, use_bias=False, name=linear)(x)  # 1 x 1 x 128
    x = BatchNormalization(epsilon=1e-5, name=embedding)(x)
    return layers.Flatten(name="flatten")(x)
