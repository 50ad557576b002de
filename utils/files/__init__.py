"""Files: written whole or not at all, named by their content, cached, unpickled safely.

It needs no other wing. Users get `replacing`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(__name__, {"replacing": "atomic_file"})
