import keras
import numpy as np
import pytest

from nets.mtcnn import onet, pnet, rnet
from tests.shared import need
from utils.weights.loading import load_weights
from utils.weights.mtcnn_npy import read_npy

BUILDERS = {"det1.npy": pnet, "det2.npy": rnet, "det3.npy": onet}


@pytest.mark.parametrize(
    ("build", "parameters", "widths"), [(pnet, 6632, (2, 4)), (rnet, 100178, (2, 4)), (onet, 389040, (2, 4, 10))]
)
def test_sizes_are_the_published_ones(build, parameters, widths):
    model = build()
    assert model.count_params() == parameters
    assert tuple(shape[-1] for shape in model.output_shape) == widths


@pytest.mark.parametrize(("side", "cells"), [(12, 1), (13, 2), (14, 2), (47, 19)])
def test_pnet_has_a_cell_every_two_pixels(side, cells):
    prob, offsets = pnet()(np.zeros((1, side, 60, 3), np.float32))
    assert prob.shape[1:3] == offsets.shape[1:3] == (cells, 25)


def test_a_pnet_cell_sees_twelve_pixels():
    net = pnet()
    image = np.random.default_rng(0).normal(size=(1, 40, 50, 3)).astype(np.float32)
    row, column = 3, 7
    patch = image[:, 2 * row : 2 * row + 12, 2 * column : 2 * column + 12]
    for whole, cell in zip(net(image), net(patch), strict=True):
        np.testing.assert_allclose(whole[0, row, column], cell[0, 0, 0], atol=1e-5)


def fill_as_stored(model, layers):
    """Sets the weights without the swap of axes: a network for images stored by columns."""
    for name, weights in layers.items():
        layer = model.get_layer(name)
        if "alpha" in weights:
            layer.set_weights([weights["alpha"].reshape(layer.alpha.shape)])
        else:
            layer.set_weights([weights["weights"], weights["biases"]])


@pytest.mark.parametrize("file_name", BUILDERS)
def test_loaded_networks_take_images_by_rows(file_name):
    path = need(f"weights/{file_name}")
    ours, stored = BUILDERS[file_name](), BUILDERS[file_name]()
    report = load_weights(ours, path)
    assert len(report.loaded) == len(ours.weights) and not report.unused
    fill_as_stored(stored, read_npy(path))
    size = tuple(side or 40 + 6 * axis for axis, side in enumerate(ours.input_shape[1:3]))
    image = np.random.default_rng(1).uniform(-1, 1, (2, *size, 3)).astype(np.float32)

    expected = [keras.ops.convert_to_numpy(y) for y in stored(image.swapaxes(1, 2))]
    if len(expected) == 3:  # x1..x5, y1..y5 -> x1, y1, ..., x5, y5
        expected[2] = expected[2].reshape(-1, 2, 5).swapaxes(1, 2).reshape(-1, 10)
    for y, x in zip(ours(image), expected, strict=True):
        x = x.swapaxes(1, 2) if x.ndim == 4 else x
        np.testing.assert_allclose(y, x, atol=1e-5)
