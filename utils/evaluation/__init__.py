"""How good a network is: LFW's and WIDER FACE's protocols, ROC curves, calibration, cached embeddings.

It may import the floors below (README.md, "Where things are") and nets/. Users get `equal_error_rate`,
`evaluate_curves`, `evaluate_embeddings`, `read_pairs`, `tar_at_far`, `threshold_at_far`.
"""

from utils import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "equal_error_rate": "roc",
        "evaluate_curves": "widerface_metrics",
        "evaluate_embeddings": "lfw_metrics",
        "read_pairs": "lfw_pairs",
        "tar_at_far": "roc",
        "threshold_at_far": "roc",
    },
)
