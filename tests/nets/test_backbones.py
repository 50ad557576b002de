import pytest

from nets import BACKBONE_NAMES
from nets.backbones import BACKBONES, HEAD_LAYERS, find_backbone
from nets.facenet import facenet
from nets.normalization import NORMALIZATIONS
from nets.retinaface import RetinaFace
from utils.config import cfg_mnet, cfg_re50
from utils.weights.weight_files import WeightFile

PUBLISHED = {  # input side, D, normalisation
    "mobilenet": (160, 128, "unit"),
    "inception_resnetv1": (160, 128, "unit"),
    "arcface_mobilenet": (112, 512, "symmetric"),
    "arcface_mobilefacenet": (112, 128, "symmetric"),
    "arcface_iresnet50": (112, 512, "symmetric"),
}


def test_registry_holds_the_published_networks():
    assert {name: (b.input_shape[0], b.embedding_size, b.normalization) for name, b in BACKBONES.items()} == PUBLISHED


@pytest.mark.parametrize("name", BACKBONES)
def test_entries_make_sense(name):
    backbone = find_backbone(name)
    assert backbone is BACKBONES[name]
    assert backbone.input_shape[0] == backbone.input_shape[1] and backbone.input_shape[2] == 3
    assert backbone.normalization in NORMALIZATIONS
    assert 0 < backbone.keep_probability <= 1


@pytest.mark.parametrize("name", ["MobileNet", "mobilefacenet", "", None])
def test_unknown_name_lists_the_choices(name):
    with pytest.raises(ValueError, match="mobilenet, inception_resnetv1, arcface_mobilenet"):
        find_backbone(name)


@pytest.mark.parametrize("name", BACKBONES)
def test_head_and_signature_name_layers_of_the_network(name):
    """What freezing and loading go by."""
    model = facenet(backbone=name, num_classes=2, mode="train")
    weighted = [layer.name for layer in model.layers if layer.weights]
    backbone = BACKBONES[name]
    assert weighted[-1 - len(backbone.head) : -1] == list(backbone.head)
    assert weighted[-1] in HEAD_LAYERS and weighted[-2] == backbone.head[-1]
    layers = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    assert WeightFile("x", "keras2", layers).network() == name


@pytest.mark.parametrize(("name", "cfg"), [("mobilenet", cfg_mnet), ("resnet50", cfg_re50)])
def test_detectors_are_told_by_their_layers(name, cfg):
    layers = {layer.name: [] for layer in RetinaFace(cfg).layers}
    assert WeightFile("x", "keras2", layers).network() == f"retinaface_{name}"


def test_names_are_known_without_keras():
    assert tuple(BACKBONES) == BACKBONE_NAMES
