"""What several views of an object are worth, and how to put them together.

    python -m onet_ros.learning.view_fusion --out docs/several_views.md

A camera goes around simulated tables. After each view every object is completed from the newest view alone, from
several views by the mean of their fields, as the node does, and from the points of all views given to the network as
one observation. Once with the true camera poses, once with poses that are off as those of a real robot are.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray
from tqdm import tqdm

from onet_ros import Reconstructor
from onet_ros.learning.metrics import MeshScores, score_mesh
from onet_ros.resources import default_model_path
from onet_ros.scene import (
    BACKGROUND_POINTS,
    PointCloud,
    SeenObject,
    SupportPlane,
    Surroundings,
    TrackingSettings,
    find_support_plane,
)
from onet_ros.scene.tracks import spread
from onet_ros.simulation import DepthCamera, SimulatedTable, demo_objects
from onet_ros.surface import SurfaceError

AZIMUTHS = (0.0, 30.0, 60.0, 90.0, 135.0, 180.0)  # degrees around the table
FEWEST_POINTS = 200  # an object of which a view shows less is not scored for it
POSE_ERROR_ROTATION = np.radians(0.3)  # standard deviation, about a random axis
POSE_ERROR_TRANSLATION = 0.002  # metres, standard deviation along each axis

ALONE, SOME, ALL, MERGED = "newest view alone", "mean of up to {} fields", "mean of all fields", "points of all views"

Views = dict[str, list[SeenObject | None]]  # by object: what each view shows of it, world frame


@dataclass(frozen=True)
class TableViews:
    """A table as a camera saw it on its way around: the true meshes, and what it saw of each."""

    truth: Mapping[str, trimesh.Trimesh]
    views: Views


def seen_on_the_way(seed: int, objects: int, pose_error: float) -> TableViews:
    """A simulated table seen from all of `AZIMUTHS`.

    Args:
        seed: which table, which noise.
        objects: how many stand on it.
        pose_error: 0 for true poses, 1 for those of a real robot.
    """
    known = demo_objects()
    names = [str(name) for name in np.random.default_rng(seed).permutation(list(known))[:objects]]
    table = SimulatedTable.arrange({name: known[name] for name in names}, seed)
    camera = DepthCamera(table.meshes, table.camera_pose(), table.surroundings(), seed=seed)
    rng = np.random.default_rng((seed, 1))
    views: Views = {name: [] for name in names}
    for number, azimuth in enumerate(np.radians(AZIMUTHS)):
        camera.move_to(table.camera_pose(azimuth))
        frame = camera.capture(number)
        T_world_camera = _pose_error(rng, pose_error) @ np.linalg.inv(camera.T_camera_world)
        rotation, eye = T_world_camera[:3, :3].astype(np.float32), T_world_camera[:3, 3]
        cloud = PointCloud.from_points(frame.points @ rotation.T + eye.astype(np.float32))
        plane = find_support_plane(cloud.valid_points, eye, up=(0.0, 0.0, 1.0)).plane
        around = Surroundings(cloud)
        for label, name in enumerate(names, start=1):
            indices = np.flatnonzero((frame.labels == label).ravel())
            views[name].append(_seen(cloud, indices, plane, eye, around))
    return TableViews(table.meshes, views)


def _pose_error(rng: np.random.Generator, size: float) -> NDArray[np.float64]:
    angle = size * POSE_ERROR_ROTATION * rng.normal()
    error = trimesh.transformations.rotation_matrix(angle, rng.normal(size=3))
    error[:3, 3] = size * POSE_ERROR_TRANSLATION * rng.normal(size=3)
    return np.asarray(error)


def _seen(
    cloud: PointCloud,
    indices: NDArray[np.int64],
    plane: SupportPlane | None,
    eye: NDArray[np.float64],
    around: Surroundings,
) -> SeenObject | None:
    if plane is None or len(indices) < FEWEST_POINTS:
        return None
    background = around.around(indices, eye, BACKGROUND_POINTS)
    return SeenObject.on_plane(cloud.points.reshape(-1, 3)[indices], plane, eye, background, indices)


def ways_together(views: list[SeenObject], max_views: int) -> Iterator[tuple[str, SeenObject]]:
    """The views (oldest first) put together in each of the ways that are compared."""
    newest, before = views[-1], views[:-1]
    yield ALONE, newest
    centre = newest.points.mean(axis=0)
    yield SOME.format(max_views), dataclasses.replace(newest, earlier=spread(before, newest, centre, max_views - 1))
    yield ALL, dataclasses.replace(newest, earlier=tuple(before))
    normal = newest.frame.rotation[2]
    plane = SupportPlane(normal, -float(normal @ newest.frame.origin))
    points = np.concatenate([view.points for view in views])
    yield MERGED, SeenObject.on_plane(points, plane, newest.viewpoint, newest.background)


def score_ways(
    model: Reconstructor, tables: int, objects: int, pose_error: float, samples: int, max_views: int
) -> dict[tuple[str, int], list[MeshScores]]:
    """Scores by way and number of views seen so far."""
    scores: dict[tuple[str, int], list[MeshScores]] = defaultdict(list)
    for seed in tqdm(range(tables), unit="table", disable=None):
        table = seen_on_the_way(seed, objects, pose_error)
        for name, views in table.views.items():
            for count in range(1, len(AZIMUTHS) + 1):
                seen = [view for view in views[:count] if view is not None]
                if views[count - 1] is None:
                    continue
                for way, evidence in ways_together(seen, max_views):
                    (item,) = model.complete_seen([evidence])
                    mesh = None if isinstance(item, SurfaceError) else item.mesh
                    scores[way, count].append(score_mesh(mesh, table.truth[name], samples=samples))
    return scores


def report(scores: Mapping[tuple[str, int], list[MeshScores]], title: str) -> str:
    """A table: ways down, number of views across, IoU / Chamfer-L1 in mm / F-score at 5 mm in each cell."""
    ways = list(dict.fromkeys(way for way, _ in scores))
    counts = sorted({count for _, count in scores})
    lines = [f"## {title}", "", "IoU / Chamfer-L1 (mm) / F-score at 5 mm, means over all objects.", ""]
    lines.append("| views so far | " + " | ".join(str(count) for count in counts) + " |")
    lines.append("|---" * (len(counts) + 1) + "|")
    for way in ways:
        cells = [_cell(scores[way, count]) for count in counts]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    objects = [str(len(scores[ways[0], count])) for count in counts]
    lines.append("| (objects) | " + " | ".join(objects) + " |")
    return "\n".join(lines) + "\n"


def _cell(scores: list[MeshScores]) -> str:
    iou, chamfer, f_score = np.mean([(one.iou, one.chamfer_l1, one.f_score) for one in scores], axis=0)
    return f"{iou:.3f} / {1000 * chamfer:.2f} / {f_score:.3f}"


def main() -> int:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=8, help="simulated tables (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=4, help="on each (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=20_000, help="points per score (default: %(default)s)")
    parser.add_argument("--model", type=Path, help="checkpoint folder (default: the one that comes with the package)")
    parser.add_argument("--device", default="cpu", help="torch device (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="page to write (default: print only)")
    arguments = parser.parse_args()
    model_path = arguments.model or default_model_path()
    model = Reconstructor.load(model_path, device=arguments.device)
    max_views = TrackingSettings().max_views
    parts = [
        "# Several views of an object\n",
        f"`python -m onet_ros.learning.view_fusion --tables {arguments.tables} --objects {arguments.objects} "
        f"--samples {arguments.samples}`, model `{model_path.name}`: a camera goes around simulated tables, by "
        f"{', '.join(f'{azimuth:g}' for azimuth in AZIMUTHS)} degrees. Every view is encoded in its own unit frame, "
        "and the mean of the views' logits is the object's field. Points of all views as one observation are what the "
        "networks, which are trained on single views, were never shown.\n",
    ]
    for title, pose_error in (
        ("True camera poses", 0.0),
        (f"Poses off by {1000 * POSE_ERROR_TRANSLATION:g} mm on each axis and 0.3 degrees (standard deviations)", 1.0),
    ):
        scores = score_ways(model, arguments.tables, arguments.objects, pose_error, arguments.samples, max_views)
        parts.append(report(scores, title))
        print(parts[-1], flush=True)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text("\n".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
