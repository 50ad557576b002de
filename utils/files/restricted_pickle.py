"""Pickles of other projects, read without running what is in them."""

import pickle

# What the pickle module documents or shows for broken or hostile data.
UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
)


class Array:
    """Stand-in for a pickled NumPy array: keeps the raw bytes, lets NumPy interpret nothing."""

    data = b""

    def __setstate__(self, state):
        """Takes NumPy's (version, shape, dtype, Fortran order, bytes)."""
        _, shape, dtype, _, data = state
        if dtype.code not in ("u1", "b1") or len(shape) != 1 or not isinstance(data, bytes):
            raise pickle.UnpicklingError("an array in it is not one-dimensional uint8 or bool")
        self.data = data


class _Dtype:
    """Stand-in for a pickled NumPy dtype: only its code, such as "u1"."""

    def __init__(self, code, *_):
        self.code = code.decode("ascii") if isinstance(code, bytes) else code

    def __setstate__(self, state):
        """Byte order and fields do not matter for one-byte types."""


def _encode(text, encoding):
    """Bytes as Python 3 writes them under protocol 2."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}")
    return text.encode("latin-1") if isinstance(text, str) else text


def _scalar(dtype, data):
    """A pickled NumPy bool."""
    if dtype.code != "b1":
        raise pickle.UnpicklingError(f"a label of NumPy type {dtype.code!r}")
    return data != b"\x00"


_ALLOWED = {
    ("_codecs", "encode"): _encode,
    ("builtins", "bytes"): lambda: b"",
    ("__builtin__", "bytes"): lambda: b"",
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): _Dtype,
} | {
    (f"numpy.{core}.multiarray", name): stand_in
    for core in ("core", "_core")
    for name, stand_in in (("_reconstruct", lambda *_: Array()), ("scalar", _scalar))
}


class PackedUnpickler(pickle.Unpickler):
    """Unpickler that resolves no global name but those packed pair files hold."""

    def find_class(self, module: str, name: str):
        """Returns the stand-in for a name, or refuses it before anything is imported."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, refused") from None
