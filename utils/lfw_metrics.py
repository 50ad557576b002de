"""Hands on `utils.evaluation.lfw_metrics`, and rates of `roc`, under the name that users of the originals know."""

from utils.evaluation.lfw_metrics import distance, evaluate
from utils.evaluation.roc import best_threshold, equal_error_rate, tar_at_far

__all__ = ["best_threshold", "distance", "equal_error_rate", "evaluate", "tar_at_far"]
