"""Compiled networks are kept by `nets.GRAPH_VERSION`: whoever changes what a graph computes has to raise it.

Weights and images are made of a formula, so that no library's generator decides them. After a change on purpose: raise
the version and record the new numbers, which `python -m tests.nets.test_graph_version` prints.
"""

import numpy as np
import pytest

from nets import GRAPH_VERSION
from nets.backbones import BACKBONES
from nets.facenet import facenet
from nets.mtcnn import onet, pnet, rnet
from nets.retinaface import RetinaFace
from utils.config import cfg_mnet, cfg_re50

NETWORKS = {name: lambda name=name: facenet(backbone=name) for name in BACKBONES}
NETWORKS |= {
    f"{name}, symmetric": lambda name=name: facenet(backbone=name, symmetric=True)
    for name in ("arcface_mobilefacenet", "arcface_iresnet50")
}
NETWORKS |= {"retinaface_mobilenet": lambda: RetinaFace(cfg_mnet), "retinaface_resnet50": lambda: RetinaFace(cfg_re50)}
NETWORKS |= {"pnet": pnet, "rnet": rnet, "onet": onet}

RECORDED_VERSION = 1
RECORDED = {
    "mobilenet": [0.10077, 0.04932, -0.07292, -0.05313, 0.07521, 0.03994, -0.13295, 0.04877],
    "inception_resnetv1": [0.08465, 0.01268, 0.07027, -0.00852, -0.01227, -0.12072, -0.0761, -0.11858],
    "arcface_mobilenet": [-0.01445, 0.05889, 0.03435, -0.03082, -0.0454, 0.0448, -0.11521, -0.0017],
    "arcface_mobilefacenet": [-0.00529, -0.00969, -0.04746, 0.02852, -0.05157, 0.07952, 0.00251, -0.01652],
    "arcface_iresnet50": [0.01488, 0.03194, 0.02374, 0.05698, -0.03498, 0.03995, -0.00933, 0.00733],
    "arcface_mobilefacenet, symmetric": [-0.0055, -0.00992, -0.04809, 0.02863, -0.05168, 0.07951, 0.00253, -0.0165],
    "arcface_iresnet50, symmetric": [0.00717, 0.02292, 0.01803, 0.06331, 0.00086, 0.04174, -0.01498, 0.00996],
    "retinaface_mobilenet": [-0.4754, -0.0919, 0.98733, -0.77713, -0.41274, -3.69431, 1.47168, 1.22976],
    "retinaface_resnet50": [0.36285, 0.81074, 0.95406, -4.19405, 4.31298, 11.65992, -0.68268, 0.988],
    "pnet": [0.94757, 0.95357, 0.04144, -3.12839, -3.18131, -3.03847, -0.00814, 2.71835],
    "rnet": [0.27645, 0.27645, 0.72355, 1.44235, 1.44235, -1.87207, -1.02317, -0.78866],
    "onet": [0.27819, -5.26975, 2.59675, 0.00389, 0.59212, -0.7452, -2.15576, -2.41702],
}


def wave(shape, start):
    """Numbers from -1 to 1 that look random and are the same everywhere."""
    return np.sin(np.arange(start, start + np.prod(shape)) ** 2 * 0.37).reshape(shape).astype(np.float32)


def scaled(variable, values):
    """Keeps activations in range: kernels as He et al. start them, variances and scales of batch norms near 1."""
    if variable.path.endswith(("variance", "gamma")):
        return 1 + values / 4
    return values * np.sqrt(2 / np.prod(variable.shape[:-1])) if len(variable.shape) > 1 else values


def fingerprint(model):
    """Eight numbers of the network's outputs, made of fixed weights and images."""
    weights = [scaled(variable, wave(variable.shape, 17 * place)) for place, variable in enumerate(model.weights)]
    model.set_weights(weights)
    sides = [side or 64 for side in model.input_shape[1:]]
    outputs = model(wave((1, *sides), 5), training=False)
    flat = np.concatenate([np.ravel(output) for output in (outputs if isinstance(outputs, list) else [outputs])])
    return flat[np.linspace(0, len(flat) - 1, 8).astype(int)].tolist()


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_graph_computes_is_that_of_its_version(name):
    assert GRAPH_VERSION == RECORDED_VERSION, "record the outputs of the new version"
    np.testing.assert_allclose(fingerprint(NETWORKS[name]()), RECORDED[name], rtol=2e-4, atol=2e-5)


if __name__ == "__main__":
    for network in NETWORKS:
        print(f'    "{network}": {[round(number, 5) for number in fingerprint(NETWORKS[network]())]},')
