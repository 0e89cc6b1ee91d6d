"""Curves on paper: what a training run reached over time, how probabilities compare with what came true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


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
