"""Weight files: formats, names, downloads."""

from utils.weights.loading import load_weights, save_weights

__all__ = ["load_weights", "save_weights"]
