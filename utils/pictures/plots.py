"""Charts of results, written as PNG or in another format, which the file's suffix decides.

They are drawn without a display and without matplotlib's global state, so several threads can draw
at once. matplotlib is imported with the first chart.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from utils.files.atomic_file import replacing

_SAME, _DIFFERENT = "#2a7f3f", "#b03a2e"


@contextmanager
def _axes(path: str | os.PathLike, title: str, x_label: str, y_label: str) -> Iterator[Any]:
    """Yields the axes of a new figure, and saves the figure when the block ends."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    yield axes
    with replacing(path) as temporary:
        figure.savefig(temporary)


def save_roc(path: str | os.PathLike, roc: Any, title: str, points: Mapping[float, float]) -> None:
    """Draws the share of same pairs accepted over the share of different pairs, on a log scale.

    Args:
        path: where to write.
        roc: the curve, a `utils.evaluation.roc.Roc`.
        title: above it.
        points: {FAR: TAR} to mark, such as the validation rates of a report.

    Raises:
        OSError: the file cannot be written.
    """
    # A log scale has no 0: what lies there is drawn at the left edge.
    lowest = min([1e-4, *(far for far in points if far > 0)])
    with _axes(path, title, "false accept rate (FAR)", "true accept rate (TAR)") as axes:
        axes.step(np.maximum(roc.far, lowest / 10), roc.tar, where="post", color=_SAME)
        for far, tar in points.items():
            axes.plot(max(far, lowest), tar, "o", color=_DIFFERENT, label=f"{tar:.4f} at {far:g}")
        axes.set(xscale="log", xlim=(lowest, 1), ylim=(0, 1.01))
        if points:
            axes.legend(loc="lower right")


def distance_shares(roc: Any, bins: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns histograms of the distances behind a ROC curve.

    Each step of the curve is a distance that some pairs have: the rise of TAR is their share of
    the same pairs, the rise of FAR their share of the different ones.

    Args:
        roc: the curve, a `utils.evaluation.roc.Roc`.
        bins: number of bins, from the smallest distance to the largest.

    Returns:
        edges (bins + 1,), and the shares (bins,) of the same and of the different pairs in each
        bin; each sums to 1.
    """
    # The distance of step i lies between thresholds i and i + 1.
    distances = (roc.thresholds[:-1] + roc.thresholds[1:]) / 2
    edges = np.histogram_bin_edges(distances, bins)
    same, _ = np.histogram(distances, edges, weights=np.diff(roc.tar))
    different, _ = np.histogram(distances, edges, weights=np.diff(roc.far))
    return edges, same, different


def save_distances(path: str | os.PathLike, roc: Any, threshold: float, title: str) -> None:
    """Draws histograms of the distances of same and different pairs, and the threshold.

    Args:
        path: where to write.
        roc: the curve of the pairs.
        threshold: of distance, marked by a line.
        title: above it.

    Raises:
        OSError: the file cannot be written.
    """
    edges, same, different = distance_shares(roc)
    with _axes(path, title, "distance", "share of pairs") as axes:
        axes.stairs(same, edges, fill=True, alpha=0.55, color=_SAME, label="same person")
        axes.stairs(different, edges, fill=True, alpha=0.55, color=_DIFFERENT, label="different people")
        axes.axvline(threshold, color="black", ls="--", label=f"threshold {threshold:.3f}")
        axes.legend()


def save_precision_recall(
    path: str | os.PathLike, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str
) -> None:
    """Draws precision over recall, one curve per setting.

    Args:
        path: where to write.
        curves: {name in the legend: (recall (T,), precision (T,))}, 0 to 1.
        title: above it.

    Raises:
        OSError: the file cannot be written.
    """
    with _axes(path, title, "recall", "precision") as axes:
        for name, (recall, precision) in curves.items():
            axes.plot(recall, precision, label=name)
        axes.set(xlim=(0, 1), ylim=(0, 1.01))
        axes.legend(loc="lower left")


def save_curves(path: str | os.PathLike, curves: Mapping[str, Sequence[float]], title: str) -> None:
    """Draws the losses of epochs 1, 2, ...

    Args:
        path: where to write.
        curves: {name in the legend: values}; lengths may differ, NaN leaves a gap.
        title: above it.

    Raises:
        OSError: the file cannot be written.
    """
    with _axes(path, title, "epoch", "loss") as axes:
        for name, values in curves.items():
            axes.plot(np.arange(1, len(values) + 1), values, label=name)
        if curves:
            axes.legend()


def save_bars(path: str | os.PathLike, bars: Mapping[str, float], title: str, x_label: str, y_label: str) -> None:
    """Draws a bar for each name.

    Args:
        path: where to write.
        bars: {name: height}, left to right.
        title: above it.
        x_label: of the names.
        y_label: of the heights.

    Raises:
        OSError: the file cannot be written.
    """
    with _axes(path, title, x_label, y_label) as axes:
        axes.bar(list(bars), list(bars.values()), color=_SAME)
        axes.grid(visible=False, axis="x")
        axes.tick_params(axis="x", rotation=90 if len(bars) > 12 else 0)
