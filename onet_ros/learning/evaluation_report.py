"""What people and machines get of an evaluation: tables, JSON, contact sheets."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onet_ros import __version__
from onet_ros.learning.evaluation import OBSERVES, Result
from onet_ros.learning.observed_cases import window
from onet_ros.networks.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from onet_ros.pictures import Comparison, comparison_row, comparison_sheet, save_picture

ROWS_PER_SHEET = 12
PROCEDURAL_ONLY = "procedural objects only"

MEASURES = {
    "iou": ("IoU", 1.0, ".3f"),
    "chamfer_l1": ("Chamfer-L1 mm", 1000.0, ".2f"),
    "f_score": ("F at 5 mm", 1.0, ".3f"),
    "normal_consistency": ("normals", 1.0, ".3f"),
    "accuracy": ("accuracy mm", 1000.0, ".2f"),
    "completeness": ("completeness mm", 1000.0, ".2f"),
    "seen_error": ("seen part mm", 1000.0, ".2f"),
    "hidden_error": ("hidden part mm", 1000.0, ".2f"),
    "chamfer_l1_normalised": ("Chamfer-L1 / edge", 1.0, ".4f"),
    "f_score_normalised": ("F at 1 %", 1.0, ".3f"),
}
# Solid and thin-walled objects are averaged apart too: a wall of 2 mm makes volumetric IoU harsh.
GROUPS = ("all", "solid", "thin-walled")

Row = dict[str, Any]


def summarise(results: Sequence[Result], groups: Sequence[str] = GROUPS) -> list[Row]:
    """A row per task, group of objects and method: means over all objects, failures among them."""
    rows: list[Row] = []
    methods = list(dict.fromkeys(result.method for result in results))
    for task in dict.fromkeys(result.case.task for result in results):
        for group in groups:
            for method in methods:
                chosen = [r for r in results if r.method == method and r.case.task == task and _belongs(r, group)]
                if chosen:
                    means = {key: _mean([getattr(r.scores, key) for r in chosen]) for key in MEASURES}
                    failed = sum(r.scores.failed for r in chosen)
                    names: Row = {"task": task, "objects": group, "method": method}
                    rows.append({**names, "n": len(chosen), "failed": failed, **means})
    return rows


def _mean(scores: Sequence[float | None]) -> float | None:
    """Of the objects that have this score; None where none has."""
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if known else None


def _belongs(result: Result, group: str) -> bool:
    return group == "all" or result.case.truth.thin_walled == (group == "thin-walled")


def table(rows: Sequence[Row]) -> str:
    """Rows of `summarise` as Markdown."""
    names = ["task", "objects", "method", "n", "failed"]
    heads = [*names, *(title for title, _, _ in MEASURES.values())]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        figures = [
            "-" if row[key] is None else format(row[key] * factor, form) for key, (_, factor, form) in MEASURES.items()
        ]
        lines.append("| " + " | ".join([*(str(row[name]) for name in names), *figures]) + " |")
    return "\n".join(lines)


def failures(results: Sequence[Result]) -> list[str]:
    """A sentence for each object without a reconstruction."""
    return [
        f"{r.method}: {r.case.task} {r.case.frame} {r.case.truth.name}: {r.reason}" for r in results if r.scores.failed
    ]


def provenance(command: str, methods: dict[str, str], data: Path | None, samples: int, seed: int) -> Row:
    """What the figures can be had again from.

    Args:
        command: the command line.
        methods: label -> baseline or checkpoint folder.
        data: the evaluation folder; None for procedural objects only.
    """
    return {
        "command": command,
        "version": __version__,
        "methods": {label: {"name": name, **_checkpoint(Path(name))} for label, name in methods.items()},
        "data": {"folder": str(data) if data else PROCEDURAL_ONLY, "digest": data_digest(data) if data else ""},
        "samples": samples,
        "seed": seed,
    }


def _checkpoint(folder: Path) -> Row:
    """The weights' digest and how they came to be; nothing for a baseline."""
    if not (folder / CONFIG_FILE).is_file():
        return {}
    config = json.loads((folder / CONFIG_FILE).read_text())
    about = {key: config.get(key) for key in ("network", "observation_points", "threshold")}
    step = config.get("training", {}).get("validation", {}).get("step")
    return {**about, "step": step, "weights": hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()}


