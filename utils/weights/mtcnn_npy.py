"""Reads the published MTCNN weights det1.npy, det2.npy, det3.npy into the layout of nets.mtcnn.

The files are pickles (a NumPy array that holds one dict), and unpickling runs whatever code a
file names. So they are read by an unpickler that knows plain Python values and float arrays,
which it rebuilds itself, and nothing else.

The weights were trained on images stored column by column (MATLAB, then Caffe): the first spatial
axis of a kernel is x. Here the axes are swapped once, on loading, so that the networks take
ordinary images. Box offsets need no such care; the ten landmark numbers come as x1..x5, y1..y5
and are put in the order x1, y1, ..., x5, y5 that the rest of this project uses.
"""

import os
import pickle
from pathlib import Path

import numpy as np

Weights = dict[str, dict[str, np.ndarray]]

_LANDMARKS = "conv6-3"
_INTERLEAVED = np.arange(10).reshape(2, 5).T.ravel()
# The dense layer after `Flatten` sees a 3 x 3 map: conv4 in R-Net, conv5 in O-Net.
_AFTER_FLATTEN = ("conv4", "conv5")
_MAP_SIDE = 3
_DAMAGED = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)


class _Dtype:
    """Stands in for numpy.dtype: little-endian floats, and objects for the outermost array."""

    def __init__(self, code, *_):
        self.code = code

    def __setstate__(self, state):
        if state[1] not in ("<", "|", "="):
            raise pickle.UnpicklingError("it is not little-endian")


class _Array:
    """Stands in for numpy.ndarray; `value` is the array, or the list of objects it held."""

    def __setstate__(self, state):
        _, shape, dtype, is_fortran, data = state
        if dtype.code.startswith("O"):
            self.value = data
            return
        if dtype.code not in ("f4", "f8"):
            raise pickle.UnpicklingError(f"it holds an array of type {dtype.code}")
        # Python 2 wrote the bytes as text, which `encoding="latin1"` keeps byte for byte.
        data = data.encode("latin1") if isinstance(data, str) else data
        values = np.frombuffer(data, f"<{dtype.code}").astype(np.float32)
        self.value = values.reshape(shape, order="F" if is_fortran else "C")


def _encode(text, encoding="latin1"):
    """Stands in for _codecs.encode, by which Python 3 writes bytes in an old pickle."""
    return text.encode({"latin1": "latin1"}[encoding])


class _Unpickler(pickle.Unpickler):
    _GLOBALS = {
        "numpy.core.multiarray._reconstruct": lambda *_: _Array(),
        "numpy._core.multiarray._reconstruct": lambda *_: _Array(),
        "numpy.ndarray": None,
        "numpy.dtype": _Dtype,
        "_codecs.encode": _encode,
    }

    def find_class(self, module, name):
        wanted = f"{module}.{name}"
        if wanted not in self._GLOBALS:
            raise pickle.UnpicklingError(f"it asks to run {wanted}, which weights never need")
        return self._GLOBALS[wanted]


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
            (layers,) = _Unpickler(file, encoding="latin1").load().value
        return {
            layer: {name: np.asarray(array.value, np.float32) for name, array in weights.items()}
            for layer, weights in layers.items()
        }
    except _DAMAGED as error:
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
        alpha = weights["alpha"]
        return {"alpha": alpha if follows_dense else alpha[None, None]}
    kernel, bias = weights["weights"], weights["biases"]
    if kernel.ndim == 4:
        kernel = kernel.swapaxes(0, 1)
    elif name in _AFTER_FLATTEN:
        spatial = kernel.reshape(_MAP_SIDE, _MAP_SIDE, -1, kernel.shape[1])
        kernel = spatial.swapaxes(0, 1).reshape(kernel.shape)
    elif name == _LANDMARKS:
        kernel, bias = kernel[:, _INTERLEAVED], bias[_INTERLEAVED]
    return {"kernel": np.ascontiguousarray(kernel), "bias": bias}
