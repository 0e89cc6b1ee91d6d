"""Ways to a closed mesh: checkpoints, and the baselines whoever runs a network has to beat.

Those from seen points are here, those from a picture or a voxel grid in `other_methods`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import open3d as o3d
import trimesh
from numpy.typing import NDArray

from onet_ros.learning.other_methods import OTHER_BASELINES, ImageModel, VoxelModel
from onet_ros.reconstructor import Reconstructor, ReconstructorSettings
from onet_ros.scene import SupportPlane

Background = NDArray[np.float32] | None


class Method(Protocol):
    """From what was seen of an object to its closed mesh; all in the camera's frame, metres.

    Args:
        points: (N, 3) float, of the object.
        plane: the table.
        background: (M, 3) float, seen around the object; None where it stood alone and only its own points are known.
            The baselines have no use for it.

    Raises:
        ValueError, RuntimeError: it cannot.
    """

    def __call__(self, points: NDArray[np.float32], plane: SupportPlane, background: Background) -> trimesh.Trimesh: ...


def convex_hull(points: NDArray[np.float32], plane: SupportPlane, background: Background) -> trimesh.Trimesh:
    """Convex hull of the seen points."""
    return trimesh.convex.convex_hull(np.asarray(points, dtype=np.float64))


def table_hull(points: NDArray[np.float32], plane: SupportPlane, background: Background) -> trimesh.Trimesh:
    """Convex hull of the seen points and their shadow straight down on the table."""
    shadow = points - np.outer(plane.height(points), plane.normal)
    return trimesh.convex.convex_hull(np.concatenate([points, shadow]).astype(np.float64))


def poisson(points: NDArray[np.float32], plane: SupportPlane, background: Background) -> trimesh.Trimesh:
    """Screened Poisson reconstruction (Kazhdan and Hoppe, 2013) of the seen points and their shadow, by Open3D."""
    shadow = points - np.outer(plane.height(points), plane.normal)
    cloud = _with_normals(points)
    below = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(shadow.astype(np.float64)))
    below.normals = o3d.utility.Vector3dVector(np.tile(-plane.normal, (len(shadow), 1)))
    mesh, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud + below, depth=6, n_threads=1)
    return _closed(mesh)


def alpha_shape(points: NDArray[np.float32], plane: SupportPlane, background: Background) -> trimesh.Trimesh:
    """Alpha shape of the seen points and their shadow on the table, alpha 2 cm, by Open3D."""
    shadow = points - np.outer(plane.height(points), plane.normal)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(np.concatenate([points, shadow]).astype(np.float64)))
    cloud = cloud.voxel_down_sample(0.003)
    mesh = o3d.geometry.TriangleMesh.create_from_point_cloud_alpha_shape(cloud, 0.02)
    return _closed(mesh)


BASELINES: dict[str, Method] = {
    "hull": convex_hull,
    "table-hull": table_hull,
    "poisson": poisson,
    "alpha": alpha_shape,
}


# A `Method`, or one of those in `other_methods`, which say by an attribute `observes` what they are to be given.
AnyMethod = Any


def observed_by_method(method: AnyMethod) -> str:
    """What a method is to be given: "points", "image" or "voxels"."""
    observes: str = getattr(method, "observes", "points")
    return observes


def make_method(name: str, settings: ReconstructorSettings | None = None, device: str = "cpu") -> AnyMethod:
    """A baseline by name, or a checkpoint by its folder.

    Raises:
        ValueError: neither a baseline nor a folder.
    """
    if name in BASELINES:
        return BASELINES[name]
    if name in OTHER_BASELINES:
        return OTHER_BASELINES[name]()
    if not Path(name).is_dir():
        known = ", ".join((*BASELINES, *OTHER_BASELINES))
        raise ValueError(f"{name!r} is neither a checkpoint folder nor one of {known}")
    model = Reconstructor.load(name, settings, device)
    if model.observes == "image":
        return ImageModel(model)
    if model.observes == "voxels":
        return VoxelModel(model)
    return lambda points, plane, background: model.complete(points, plane, background=background).mesh


def method_labels(names: Sequence[str]) -> list[str]:
    """A short label for each method that differs from the others': of paths, as many last parts as that takes.

    Raises:
        ValueError: the same method twice.
    """
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"{repeated[0]!r} is given {names.count(repeated[0])} times")
    baselines = {*BASELINES, *OTHER_BASELINES}
    paths = [Path(name) if name in baselines else Path(name).resolve() for name in names]
    labels = []
    for path in paths:
        for length in range(1, len(path.parts) + 1):
            tail = path.parts[-length:]
            if [other.parts[-length:] for other in paths].count(tail) == 1:
                break
        labels.append("/".join(tail))
    repeated = [label for label in labels if labels.count(label) > 1]
    if repeated:
        raise ValueError(f"methods {list(names)} are the same folder")
    return labels


def _with_normals(points: NDArray[np.float32]) -> o3d.geometry.PointCloud:
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points.astype(np.float64)))
    cloud.estimate_normals(o3d.geometry.KDTreeSearchParamHybrid(radius=0.02, max_nn=30))
    cloud.orient_normals_towards_camera_location(np.zeros(3))
    return cloud


def _closed(mesh: o3d.geometry.TriangleMesh) -> trimesh.Trimesh:
    """As trimesh, holes filled where that is simple; a mesh that stays open is scored by its outside nonetheless."""
    result = trimesh.Trimesh(np.asarray(mesh.vertices), np.asarray(mesh.triangles))
    if len(result.faces) == 0:
        raise ValueError("no surface")
    trimesh.repair.fill_holes(result)
    trimesh.repair.fix_normals(result)
    return result
