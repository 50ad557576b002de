"""ResNet-50 (He et al., 2015, arXiv:1512.03385) as a feature extractor."""

from keras import KerasTensor, layers

from nets.layers import BatchNormalization

# stage number -> (bottleneck filters, blocks)
RESNET50 = {2: (64, 3), 3: (128, 4), 4: (256, 6), 5: (512, 3)}


def _conv_norm(
    x: KerasTensor, filters: int, kernel_size: int, stride: int, branch: str, relu: bool = True
) -> KerasTensor:
    x = layers.Conv2D(
        filters, kernel_size, strides=stride, padding="same" if kernel_size == 3 else "valid", name=f"res{branch}"
    )(x)
    x = BatchNormalization(name=f"bn{branch}")(x)
    return layers.Activation("relu", name=f"relu{branch}")(x) if relu else x


def _block(x: KerasTensor, filters: int, stride: int, project: bool, name: str) -> KerasTensor:
    y = _conv_norm(x, filters, 1, stride, f"{name}_branch2a")
    y = _conv_norm(y, filters, 3, 1, f"{name}_branch2b")
    y = _conv_norm(y, 4 * filters, 1, 1, f"{name}_branch2c", relu=False)
    if project:
        x = _conv_norm(x, 4 * filters, 1, stride, f"{name}_branch1", relu=False)
    y = layers.Add(name=f"add{name}")([y, x])
    return layers.Activation("relu", name=f"relu{name}")(y)


def resnet50(inputs: KerasTensor) -> list[KerasTensor]:
    """Returns the outputs of the last three stages of the convolutional part.

    Args:
        inputs: (B, H, W, 3) tensor, normalised "caffe".

    Returns:
        Stages 3, 4 and 5: strides 8, 16 and 32 with 512, 1024 and 2048 channels.
    """
    x = layers.ZeroPadding2D(3, name="conv1_pad")(inputs)
    x = layers.Conv2D(64, 7, strides=2, name="conv1")(x)
    x = layers.Activation("relu", name="conv1_relu")(BatchNormalization(name="bn_conv1")(x))
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(x)  # stride 4
    outputs = []
    for stage, (filters, blocks) in RESNET50.items():
        for i in range(blocks):
            stride = 2 if i == 0 and stage > 2 else 1
            x = _block(x, filters, stride, i == 0, f"{stage}{chr(ord('a') + i)}")
        outputs.append(x)
    return outputs[1:]
