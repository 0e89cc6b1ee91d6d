"""Do the grasp candidates hold? Each is closed on the object's true shape.

    python -m onet_ros.learning.grasp_scores --data ../shared/data/dev     # the single views of an evaluation folder
    python -m onet_ros.learning.grasp_scores --data DIR --part scenes      # its scenes: objects among their neighbours
    python -m onet_ros.learning.grasp_scores --objects 100                 # procedural objects that no training saw

Ours are sampled on the completed mesh; the baseline are those of the same sampler on the hull of the seen points and
their shadow on the table. Only objects that fit into the gripper count; those without a candidate are counted as such.
Two judges of force closure: fingertips that touch about the contacts only, as antipodal grasps are defined, and whole
pads, which touch whatever of their area meets the object first and so are harder to please.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from tqdm import tqdm

from onet_ros.completion import CompletionSettings, ObjectCompleter
from onet_ros.grasping import Grasp, GraspScene, GraspSettings, Gripper, sample_grasps
from onet_ros.grasping.closing import closing_cosines, pad_places
from onet_ros.grasping.room import touches
from onet_ros.learning.evaluation_data import PARTS, EvaluationData
from onet_ros.learning.methods import table_hull
from onet_ros.learning.procedural_data import ProceduralData
from onet_ros.learning.trust_scores import Seen, seen_objects
from onet_ros.networks import load_checkpoint
from onet_ros.ray_casting import RayScene
from onet_ros.scene import SupportPlane
from onet_ros.surface import ExtractionSettings, SurfaceError

TIP_PATCH = 0.003  # metres about a contact that a fingertip touches
TIP_YIELD = 0.002  # metres that it gives way
SURFACE_POINTS = 4000  # of each true object, that must not be in the open gripper
OURS, BASELINE = "completed mesh", "table hull"


@dataclass(frozen=True)
class GraspScores:
    """Of the candidates of one object, best first.

    Attributes:
        reliable: whether the completed object is; the node gives no candidates on others.
        tips, pads: (N,) whether each holds in force closure, with fingertips and with whole pads.
        colliding: (N,) whether its open gripper hits something.
    """

    name: str
    method: str
    reliable: bool
    tips: NDArray[np.bool_]
    pads: NDArray[np.bool_]
    colliding: NDArray[np.bool_]


def held(
    truth: RayScene, grasps: Sequence[Grasp], settings: GraspSettings
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether fingers that close on the true shape hold it in force closure: (N,) with fingertips that touch about the
    contacts only, and (N,) with whole pads, which touch whatever of their area meets the shape first."""
    if not grasps:
        return np.zeros(0, dtype=bool), np.zeros(0, dtype=bool)
    frames = np.stack([grasp.T_source_gripper for grasp in grasps])
    opening = np.array([grasp.opening for grasp in grasps])
    middle = np.stack([grasp.contacts.mean(axis=0) for grasp in grasps]) - frames[:, :3, 3]
    middle = np.einsum("gi,gij->gj", middle, frames[:, :3, :3])[:, None, 1:]
    about = TIP_PATCH * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    cone = np.cos(np.arctan(settings.friction))
    tips = closing_cosines(truth, frames, opening, middle + about, TIP_YIELD)
    return tips >= cone, closing_cosines(truth, frames, opening, pad_places(settings)) >= cone


def collides(points: NDArray[np.float32], plane: SupportPlane, grasp: Grasp, settings: GraspSettings) -> bool:
    """Whether the open gripper, where it is to close, holds points (P, 3) of the true surface or reaches the table."""
    lower, upper = Gripper(settings).boxes(np.array([grasp.opening]))
    frame = grasp.T_source_gripper
    if touches(points, frame[None], lower, upper)[0]:
        return True
    ends = np.stack([lower[0], upper[0]])  # (2, boxes, 3)
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), axis=-1).reshape(-1, 3)
    places = np.stack([ends[corner, :, np.arange(3)].T for corner in corners]).reshape(-1, 3)
    return bool((plane.height(places @ frame[:3, :3].T + frame[:3, 3]) < 0.0).any())


def score(one: Seen, method: str, reliable: bool, grasps: Sequence[Grasp], settings: GraspSettings) -> GraspScores:
    """Of one object's candidates; with all true objects of its image for what the gripper may hit."""
    truth = RayScene([one.truth])
    points = np.concatenate(
        [trimesh.sample.sample_surface(other.mesh, SURFACE_POINTS, seed=0)[0] for other in one.frame.truths]
    ).astype(np.float32)
    return GraspScores(
        one.name,
        method,
        reliable,
        *held(truth, grasps, settings),
        np.array([collides(points, one.frame.plane, grasp, settings) for grasp in grasps], dtype=bool),
    )


