"""Reconstructed objects against the true ones: which is which, how good, and the table that says so. Needs no ROS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import trimesh
from scipy.optimize import linear_sum_assignment

from onet_ros.learning.metrics import MeshScores, score_mesh

MISSING = "missing"


@dataclass(frozen=True)
class ComparedObject:
    """One line of the table.

    Attributes:
        name: of the true object; "object 3" where the truth is not known.
        number: under which the node published it; None for an object that it missed.
        size: extent along the axes of the object's frame, metres; None for an object that was missed.
        scores: against the truth; None without truth or without reconstruction.
        watertight: the mesh that came back is closed.
        visible_fraction: share of the true object that no other one hides; None where it is not known.
    """

    name: str
    number: int | None = None
    size: tuple[float, float, float] | None = None
    scores: MeshScores | None = None
    watertight: bool | None = None
    visible_fraction: float | None = None


def match_objects(
    reconstructed: Mapping[int, trimesh.Trimesh], truth: Mapping[str, trimesh.Trimesh]
) -> dict[str, int | None]:
    """Number of the reconstructed object at the place of each true one, None where there is none.

    Two objects can be the same when their axis-aligned boxes overlap; of those pairs, the ones with the nearest box
    centres are taken, every object once. Both in the same frame.
    """
    matches: dict[str, int | None] = dict.fromkeys(truth)
    if not reconstructed or not truth:
        return matches
    found = np.array([mesh.bounds for mesh in reconstructed.values()])  # (N, 2, 3) lower and upper corner
    true = np.array([mesh.bounds for mesh in truth.values()])
    overlap = np.minimum(found[:, None, 1], true[None, :, 1]) - np.maximum(found[:, None, 0], true[None, :, 0])
    possible = (overlap > 0).all(axis=2)
    distances = np.linalg.norm(found.mean(axis=1)[:, None] - true.mean(axis=1)[None], axis=2)
    # An impossible pair costs more than all possible ones together, so that it never saves anything.
    costs = np.where(possible, distances, 1.0 + distances[possible].sum())
    numbers, names = list(reconstructed), list(truth)
    for row, column in zip(*linear_sum_assignment(costs), strict=True):
        if possible[row, column]:
            matches[names[column]] = numbers[row]
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
    rows = []
    matches = match_objects(meshes, truth)
    for name, number in matches.items():
        visible_fraction = visible_fractions.get(name)
        if number is None:
            rows.append(ComparedObject(name, visible_fraction=visible_fraction))
            continue
        scores, watertight = score_mesh(meshes[number], truth[name]), bool(meshes[number].is_watertight)
        rows.append(ComparedObject(name, number, sizes[number], scores, watertight, visible_fraction))
    for number in sorted(meshes.keys() - set(matches.values())):
        watertight = bool(meshes[number].is_watertight)
        rows.append(ComparedObject(f"object {number}", number, sizes[number], None, watertight))
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
        iou = f"{row.scores.iou:.3f}" if row.scores else "-"
        chamfer = f"{1000 * row.scores.chamfer_l1:.2f}" if row.scores else "-"
        cells.append((row.name, size, iou, chamfer, f"{1000 * latency:.0f}"))
    scored = [(row.scores.iou, row.scores.chamfer_l1) for row in rows if row.scores]
    if scored:
        mean_iou, mean_chamfer = np.mean(scored, axis=0)
        missing = sum(row.size is None for row in rows)
        name = f"mean of {len(scored)}, {missing} missing"
        cells.append((name, "", f"{mean_iou:.3f}", f"{1000 * mean_chamfer:.2f}", ""))
    widths = [max(len(text) for text in column) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(text.rjust(width) if column else text.ljust(width) for column, (text, width) in enumerate(zipped))
        for zipped in (zip(row_cells, widths, strict=True) for row_cells in cells)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def rows_as_json(rows: Sequence[ComparedObject]) -> list[dict[str, Any]]:
    """The rows as plain dictionaries."""
    return [asdict(row) for row in rows]
