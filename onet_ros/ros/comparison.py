"""Reconstructed objects against the true ones: which is which, how good, and the table that says so. Needs no ROS."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import trimesh
from scipy.optimize import linear_sum_assignment

from onet_ros.learning.metrics import iou, surface_metrics

MISSING = "missing"


@dataclass(frozen=True)
class ComparedObject:
    """One line of the table.

    Attributes:
        name: of the true object; "object 3" where the truth is not known.
        number: under which the node published it; None for an object that it missed.
        size: extent along the axes of the object's frame, metres; None for an object that was missed.
        iou, chamfer_l1, f_score: against the truth; chamfer in metres; None without truth or without reconstruction.
        watertight: the mesh that came back is closed.
        visible_fraction: share of the true object that no other one hides; None where it is not known.
    """

    name: str
    number: int | None = None
    size: tuple[float, float, float] | None = None
    iou: float | None = None
    chamfer_l1: float | None = None
    f_score: float | None = None
    watertight: bool | None = None
    visible_fraction: float | None = None


def match_objects(
    reconstructed: Sequence[trimesh.Trimesh], truth: Mapping[str, trimesh.Trimesh]
) -> dict[str, int | None]:
    """Index of the reconstructed object at the place of each true one, None where there is none.

    Two objects can be the same when their axis-aligned boxes overlap; of those pairs, the ones with the nearest box
    centres are taken, every object once. Both in the same frame.
    """
    matches: dict[str, int | None] = dict.fromkeys(truth)
    if not reconstructed or not truth:
        return matches
    found = np.array([mesh.bounds for mesh in reconstructed])  # (N, 2, 3) lower and upper corner
    true = np.array([mesh.bounds for mesh in truth.values()])
    overlap = np.minimum(found[:, None, 1], true[None, :, 1]) - np.maximum(found[:, None, 0], true[None, :, 0])
    possible = (overlap > 0).all(axis=2)
    distances = np.linalg.norm(found.mean(axis=1)[:, None] - true.mean(axis=1)[None], axis=2)
    # An impossible pair costs more than all possible ones together, so that it never saves anything.
    costs = np.where(possible, distances, 1.0 + distances[possible].sum())
    names = list(truth)
    for row, column in zip(*linear_sum_assignment(costs), strict=True):
        if possible[row, column]:
            matches[names[column]] = int(row)
    return matches


def compare_objects(
    meshes: Mapping[int, trimesh.Trimesh],
    sizes: Mapping[int, tuple[float, float, float]],
    truth: Mapping[str, trimesh.Trimesh],
    visible_fractions: Mapping[str, float],
) -> list[ComparedObject]:
    """Every true object with what was made of it, then the reconstructed objects without a truth.

    Args:
        meshes: reconstructed, by number, in one frame with the truth.
        sizes: of the same objects, metres.
        truth: true meshes by name.
        visible_fractions: by name, where known.
    """
    numbers = list(meshes)
    rows = []
    for name, index in match_objects(list(meshes.values()), truth).items():
        visible_fraction = visible_fractions.get(name)
        if index is None:
            rows.append(ComparedObject(name, visible_fraction=visible_fraction))
            continue
        number = numbers.pop(numbers.index(list(meshes)[index]))
        surface = surface_metrics(meshes[number], truth[name])
        rows.append(
            ComparedObject(
                name=name,
                number=number,
                size=sizes[number],
                iou=iou(meshes[number], truth[name]),
                chamfer_l1=surface.chamfer_l1,
                f_score=surface.f_score,
                watertight=bool(meshes[number].is_watertight),
                visible_fraction=visible_fraction,
            )
        )
    for number in numbers:
        watertight = bool(meshes[number].is_watertight)
        rows.append(ComparedObject(f"object {number}", number, sizes[number], watertight=watertight))
    return rows


def format_table(rows: Sequence[ComparedObject], latency: float) -> str:
    """The rows as text: object, size in mm, IoU and Chamfer-L1 in mm against the truth, latency in ms; and their means.

    latency: seconds from the cloud's stamp to the message that all rows came in.
    """
    cells = [("object", "size (mm)", "IoU", "Chamfer-L1 (mm)", "latency (ms)")]
    for row in rows:
        if row.size is None:
            visible = "" if row.visible_fraction is None else f" ({100 * row.visible_fraction:.0f} % visible)"
            cells.append((f"{row.name}{visible}", MISSING, "-", "-", "-"))
            continue
        size = " x ".join(f"{1000 * length:.0f}" for length in row.size)
        scores = _number(row.iou, 1, 3), _number(row.chamfer_l1, 1000, 2)
        cells.append((row.name, size, *scores, _number(latency, 1000, 0)))
    scored = [(row.iou, row.chamfer_l1) for row in rows if row.iou is not None]
    if scored:
        mean_iou, mean_chamfer = np.mean(scored, axis=0)
        missing = sum(row.size is None for row in rows)
        name = f"mean of {len(scored)}, {missing} missing"
        cells.append((name, "", _number(mean_iou, 1, 3), _number(mean_chamfer, 1000, 2), ""))
    widths = [max(len(text) for text in column) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(text.rjust(width) if column else text.ljust(width) for column, (text, width) in enumerate(zipped))
        for zipped in (zip(row_cells, widths, strict=True) for row_cells in cells)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def rows_as_json(rows: Sequence[ComparedObject]) -> list[dict[str, Any]]:
    """The rows as plain dictionaries."""
    return [asdict(row) for row in rows]


def _number(value: float | None, scale: float, digits: int) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{scale * value:.{digits}f}"
