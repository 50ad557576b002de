"""The original's name of `utils.evaluation.lfw_metrics`."""

from utils.evaluation.lfw_metrics import evaluate

__all__ = ["evaluate"]
