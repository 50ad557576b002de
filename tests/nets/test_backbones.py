import pytest

from nets.backbones import BACKBONES, find_backbone
from nets.normalization import NORMALIZATIONS

PUBLISHED = {  # input side, D, normalisation
    "mobilenet": (160, 128, "unit"),
    "inception_resnetv1": (160, 128, "unit"),
    "arcface_mobilenet": (112, 512, "symmetric"),
    "arcface_mobilefacenet": (112, 128, "symmetric"),
    "arcface_iresnet50": (112, 512, "symmetric"),
}


def test_registry_holds_the_published_networks():
    assert {
        name: (b.input_shape[0], b.embedding_size, b.normalization) for name, b in BACKBONES.items()
    } == PUBLISHED


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
