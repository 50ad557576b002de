"""Reads the published MTCNN weights det1.npy, det2.npy, det3.npy into the layout of nets.mtcnn.

The files are pickles of a NumPy array that holds one dict. `utils.files.restricted_pickle` reads them without running
code from them.

The weights were trained on images stored column by column (MATLAB, then Caffe): the first spatial
axis of a kernel is x. Here the axes are swapped once, on loading, so that the networks take
ordinary images. Box offsets need no such care; the ten landmark numbers come as x1..x5, y1..y5
and are put in the order x1, y1, ..., x5, y5 that the rest of this project uses.
"""

import os
from pathlib import Path

import numpy as np

from utils.files.restricted_pickle import load

Weights = dict[str, dict[str, np.ndarray]]

_LANDMARKS = "conv6-3"
_INTERLEAVED = np.arange(10).reshape(2, 5).T.ravel()
# The dense layer after `Flatten` sees a 3 x 3 map: conv4 in R-Net, conv5 in O-Net.
_AFTER_FLATTEN = ("conv4", "conv5")


def read_npy(path: str | os.PathLike) -> Weights:
    """Reads a file such as det1.npy without running code from it.

    Args:
        path: a .npy file that holds one pickled dict of dicts of float arrays.

    Returns:
        layer name -> weight name -> float32 array, laid out as stored.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another kind, or holds anything but arrays.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            (layers,) = load(file, encoding="latin1").data
        return {
            layer: {name: array.to_numpy(("f4", "f8")).astype(np.float32) for name, array in weights.items()}
            for layer, weights in layers.items()
        }
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a file of MTCNN weights ({error})") from error


def read_det_npy(path: str | os.PathLike) -> Weights:
    """Reads det1.npy, det2.npy or det3.npy as weights of pnet, rnet or onet of nets.mtcnn.

    Args:
        path: the .npy file.

    Returns:
        layer name -> {"kernel", "bias"} of a convolution or dense layer, or {"alpha"} of a PReLU,
        each in the shape of the Keras weight.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not one of MTCNN weights, or lacks part of a layer.
    """
    stored = read_npy(path)
    try:
        return {name: _to_keras(name, weights, stored) for name, weights in stored.items()}
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"{path}: not a file of MTCNN weights ({error!r})") from error


def _to_keras(name: str, weights: dict[str, np.ndarray], stored: Weights) -> dict[str, np.ndarray]:
    if "alpha" in weights:
        follows_dense = stored[name.lower().replace("prelu", "conv")]["weights"].ndim == 2
        return {"alpha": weights["alpha"] if follows_dense else weights["alpha"][None, None]}
    kernel, bias = weights["weights"], weights["biases"]
    if kernel.ndim == 4:
        kernel = kernel.swapaxes(0, 1)
    elif name in _AFTER_FLATTEN:
        kernel = kernel.reshape(3, 3, -1, kernel.shape[1]).swapaxes(0, 1).reshape(kernel.shape)
    elif name == _LANDMARKS:
        kernel, bias = kernel[:, _INTERLEAVED], bias[_INTERLEAVED]
    return {"kernel": np.ascontiguousarray(kernel), "bias": bias}
