"""Reads the pickles of other projects without running what is in them.

Unpickling calls whatever function a file names. Here a name resolves only to the stand-ins below, which keep plain
Python values and the bytes of NumPy arrays; any other name is refused before anything is imported.
"""

import pickle
from collections.abc import Collection
from typing import Any, BinaryIO, Literal

import numpy as np


class Array:
    """Stands in for a pickled NumPy array.

    Attributes:
        code: dtype as NumPy pickles it, such as "u1", "f4", or "O8" for objects.
        data: bytes of the elements, or the list of the objects.
    """

    code: str = ""
    data: bytes | list = b""
    shape: tuple[int, ...] = ()
    order: Literal["C", "F"] = "C"

    def __setstate__(self, state: tuple) -> None:
        """Takes NumPy's (version, shape, dtype, Fortran order, bytes or objects)."""
        _, self.shape, dtype, is_fortran, data = state
        # Python 2 wrote bytes as text, which the encoding latin1 keeps byte for byte.
        self.data = data.encode("latin1") if isinstance(data, str) else data
        self.code, self.order = dtype.code, "F" if is_fortran else "C"

    def to_numpy(self, codes: Collection[str]) -> np.ndarray:
        """Returns the array; ValueError if its dtype is not one of the codes."""
        if self.code not in codes or not isinstance(self.data, bytes):
            raise ValueError(f"it holds an array of type {self.code}")
        return np.frombuffer(self.data, f"<{self.code}").reshape(self.shape, order=self.order)


class _Dtype:
    """Stands in for a pickled NumPy dtype: keeps its code, such as "u1"."""

    def __init__(self, code: str | bytes, *_: Any) -> None:
        self.code = code.decode("ascii") if isinstance(code, bytes) else code

    def __setstate__(self, state: tuple) -> None:
        if state[1] not in ("<", "|", "=", b"<", b"|", b"="):
            raise ValueError("it is not little-endian")


def _encode(text: str | bytes, encoding: str | bytes = "latin1") -> bytes:
    """Stands in for _codecs.encode, by which Python 3 writes bytes under protocol 2."""
    if encoding not in ("latin1", b"latin1"):
        raise ValueError(f"bytes encoded as {encoding!r}")
    return text.encode("latin-1") if isinstance(text, str) else text


def _scalar(dtype: _Dtype, data: bytes) -> bool:
    """Stands in for NumPy's scalars, of which only bool is known."""
    if dtype.code != "b1":
        raise ValueError(f"a label of NumPy type {dtype.code!r}")
    return data != b"\x00"


_ALLOWED = {
    ("_codecs", "encode"): _encode,
    ("builtins", "bytes"): lambda: b"",
    ("__builtin__", "bytes"): lambda: b"",
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: Array(),
    ("numpy.core.multiarray", "scalar"): _scalar,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module.replace("numpy._core", "numpy.core"), name]  # as NumPy 2 calls it
        except KeyError:
            raise ValueError(f"it asks for {module}.{name}, refused") from None


def load(file: BinaryIO, encoding: str) -> Any:
    """Returns the content of a pickle; NumPy arrays in it are `Array` objects.

    Args:
        file: open for reading in binary mode.
        encoding: of the strings that Python 2 wrote, "latin1" or "bytes".

    Raises:
        ValueError: the pickle is damaged or holds anything else.
    """
    try:
        return _Unpickler(file, encoding=encoding).load()
    except Exception as error:  # damaged or hostile data makes pickle raise nearly anything
        raise ValueError(str(error)) from error
