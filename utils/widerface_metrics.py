"""The original's name of `utils.evaluation.widerface_metrics`."""

from utils.evaluation.widerface_metrics import evaluate

__all__ = ["evaluate"]