def fits(mesh: trimesh.Trimesh, settings: GraspSettings) -> bool:
    """Whether some side of the object is narrower than the gripper opens."""
    axes = np.linalg.svd(mesh.vertices - mesh.vertices.mean(axis=0), full_matrices=False)[2]
    return bool(np.ptp(mesh.vertices @ axes.T, axis=0).min() < settings.max_opening - 2.0 * settings.clearance)


def evaluate(
    completer: ObjectCompleter, objects: Iterable[Seen], settings: GraspSettings, count: int | None = None
) -> list[GraspScores]:
    """Scores of both methods on every object that fits into the gripper; those of one image stand in each other's way.

    count: of the objects, for the progress bar.
    """
    scores = []
    with tqdm(total=count, desc="grasps", unit="object") as progress:
        for _, group in groupby(objects, key=lambda one: one.frame.name):
            together = list(group)
            scores += _evaluate_image(completer, together, settings)
            progress.update(len(together))
    return scores


def _evaluate_image(completer: ObjectCompleter, together: list[Seen], settings: GraspSettings) -> list[GraspScores]:
    scores = []
    items = completer.complete([one.seen for one in together], apart=True)
    hulls = [table_hull(one.seen.points.astype(np.float32), one.frame.plane, None) for one in together]
    plane = together[0].frame.plane
    table = np.array([*plane.normal, plane.offset])
    for number, (one, item, hull) in enumerate(zip(together, items, hulls, strict=True)):
        if not fits(one.truth, settings):
            continue
        reliable, grasps = False, []
        if not isinstance(item, SurfaceError):
            around = [i.collision_mesh for n, i in enumerate(items) if n != number and not isinstance(i, SurfaceError)]
            reliable = item.trust.reliable
            grasps = sample_grasps(GraspScene(item.mesh, item.confidence, item.error, table, around), settings)
        scores.append(score(one, OURS, reliable, grasps, settings))
        unknown = np.full(len(hull.vertices), np.nan)
        around = [other for n, other in enumerate(hulls) if n != number]
        grasps = sample_grasps(GraspScene(hull, np.ones_like(unknown), unknown, table, around), settings)
        scores.append(score(one, BASELINE, reliable, grasps, settings))
    return scores


def summary(scores: Sequence[GraspScores]) -> str:
    """A table in Markdown: shares of all candidates, means over the objects that have any, and the best of each."""
    lines = [
        "| candidates on the | objects | without | candidates | fingertips | mean of objects | best of each | "
        "whole pads | collisions |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for label, chosen in (("", list(scores)), (", reliable objects", [one for one in scores if one.reliable])):
        lines += [_row(method + label, [one for one in chosen if one.method == method]) for method in (OURS, BASELINE)]
    return "\n".join(lines)


def _row(label: str, own: Sequence[GraspScores]) -> str:
    some = [one for one in own if len(one.tips)]
    if not some:
        return f"| {label} | {len(own)} | {len(own)} | 0 | | | | | |"
    tips, pads, colliding = (
        np.concatenate([getattr(one, name) for one in some]) for name in ("tips", "pads", "colliding")
    )
    shares = (
        tips.mean(),
        np.mean([one.tips.mean() for one in some]),
        np.mean([one.tips[0] for one in some]),
        pads.mean(),
        colliding.mean(),
    )
    cells = " | ".join(f"{100.0 * share:.1f} %" for share in shares)
    return f"| {label} | {len(own)} | {len(own) - len(some)} | {len(tips)} | {cells} |"


def worst(scores: Sequence[GraspScores], count: int = 10) -> str:
    """The objects whose candidates hold least, one a line."""
    own = sorted((one for one in scores if one.method == OURS and len(one.tips)), key=lambda one: one.tips.mean())
    return "\n".join(
        f"{one.name:44} {one.tips.sum():3} of {len(one.tips):3} hold, {one.colliding.sum():3} collide"
        f"{'' if one.reliable else '; not reliable'}"
        for one in own[:count]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m onet_ros.learning.grasp_scores",
        description="Closes a parallel gripper on true shapes at the grasps that were found on completed ones.",
    )
    parser.add_argument("--model", type=Path, default=Path("models/default"), help="checkpoint (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="evaluation folder; without it procedural objects are taken")
    parser.add_argument("--part", choices=PARTS, default="views", help="of the folder (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=100, help="procedural ones (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the procedural ones (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        with torch.no_grad():
            completer = ObjectCompleter(load_checkpoint(options.model), CompletionSettings(), ExtractionSettings())
            if options.data is None:
                frames = (("procedural", frame) for frame in ProceduralData(options.objects, options.seed).frames())
                scores = evaluate(completer, seen_objects(frames), GraspSettings(), options.objects)
            else:
                frames = ((options.part, frame) for frame in EvaluationData(options.data).frames(options.part))
                scores = evaluate(completer, seen_objects(frames), GraspSettings())
    except (ValueError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    print(f"\n{summary(scores)}\n\n{worst(scores)}")


if __name__ == "__main__":
    main()
