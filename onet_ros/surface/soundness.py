"""What a planner needs to know of a triangle mesh before it trusts it."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.surface.triangles import face_areas, is_closed, volume


def is_sound(mesh: trimesh.Trimesh) -> bool:
    """Whether a mesh is closed, wound consistently, bounds a positive volume and has no triangle without area."""
    return are_sound(np.asarray(mesh.vertices), np.asarray(mesh.faces))


def are_sound(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> bool:
    """`is_sound` of plain arrays."""
    return is_closed(faces) and volume(vertices, faces) > 0 and bool(face_areas(vertices, faces).all())


def surface_deviation(mesh: trimesh.Trimesh, reference: trimesh.Trimesh, samples: int = 10_000) -> tuple[float, float]:
    """Mean and largest distance between two surfaces, metres: of points of each to the other, both ways.

    Args:
        samples: points on each surface, uniform by area, the same in every call.
    """
    import open3d as o3d  # here, because it takes a second to load and extraction can do without

    distances = []
    for source, target in ((mesh, reference), (reference, mesh)):
        points, _ = trimesh.sample.sample_surface(source, samples, seed=0)
        scene = o3d.t.geometry.RaycastingScene()
        origin = target.bounds.mean(axis=0)  # single precision, so near the origin
        scene.add_triangles(
            o3d.core.Tensor.from_numpy((np.asarray(target.vertices) - origin).astype(np.float32)),
            o3d.core.Tensor.from_numpy(np.asarray(target.faces).astype(np.uint32)),
        )
        queries = o3d.core.Tensor.from_numpy((points - origin).astype(np.float32))
        distances.append(scene.compute_distance(queries).numpy())
    return float(np.mean(distances)), float(np.max(distances))
