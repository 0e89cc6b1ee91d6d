"""The figures as a page of Markdown with plots."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from onet_ros.benchmark.measurement import Timing
from onet_ros.benchmark.sections import AskedValues, Case, Contender
from onet_ros.benchmark.thin_parts import Loss
from onet_ros.surface import ExtractionSettings

if TYPE_CHECKING:
    from onet_ros.ros.node_latency import NodeLatency

NETWORK_STAGES = ("encode", "evaluate", "refine", "softness")
STAGES = (
    *NETWORK_STAGES[:2],
    "bookkeeping",
    "marching cubes",
    "refine",
    "bodies",
    "simplify",
    "collision",
    "conservative",
    "confidence",
    "softness",
    "trust",
    "serialise",
    "publish",
)


@dataclass
class Results:
    """All that was measured.

    Attributes:
        model, machine: what on what.
        command: that made the report.
    """

    model: str
    machine: str
    command: str
    scene: Timing | None = None
    cases: list[Case] = field(default_factory=list)
    textbook: list[Case] = field(default_factory=list)
    asked: list[AskedValues] = field(default_factory=list)
    contest: list[Contender] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    node: list[NodeLatency] = field(default_factory=list)


def write_report(results: Results, path: Path) -> None:
    """The page, and beside it the plot `<name>_cost.png`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plot = path.with_name(f"{path.stem}_cost.png")
    _save_plot(results, plot)
    path.write_text("\n\n".join(_sections(results, plot.name)) + "\n")


def _sections(results: Results, plot: str) -> Iterable[str]:
    yield "# What it costs"
    yield (
        f"Measured {dt.date.today().isoformat()} on {results.machine}, by `{results.command}`, which wrote this "
        f"page. Weights: {results.model}. Times are milliseconds; p50 is the median, p95 the 95th percentile of the "
        "runs."
    )
    if results.scene is not None:
        yield "## From the message to the objects' points"
        yield "A cloud of 640 x 480 points with ten objects on a table."
        yield _table(["stage", "ms"], [[name, _ms(seconds)] for name, seconds in results.scene.stages.items()])
    yield f"![Time over resolution, and over objects]({plot})"
    yield from _completion(results)
    if results.contest:
        yield from _contest(results.contest)
    if results.losses:
        yield from _losses(results.losses)
    if results.node:
        yield from _node(results.node)


def _completion(results: Results) -> Iterable[str]:
    yield "## From the objects' points to meshes and messages"
    default = ExtractionSettings().resolution
    yield (
        f"All objects side by side; the default is {default} cells along an edge. Stages are medians over the runs of "
        "their sum over the objects. `refine` is the evaluation of vertices; peak memory is beyond what the process "
        "held before the first measurement."
    )
    stages = [name for name in STAGES if any(name in case.timing.stages for case in results.cases)]
    head = ["objects", "cells", "runs", "p50", "p95", *stages, "points asked", "triangles", "peak MB"]
    yield _table(
        head,
        [
            [case.objects, case.resolution, case.timing.runs, _ms(case.timing.p50), _ms(case.timing.p95)]
            + [_ms(case.timing.stages.get(name, 0.0)) for name in stages]
            + [f"{case.timing.points_asked:,}", f"{case.triangles:,}", f"{case.timing.peak_memory / 1e6:.0f}"]
            for case in results.cases
        ],
    )
    yield from _by_object(results.cases)
    if results.textbook:
        yield "## The same weights, the paper's way"
        yield (
            "One object: plain module, 32 cells and doublings, 100,000 points at a time, marching cubes over the whole "
            "grid. No simplification, collision mesh, confidence or message, so compare with the stages up to "
            "marching cubes."
        )
        yield _table(["cells", "runs", "p50", "points asked", "ours up to the mesh", "times as fast"], _ratios(results))
    if results.asked:
        yield "## Values asked"
        yield (
            "Mean over the objects of the scene: values asked beyond the start grid, over the corners of cells that "
            "the surface crosses."
        )
        rows = [
            [one.resolution, f"{one.asked:,.0f}", f"{one.start:,.0f}", f"{one.needed:,.0f}", f"{_excess(one):.3f}"]
            for one in results.asked
        ]
        yield _table(["cells", "asked", "on the start grid", "needed", "ratio"], rows)


def _node(latencies: Sequence[NodeLatency]) -> Iterable[str]:
    yield "## The whole node"
    yield (
        "Camera, node and listener are processes on this machine, over DDS: clouds of 640 x 480 points in; objects, "
        "markers and, with MoveIt's messages, collision objects out. Latency is from a cloud's stamp to the arrival of "
        "the last message that it caused. Clouds that come while the node is busy are superseded by newer ones. By "
        "default only objects that changed are completed; `anew`: all of them, for every cloud."
    )
    head = ["objects", "clouds a second", "completed", "received", "answered", "most waiting", "p50", "p95", "MB"]
    rows = [
        [one.objects, f"{one.rate:g}", "anew" if one.anew else "what changed", one.received, one.answered]
        + [one.most_waiting, _ms(one.p50), _ms(one.p95), f"{one.memory[0]:.0f} to {one.memory[1]:.0f}"]
        for one in latencies
    ]
    yield _table(head, rows)


