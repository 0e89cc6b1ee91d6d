"""How good a method is: every object of an evaluation folder, scored, averaged and shown.

Failures are counted as scores of 0 and listed; nothing is dropped. Solid and thin-walled objects are averaged apart as
well, because a wall of 2 mm makes volumetric IoU harsh. Two runs give the same figures.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from tqdm import tqdm

from onet_ros.learning.evaluation_data import EvaluationData, Frame, Truth
from onet_ros.learning.methods import Method
from onet_ros.learning.metrics import SAMPLES, MeshScores, score_mesh
from onet_ros.reconstructor import find_objects
from onet_ros.scene import SupportPlane

# What can be evaluated: the parts of the data, scenes and captures both by true masks and by our own segmentation.
TASKS = ("views", "scenes", "scenes-own", "real", "real-own")
MINIMUM_POINTS = 20


@dataclass(frozen=True)
class Result:
    """One object of one frame: its scores, and the mesh (None where the method failed, with the reason)."""

    task: str
    frame: str
    truth: Truth
    points: NDArray[np.float32]
    mesh: trimesh.Trimesh | None
    scores: MeshScores
    reason: str = ""


def evaluate(
    method: Method,
    data: EvaluationData,
    tasks: Sequence[str] = TASKS,
    samples: int = SAMPLES,
    progress: bool = True,
) -> list[Result]:
    """Run a method on every object of the tasks; `samples` points score each.

    Raises:
        ValueError: an unknown task.
    """
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise ValueError(f"unknown tasks {unknown}; known are {', '.join(TASKS)}")
    results: list[Result] = []
    for task in tasks:
        part, _, own = task.partition("-")
        for frame in tqdm(list(data.frames(part)), desc=task, disable=not progress):
            plane, cut_outs = _own_cut_outs(frame) if own else (frame.plane, [t.indices for t in frame.truths])
            for truth, indices in zip(frame.truths, cut_outs, strict=True):
                results.append(_evaluate_object(method, task, frame, truth, plane, indices, samples))
    return results


def _evaluate_object(
    method: Method,
    task: str,
    frame: Frame,
    truth: Truth,
    plane: SupportPlane | None,
    indices: NDArray[np.int64] | None,
    samples: int,
) -> Result:
    nothing = np.zeros((0, 3), dtype=np.float32)
    if plane is None or indices is None:
        reason = "no support plane found" if plane is None else "not segmented"
        return Result(task, frame.name, truth, nothing, None, score_mesh(None, truth.mesh), reason)
    points = frame.cloud.points.reshape(-1, 3)[indices]
    mesh, reason = None, ""
    try:
        mesh = method(points, plane)
    except (ValueError, RuntimeError) as error:
        reason = str(error)
    return Result(task, frame.name, truth, points, mesh, score_mesh(mesh, truth.mesh, samples), reason)


def _own_cut_outs(frame: Frame) -> tuple[SupportPlane | None, list[NDArray[np.int64] | None]]:
    """The plane and, for each true object, the cluster our segmentation found for it (at least half of the cluster's
    pixels are the object's, and no other cluster holds more of it)."""
    scene = find_objects(frame.cloud)
    chosen: list[NDArray[np.int64] | None] = []
    for truth in frame.truths:
        shared = [np.isin(cluster.indices, truth.indices).sum() for cluster in scene.clusters]
        best = int(np.argmax(shared)) if shared else -1
        found = best >= 0 and shared[best] >= 0.5 * len(scene.clusters[best].indices)
        chosen.append(scene.clusters[best].indices if found else None)
    return scene.plane, chosen


MEASURES = {
    "iou": ("IoU", 1.0, ".3f"),
    "chamfer_l1": ("Chamfer-L1 mm", 1000.0, ".2f"),
    "f_score": ("F at 5 mm", 1.0, ".3f"),
    "normal_consistency": ("normals", 1.0, ".3f"),
    "chamfer_l1_normalised": ("Chamfer-L1 / edge", 1.0, ".4f"),
    "f_score_normalised": ("F at 1 %", 1.0, ".3f"),
}


def summarise(results: Iterable[Result]) -> list[dict[str, float | str]]:
    """A row per task, and one each for its solid and its thin-walled objects: means over all objects."""
    results = list(results)
    rows: list[dict[str, float | str]] = []
    for task in dict.fromkeys(result.task for result in results):
        chosen = [result for result in results if result.task == task]
        groups = {
            "all": chosen,
            "solid": [result for result in chosen if not result.truth.thin_walled],
            "thin-walled": [result for result in chosen if result.truth.thin_walled],
        }
        for group, members in groups.items():
            if members:
                means = {key: float(np.mean([getattr(r.scores, key) for r in members])) for key in MEASURES}
                failed = sum(r.scores.failed for r in members)
                rows.append({"task": task, "objects": group, "n": len(members), "failed": failed, **means})
    return rows


def table(rows: Sequence[dict[str, float | str]]) -> str:
    """Rows of `summarise` as Markdown."""
    heads = ["task", "objects", "n", "failed", *(title for title, _, _ in MEASURES.values())]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        figures = [format(float(row[key]) * factor, form) for key, (_, factor, form) in MEASURES.items()]
        lines.append(
            "| " + " | ".join([*(str(row[key]) for key in ("task", "objects", "n", "failed")), *figures]) + " |"
        )
    return "\n".join(lines)


def write_json(path: Path, method: str, results: Sequence[Result]) -> None:
    """All scores, for machines."""
    objects = [
        {"task": r.task, "frame": r.frame, "object": r.truth.name, "reason": r.reason, **dataclasses.asdict(r.scores)}
        for r in results
    ]
    path.write_text(json.dumps({"method": method, "summary": summarise(results), "objects": objects}, indent=1) + "\n")
