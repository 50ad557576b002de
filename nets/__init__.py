"""Networks, layers, heads and losses of the papers, as Keras graphs."""

# Compiled networks are kept by this number. Raise it whenever a graph computes something else with the same weights
# (tests/nets/test_graph_version.py fails until then), and when files are read or converted to LiteRT otherwise.
GRAPH_VERSION = 1

# The keys of `nets.backbones.BACKBONES`, for code that must not import Keras.
BACKBONE_NAMES = ("mobilenet", "inception_resnetv1", "arcface_mobilenet", "arcface_mobilefacenet", "arcface_iresnet50")