def _by_object(cases: Sequence[Case]) -> Iterable[str]:
    lines = []
    for case in cases:
        if case.resolution == ExtractionSettings().resolution:
            others = sum(seconds for name, seconds in case.timing.stages.items() if name not in NETWORK_STAGES)
            lines.append(f"{_ms(others / case.objects)} ms an object with {case.objects}")
    if lines:
        yield f"At the default, everything that is not the network: {', '.join(lines)}."
    alone = {case.resolution: _to_mesh(case) for case in cases if case.objects == 1}
    if 128 in alone and 256 in alone:
        yield f"From 128 to 256 cells, one object's mesh costs {alone[256] / alone[128]:.1f} times as much."


def _to_mesh(case: Case) -> float:
    """Seconds up to the mesh, before it is tidied."""
    names = ("encode", "evaluate", "bookkeeping", "marching cubes", "refine")
    return sum(case.timing.stages.get(name, 0.0) for name in names)


def _ratios(results: Results) -> list[list[str]]:
    ours = {case.resolution: _to_mesh(case) for case in results.cases if case.objects == 1}
    return [
        [str(case.resolution), str(case.timing.runs), _ms(case.timing.p50), f"{case.timing.points_asked:,}"]
        + ([_ms(own), f"{case.timing.p50 / own:.1f}"] if (own := ours.get(case.resolution)) else ["", ""])
        for case in results.textbook
    ]


def _excess(one: AskedValues) -> float:
    return (one.asked - one.start) / one.needed


def _contest(contest: Sequence[Contender]) -> Iterable[str]:
    yield "## The paper's network, its way and ours"
    yield (
        "Point-cloud configuration of Mescheder et al. (CVPR 2019) at full width (512 / 256), threshold 0.2, one "
        "object, from 300 points to a mesh. The weights are random, and least squares chose the last layer so that "
        "the field is a mug. IoU and Chamfer distance are against that mug; in brackets, the change against the first "
        "row."
    )
    first = contest[0]
    yield _table(
        ["", "runs", "p50", "p95", "encode", "evaluate", "points asked", "times as fast", "IoU", "Chamfer"],
        [
            [
                one.name,
                one.timing.runs,
                _ms(one.timing.p50),
                _ms(one.timing.p95),
                _ms(one.timing.stages["encode"]),
                _ms(one.timing.stages["evaluate"] + one.timing.stages.get("refine", 0.0)),
                f"{one.timing.points_asked:,}",
                f"{first.timing.p50 / one.timing.p50:.1f}",
                f"{one.iou:.4f} ({100 * (one.iou / first.iou - 1):+.2f} %)",
                f"{one.chamfer:.5f} ({100 * (one.chamfer / first.chamfer - 1):+.2f} %)",
            ]
            for one in contest
        ],
    )


def _losses(losses: Sequence[Loss]) -> Iterable[str]:
    yield "## What following the surface misses"
    yield (
        "Fifty shapes, each a body, a thin plate, a thin rod and two small balls at random, against every corner of "
        "the grid at 64 cells along an edge of the box. They are 0.036 to 0.08 of the box thick, where a cell of the "
        "start grid of 16 has 0.069 and a final one 0.017. Seeds are points of the side that a camera sees. Chamfer "
        "distance is in edges of the box."
    )
    yield _table(
        ["start grid", "seeds", "parts", "missed", "Chamfer", "values asked, of all"],
        [
            [one.start_resolution, "yes" if one.seeded else "no", one.parts, one.missed]
            + [f"{one.chamfer:.6f}", f"{one.points_asked:.1%}"]
            for one in losses
        ],
    )


def _save_plot(results: Results, path: Path) -> None:
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display
    over_resolution, over_objects = figure.subplots(1, 2)
    for count in sorted({case.objects for case in results.cases}):
        own = sorted((case.resolution, case.timing.p50) for case in results.cases if case.objects == count)
        name = "1 object" if count == 1 else f"{count} objects"
        over_resolution.plot(*_milliseconds(own), marker="o", label=f"{name}, to the message")
    plain = [(case.resolution, case.timing.p50) for case in results.textbook]
    if plain:
        label = "1 object, the paper's way, to the mesh"
        over_resolution.plot(*_milliseconds(plain), marker="s", linestyle="--", color="black", label=label)
    resolutions = sorted({case.resolution for case in results.cases + results.textbook})
    over_resolution.set(xlabel="cells along an edge", ylabel="ms, median", xscale="log")
    over_resolution.set_xticks(resolutions, [str(resolution) for resolution in resolutions])
    over_resolution.minorticks_off()
    for resolution in sorted({case.resolution for case in results.cases}):
        own = sorted((case.objects, case.timing.p50) for case in results.cases if case.resolution == resolution)
        over_objects.plot(*_milliseconds(own), marker="o", label=f"{resolution} cells")
    over_objects.set(xlabel="objects", xticks=sorted({case.objects for case in results.cases}))
    for axes in (over_resolution, over_objects):
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(frameon=False, fontsize=7)
    figure.savefig(path, dpi=110)


def _milliseconds(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [x for x, _ in points], [1000.0 * seconds for _, seconds in points]


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _ms(seconds: float) -> str:
    milliseconds = 1000.0 * seconds
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.1f}" if np.isfinite(milliseconds) else "-"
