"""Curves on paper: what a training run reached over time, how probabilities compare with what came true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike


def save_training_curves(path: str | Path, runs: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Validation IoU over minutes, and over steps, of one or several runs, as a picture file.

    Args:
        path: .png, .svg or .pdf.
        runs: by name, the rows of a run's history, each with "step", "seconds" and "iou".

    Raises:
        ValueError: no run has a row.
    """
    if not any(runs.values()):
        raise ValueError(f"nothing to draw: {', '.join(runs) or 'no run'} has no validation yet")
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display
    over_time, over_steps = figure.subplots(1, 2, sharey=True)
    for name, rows in runs.items():
        iou = [row["iou"] for row in rows]
        over_time.plot([row["seconds"] / 60.0 for row in rows], iou, marker="o", markersize=3, label=name)
        over_steps.plot([row["step"] for row in rows], iou, marker="o", markersize=3, label=name)
    over_time.set(xlabel="minutes", ylabel="IoU, procedural validation")
    over_steps.set(xlabel="steps")
    for axes in (over_time, over_steps):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    over_steps.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def save_reliability_diagram(path: str | Path, curves: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]]) -> Path:
    """What came true over what was predicted, the better the nearer to the diagonal, and below it how often it was.

    Args:
        path: .png, .svg or .pdf; folders are made.
        curves: by name, for each bin the mean predicted probability, the observed share and the number of predictions.

    Returns:
        the path.

    Raises:
        ValueError: there is no curve.
    """
    if not curves:
        raise ValueError("nothing to draw: no curve")
    figure = Figure(figsize=(4.6, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1.0))
    above.plot([0.0, 1.0], [0.0, 1.0], color="0.6", linestyle="--", linewidth=1.0)
    for name, (predicted, observed, count) in curves.items():
        above.plot(predicted, observed, marker="o", markersize=4, label=name)
        below.plot(predicted, count, marker="o", markersize=3)
    above.set(ylabel="share inside", xlim=(0.0, 1.0), ylim=(0.0, 1.0))
    below.set(xlabel="predicted probability of being inside", ylabel="queries", yscale="log")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    above.legend(frameon=False, loc="upper left")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
