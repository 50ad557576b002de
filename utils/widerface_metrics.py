"""The original's name of `utils.evaluation.widerface_metrics`."""

from utils.evaluation.widerface_metrics import evaluate, evaluate_arrays

__all__ = ["evaluate", "evaluate_arrays"]
