"""P-Net, R-Net and O-Net, the three stages of the MTCNN face detector.

Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
Networks", IEEE Signal Processing Letters 23(10), 2016. Layer names are those of the published
`det1.npy`, `det2.npy`, `det3.npy`; utils.weights.mtcnn_npy turns those files into this layout.

Every network takes RGB images normalised with (x - 127.5) / 128, rows first like any other
image here, and returns `prob` (..., 2), the softmax over (not a face, face), then the box
offsets (..., 4): left, top, right, bottom edge, each in widths or heights of the box it corrects.

The PReLU is Keras's own: its formula is the one that LiteRT turns into a single op, which makes
these networks a quarter faster there than nets.layers.PReLU.
"""

import keras
from keras import KerasTensor, layers

PNET_CELL = 12
PNET_STRIDE = 2
RNET_SIDE = 24
ONET_SIDE = 48


def _conv_prelu(x: KerasTensor, filters: int, kernel_size: int, conv_name: str, prelu_name: str) -> KerasTensor:
    x = layers.Conv2D(filters, kernel_size, name=conv_name)(x)
    return layers.PReLU(shared_axes=[1, 2], name=prelu_name)(x)


def _dense_prelu(x: KerasTensor, units: int, dense_name: str, prelu_name: str) -> KerasTensor:
    x = layers.Dense(units, name=dense_name)(x)
    return layers.PReLU(name=prelu_name)(x)


def pnet() -> keras.Model:
    """Builds the proposal network, fully convolutional: one 12x12 cell every 2 pixels.

    Returns:
        A model from (B, H, W, 3), H and W at least 12, to `prob` (B, h, w, 2) and offsets
        (B, h, w, 4), where h = ceil((H - 2) / 2) - 4 and w likewise. Cell (i, j) looks at
        rows 2i to 2i + 11 and columns 2j to 2j + 11.
    """
    inputs = keras.Input((None, None, 3), name="image")
    x = _conv_prelu(inputs, 10, 3, "conv1", "PReLU1")
    x = layers.MaxPooling2D(2, 2, padding="same", name="pool1")(x)
    x = _conv_prelu(x, 16, 3, "conv2", "PReLU2")
    x = _conv_prelu(x, 32, 3, "conv3", "PReLU3")
    logits = layers.Conv2D(2, 1, name="conv4-1")(x)
    offsets = layers.Conv2D(4, 1, name="conv4-2")(x)
    return keras.Model(inputs, [layers.Softmax(name="prob")(logits), offsets], name="pnet")


def rnet() -> keras.Model:
    """Builds the refinement network.

    Returns:
        A model from (B, 24, 24, 3) to `prob` (B, 2) and offsets (B, 4).
    """
    inputs = keras.Input((RNET_SIDE, RNET_SIDE, 3), name="image")
    x = _conv_prelu(inputs, 28, 3, "conv1", "prelu1")  # 22 x 22 x 28
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)  # 11 x 11 x 28
    x = _conv_prelu(x, 48, 3, "conv2", "prelu2")  # 9 x 9 x 48
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)  # 4 x 4 x 48
    x = _conv_prelu(x, 64, 2, "conv3", "prelu3")  # 3 x 3 x 64
    x = layers.Flatten(name="flatten")(x)
    x = _dense_prelu(x, 128, "conv4", "prelu4")
    logits = layers.Dense(2, name="conv5-1")(x)
    offsets = layers.Dense(4, name="conv5-2")(x)
    return keras.Model(inputs, [layers.Softmax(name="prob")(logits), offsets], name="rnet")


def onet() -> keras.Model:
    """Builds the output network.

    Returns:
        A model from (B, 48, 48, 3) to `prob` (B, 2), offsets (B, 4) and landmarks (B, 10):
        x1, y1, ..., x5, y5 in widths and heights of the box, from its top left corner.
    """
    inputs = keras.Input((ONET_SIDE, ONET_SIDE, 3), name="image")
    x = _conv_prelu(inputs, 32, 3, "conv1", "prelu1")  # 46 x 46 x 32
    x = layers.MaxPooling2D(3, 2, padding="same", name="pool1")(x)  # 23 x 23 x 32
    x = _conv_prelu(x, 64, 3, "conv2", "prelu2")  # 21 x 21 x 64
    x = layers.MaxPooling2D(3, 2, name="pool2")(x)  # 10 x 10 x 64
    x = _conv_prelu(x, 64, 3, "conv3", "prelu3")  # 8 x 8 x 64
    x = layers.MaxPooling2D(2, 2, padding="same", name="pool3")(x)  # 4 x 4 x 64
    x = _conv_prelu(x, 128, 2, "conv4", "prelu4")  # 3 x 3 x 128
    x = layers.Flatten(name="flatten")(x)
    x = _dense_prelu(x, 256, "conv5", "prelu5")
    logits = layers.Dense(2, name="conv6-1")(x)
    offsets = layers.Dense(4, name="conv6-2")(x)
    landmarks = layers.Dense(10, name="conv6-3")(x)
    outputs = [layers.Softmax(name="prob")(logits), offsets, landmarks]
    return keras.Model(inputs, outputs, name="onet")
