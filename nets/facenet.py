"""Recognition networks: an image in, an L2-normalised embedding out."""

from collections.abc import Sequence

import keras
from keras import layers

from nets.backbones import SCORES, find_backbone
from nets.heads import ArcMargin


def facenet(
    input_shape: Sequence[int] | None = None,
    num_classes: int | None = None,
    backbone: str = "mobilenet",
    mode: str = "predict",
    head: str = "softmax",
    embedding_size: int | None = None,
    keep_probability: float | None = None,
    symmetric: bool = False,
    sample_rate: float = 1.0,
) -> keras.Model:
    """Builds a recognition network of any backbone.

    Args:
        input_shape: (height, width, 3); None takes the backbone's own.
        num_classes: C, people to tell apart; needed in mode "train".
        backbone: a name in `nets.backbones.BACKBONES`.
        mode: "predict" or "train".
        head: in mode "train", "softmax" (dense logits of the embedding before L2, as FaceNet) or
            "arcface" (cosines to normalised class weights; the margin belongs to the loss).
        embedding_size: D; None takes the backbone's own.
        keep_probability: of the dropout; None takes the backbone's own.
        symmetric: pad strided convolutions as PyTorch does, for weights trained there.
        sample_rate: of `nets.heads.ArcMargin`.

    Returns:
        A Keras model. Input (B, H, W, 3), normalised as the backbone says. Output in mode
        "predict": "Embedding" (B, D), float32, L2-normalised; in mode "train" [scores (B, C),
        embedding (B, D)] of the layers "Scores" and "Embedding", both float32. The layer
        "Prelogits" holds the embedding before L2.

    Raises:
        ValueError: an unknown backbone, mode or head, or mode "train" without num_classes.
    """
    spec = find_backbone(backbone)
    if mode not in ("predict", "train"):
        raise ValueError(f"mode {mode!r} is neither 'predict' nor 'train'")
    if head not in ("softmax", "arcface"):
        raise ValueError(f"head {head!r} is neither 'softmax' nor 'arcface'")
    if mode == "train" and not num_classes:
        raise ValueError("mode 'train' needs num_classes, the number of people in the training set")
    inputs = keras.Input(tuple(input_shape or spec.input_shape), name="image")
    keep = spec.keep_probability if keep_probability is None else keep_probability
    x = spec.build(inputs, embedding_size or spec.embedding_size, keep, symmetric)
    prelogits = layers.Activation("linear", dtype="float32", name="Prelogits")(x)
    embedding = layers.UnitNormalization(dtype="float32", name="Embedding")(prelogits)
    if mode == "predict" or not num_classes:
        return keras.Model(inputs, embedding, name=backbone)
    if head == "arcface":
        scores = ArcMargin(num_classes, sample_rate, name=SCORES)(embedding)
    else:
        scores = layers.Dense(num_classes, dtype="float32", name=SCORES)(prelogits)
    return keras.Model(inputs, [scores, embedding], name=f"{backbone}_train")
