"""What is left of a mesh's contradictions with what the camera saw, in millimetres and shares of its volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import open3d as o3d
import trimesh
from numpy.typing import NDArray

from onet_ros import columns
from onet_ros.ray_casting import ray_scene
from onet_ros.scene import FreeSpace
from onet_ros.surface import volume

SEEN_POINTS = 128  # of those seen, whose distances are measured
PLACES = 4096  # in the bounding box, at which the volume is looked at


@dataclass(frozen=True)
class Consistency:
    """How well a mesh agrees with what was seen.

    Attributes:
        seen_distance: metres, mean distance of the seen points from the surface.
        free_fraction: share of the volume that lies in space which was seen to be free.
    """

    seen_distance: float
    free_fraction: float


def check_consistency(
    mesh: trimesh.Trimesh, seen: NDArray[np.float64], free: Sequence[FreeSpace], seed: int = 0
) -> Consistency:
    """Of a closed mesh, source frame, metres.

    Args:
        seen: (N, 3) metres, points on the object.
        free: what each of its views saw to be free.
        seed: of the choice of points and places.
    """
    rng = np.random.default_rng(seed)
    points = seen if len(seen) <= SEEN_POINTS else seen[rng.choice(len(seen), SEEN_POINTS, replace=False)]
    scene = ray_scene([mesh])
    distance = scene.compute_distance(_tensor(points)).numpy()
    return Consistency(float(distance.mean()), _free_fraction(mesh, scene, free, rng))


def _free_fraction(
    mesh: trimesh.Trimesh,
    scene: o3d.t.geometry.RaycastingScene,
    free: Sequence[FreeSpace],
    rng: np.random.Generator,
) -> float:
    if not free:
        return 0.0
    low, high = columns.bounds(np.asarray(mesh.vertices))
    places = rng.uniform(low, high, (PLACES, 3))
    in_free = np.min([one.margin(places) for one in free], axis=0) < 0.0
    if not in_free.any():
        return 0.0
    inside = scene.compute_occupancy(_tensor(places[in_free])).numpy() > 0.5
    own = volume(np.asarray(mesh.vertices), np.asarray(mesh.faces))
    return min(1.0, float(inside.sum() / PLACES * np.prod(high - low)) / max(own, 1e-12))


def _tensor(points: NDArray[np.float64]) -> o3d.core.Tensor:
    return o3d.core.Tensor.from_numpy(np.ascontiguousarray(points, dtype=np.float32))