def data_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of everything that the figures depend on."""
    paths = [folder / "meshes.json", folder / "views.npz"]
    paths += [path for part in ("meshes/*.ply", "scenes/*.npz", "real/*.npz") for path in sorted(folder.glob(part))]
    digest = hashlib.sha256()
    for path in paths:
        if path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def write_report(folder: Path, results: Sequence[Result], about: Row) -> None:
    """`report.json` and `report.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    objects = [
        {
            "task": r.case.task,
            "frame": r.case.frame,
            "object": r.case.truth.name,
            "thin_walled": r.case.truth.thin_walled,
            "method": r.method,
            "seen_points": len(r.case.points),
            "background_points": 0 if r.case.background is None else len(r.case.background),
            "reason": r.reason,
            **dataclasses.asdict(r.scores),
        }
        for r in results
    ]
    record = {**about, "summary": summarise(results), "objects": objects}
    (folder / "report.json").write_text(json.dumps(record, indent=1) + "\n")
    lines = [
        "# Evaluation",
        f"`{about['command']}`",
        f"Data {about['data']['folder']}, SHA-256 {about['data']['digest']}; {about['samples']} samples a score, "
        f"seed {about['seed']}. Means over all objects; a failure counts as IoU and F-score 0 and as a distance of the "
        "longest edge.",
        table(summarise(results, GROUPS[:1])),
        "Solid and thin-walled objects apart:",
        table(summarise(results, GROUPS[1:])),
    ]
    for label, method in about["methods"].items():
        if "weights" in method:
            lines.append(f"{label}: {method['name']}, step {method['step']}, weights SHA-256 {method['weights']}")
    failed = failures(results)
    lines.append("\n".join(["Failures:", *(f"- {text}" for text in failed)]) if failed else "No failures.")
    (folder / "report.md").write_text("\n\n".join(lines) + "\n")


def write_sheets(folder: Path, results: Sequence[Result]) -> list[Path]:
    """Contact sheets of each method's answers to each task, and one of those with the lowest IoU; where they are."""
    paths: list[Path] = []
    for method in dict.fromkeys(result.method for result in results):
        own = [result for result in results if result.method == method]
        drawn = {id(result): comparison_row(_comparison(result)) for result in own}
        sheets = {
            f"{task}_{number:02d}": [result for result in own if result.case.task == task][start:end]
            for task in OBSERVES
            for number, start, end in _pages(sum(result.case.task == task for result in own))
        }
        sheets["worst"] = sorted(own, key=lambda result: result.scores.iou)[:ROWS_PER_SHEET]
        for name, chosen in sheets.items():
            title = f"{method}: {name.replace('_', ', sheet ')}"
            sheet = comparison_sheet([drawn[id(r)] for r in chosen], [_caption(r) for r in chosen], title)
            paths.append(save_picture(folder / method.replace("/", "_") / f"{name}.png", sheet))
    return paths


def _pages(count: int) -> list[tuple[int, int, int]]:
    """Number, first and end of each sheet's rows."""
    starts = range(0, count, ROWS_PER_SHEET)
    return [(number, start, start + ROWS_PER_SHEET) for number, start in enumerate(starts, start=1)]


def _comparison(result: Result) -> Comparison:
    case = result.case
    plane = None if case.plane is None else case.plane.coefficients
    given: Any = None
    if case.picture is not None:
        given = window(case.picture)
    elif case.grid is not None and case.T_cam_grid is not None:
        given = case.grid.boxes().apply_transform(case.T_cam_grid)
    return Comparison(case.points, result.mesh, case.truth.mesh, plane, given)


def _caption(result: Result) -> str:
    case, scores = result.case, result.scores
    name = f"{case.truth.name}\n{case.task} {case.frame.split('/')[-1]}"
    if scores.failed:
        return f"{name}\nfailed: {result.reason[:40]}"
    return f"{name}\nIoU {scores.iou:.2f}   F {scores.f_score:.2f}\nChamfer-L1 {1000.0 * scores.chamfer_l1:.1f} mm"
