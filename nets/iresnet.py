"""Improved residual network of ArcFace (Duta et al., 2020, arXiv:2004.04989; ArcFace's "IR-50")."""

from keras import KerasTensor, layers

from nets.layers import BatchNormalization, PReLU, strided_padding
from nets.mobilenet import FLAT_HEAD, flat_embedding

# stage number -> (filters, blocks)
IRESNET50 = {2: (64, 3), 3: (128, 4), 4: (256, 14), 5: (512, 3)}

SIGNATURE = ("res2a_branch2a", FLAT_HEAD[-1])  # layers by which a weight file is told to be of this network


def _norm(x: KerasTensor, name: str) -> KerasTensor:
    return BatchNormalization(epsilon=1e-5, name=name)(x)


def _block(x: KerasTensor, filters: int, stride: int, name: str, symmetric: bool) -> KerasTensor:
    """BN - conv - BN - PReLU - conv - BN, added to the input or its strided projection."""
    y = _norm(x, f"bn{name}_branch2")
    y = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"res{name}_branch2a")(y)
    y = _norm(y, f"bn{name}_branch2a")
    y = PReLU(name=f"prelu{name}_branch2a")(y)
    conv_name = f"res{name}_branch2b"
    y, padding = strided_padding(y, 3, stride, symmetric, conv_name)
    y = layers.Conv2D(filters, 3, strides=stride, padding=padding, use_bias=False, name=conv_name)(y)
    y = _norm(y, f"bn{name}_branch2b")
    if stride == 2:
        x = layers.Conv2D(filters, 1, strides=2, use_bias=False, name=f"res{name}_branch1")(x)
        x = _norm(x, f"bn{name}_branch1")
    return layers.Add(name=f"add{name}")([y, x])


def iresnet50(
    inputs: KerasTensor, embedding_size: int = 512, keep_probability: float = 0.5, symmetric: bool = False
) -> KerasTensor:
    """Returns the (B, embedding_size) embedding before L2 of iResNet-50.

    Args:
        inputs: (B, 112, 112, 3) tensor, normalised "symmetric".
        embedding_size: numbers in an embedding.
        keep_probability: of the dropout before the embedding.
        symmetric: whether strided convolutions pad as PyTorch's do.
    """
    x = layers.Conv2D(64, 3, padding="same", use_bias=False, name="conv1")(inputs)
    x = PReLU(name="conv1_prelu")(_norm(x, "bn_conv1"))  # 112 x 112 x 64
    for stage, (filters, blocks) in IRESNET50.items():
        for i in range(blocks):  # 56, 28, 14, 7 pixels wide after the stages
            x = _block(x, filters, 2 if i == 0 else 1, f"{stage}{chr(ord('a') + i)}", symmetric)
    return flat_embedding(x, embedding_size, keep_probability)
