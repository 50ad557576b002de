"""Weight files: their formats and names, downloads, and the cards that describe them.

It may import the floors below (README.md, "Where things are") and nets/. Users get `load_weights`, `read_card`,
`read_weight_file`, `save_weights`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {"load_weights": "loading", "read_card": "cards", "read_weight_file": "weight_files", "save_weights": "loading"},
)
