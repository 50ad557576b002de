"""Settings of the two RetinaFace networks: what they share, and what differs."""

import os

# TensorFlow's start-up notes drown a script's own lines; its warnings and errors stay.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

# RetinaFace on MobileNet 0.25. steps: pixels between anchors, per pyramid level; min_sizes: anchor
# sides in pixels, per level; variances: scale of centre and landmark offsets, and of log sizes;
# out_channels: of the pyramid; leaky: slope of its LeakyReLU; train_image_size: side of the square
# training image in pixels; loc_weight: factor of the box loss.
cfg_mnet = dict(
    name="mobilenet",
    steps=[8, 16, 32],
    min_sizes=[[16, 32], [64, 128], [256, 512]],
    variances=[0.1, 0.2],
    out_channels=64,
    leaky=0.1,
    train_image_size=832,
    loc_weight=2.0,
)
# RetinaFace on ResNet-50: a wider pyramid, with ReLU.
cfg_re50 = {**cfg_mnet, "name": "resnet50", "out_channels": 256, "leaky": 0.0}
