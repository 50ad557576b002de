"""Files and what they are named by: written whole or not at all, told apart by content, cached.

It may import nothing of this project. Users get `replacing`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(__name__, {"replacing": "atomic_file"})
