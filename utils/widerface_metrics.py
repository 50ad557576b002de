"""Hands on `utils.evaluation.widerface_metrics` under the name that users of the originals know."""

from utils.evaluation.widerface_metrics import evaluate, evaluate_arrays

__all__ = ["evaluate", "evaluate_arrays"]
