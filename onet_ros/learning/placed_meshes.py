"""A solid mesh at rest on the table in several poses, to be looked at by the same camera as the procedural world."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import open3d as o3d
import torch
import trimesh
from numpy.typing import NDArray
from torch import Tensor

from onet_ros.ray_casting import ray_scene
from onet_ros.surface import simplify_mesh

SURFACE_POINTS = 512  # as many as procedural objects have
HULL_TRIANGLES = 800  # enough for where a body rests
RARE = 0.01  # probability of a kind of pose that is not worth showing


@dataclass(frozen=True)
class RestingPoses:
    """How a body can lie on a table: K stable poses.

    Attributes:
        rotation: (K, 3, 3) R_world_object, z up from the table.
        probability: (K,) of ending up so when dropped anyhow; sums to 1.
        kind: (K,) poses of one kind look alike (a can on its side, whichever side): their centre is equally high.
    """

    rotation: NDArray[np.float64]
    probability: NDArray[np.float64]
    kind: NDArray[np.int64]

    def draw(self, n: int, generator: torch.Generator) -> NDArray[np.float64]:
        """(n, 3, 3) poses: half as things fall, half each kind alike, since people put bottles down standing."""
        kinds = int(self.kind.max()) + 1
        share = np.bincount(self.kind, self.probability, kinds)
        alike = self.probability / share[self.kind] / kinds
        weight = torch.from_numpy(0.5 * self.probability + 0.5 * alike)
        return self.rotation[torch.multinomial(weight, n, replacement=True, generator=generator).numpy()]


def resting_poses(mesh: trimesh.Trimesh) -> RestingPoses:
    """Stable poses of a solid of uniform density, by the quasi-static analysis of its convex hull (trimesh.poses)."""
    hull = simplify_mesh(mesh.convex_hull, HULL_TRIANGLES)
    centre = np.asarray(mesh.center_mass)
    if not ((hull.triangles_center - centre) * hull.face_normals).sum(axis=1).min() > 0.0:
        centre = np.asarray(hull.center_mass)  # trimesh looks for ever for a centre outside the hull
    transforms, probability = trimesh.poses.compute_stable_poses(hull, center_mass=centre)
    rotation = np.asarray(transforms)[:, :3, :3]
    height = (rotation @ centre)[:, 2] - (rotation @ hull.vertices.T)[:, 2].min(axis=1)
    order = np.argsort(height, kind="stable")
    jumps = np.diff(height[order], prepend=height[order][0]) > 0.02 * mesh.extents.max()
    kind = np.empty(len(order), dtype=np.int64)
    kind[order] = np.cumsum(jumps)
    common = np.bincount(kind, probability)[kind] >= RARE
    kept = np.unique(kind[common], return_inverse=True)[1]
    return RestingPoses(rotation[common], probability[common] / probability[common].sum(), kept)


class PlacedMesh:
    """One mesh in N poses, each in a world of its own: `ObjectsAtRest` by ray casting on the CPU.

    Args:
        mesh: solid, metres.
        name: what its samples are called.
        rotation: (N, 3, 3) R_world_object.
        generator: of the points on the surface.
    """

    def __init__(
        self, mesh: trimesh.Trimesh, name: str, rotation: NDArray[np.float64], generator: torch.Generator
    ) -> None:
        n = len(rotation)
        turned = np.asarray(mesh.vertices) @ rotation.transpose(0, 2, 1)  # (N, V, 3)
        low, high = turned.min(axis=1), turned.max(axis=1)
        offset = np.stack([-(low + high)[:, 0] / 2.0, -(low + high)[:, 1] / 2.0, -low[:, 2]], axis=1)
        self._scene = ray_scene([mesh])
        self._rotation = torch.tensor(rotation, dtype=torch.float32)
        self._offset = torch.tensor(offset, dtype=torch.float32).unsqueeze(1)
        seed = int(torch.randint(2**31, (1,), generator=generator))
        points = trimesh.sample.sample_surface(mesh, n * SURFACE_POINTS, seed=seed)[0]
        own = torch.tensor(points, dtype=torch.float32).view(n, SURFACE_POINTS, 3)
        self.surface = own @ self._rotation.transpose(1, 2) + self._offset
        margin = 1e-4  # rounding
        self.low = torch.tensor(low + offset - margin, dtype=torch.float32)
        self.high = torch.tensor(high + offset + margin, dtype=torch.float32)
        self.families = [name] * n

    def contains(self, p: Tensor) -> Tensor:
        """(N, m, 3) world -> (N, m) bool."""
        own = ((p - self._offset) @ self._rotation).contiguous()
        occupancy = self._scene.compute_occupancy(o3d.core.Tensor.from_numpy(own.numpy()), nsamples=3)
        return torch.from_numpy(occupancy.numpy()) > 0.5

    def trace(self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor) -> Tensor:
        """(N, m) such that origin + t * direction is the first hit between near and far; inf where there is none."""
        start = (origins - self._offset) @ self._rotation
        rays = torch.cat([start, directions @ self._rotation], dim=2).contiguous()
        t = torch.from_numpy(self._scene.cast_rays(o3d.core.Tensor.from_numpy(rays.numpy()))["t_hit"].numpy())
        return torch.where((t >= near) & (t <= far), t, torch.inf)


def random_yaw(rotation: NDArray[np.float64], generator: torch.Generator) -> NDArray[np.float64]:
    """(N, 3, 3) poses, each turned by any angle about the table's normal."""
    angle = (torch.rand(len(rotation), generator=generator, dtype=torch.float64) * 2.0 * math.pi).numpy()
    c, s, zero, one = np.cos(angle), np.sin(angle), np.zeros(len(angle)), np.ones(len(angle))
    turn = np.stack([c, -s, zero, s, c, zero, zero, zero, one], axis=1).reshape(-1, 3, 3)
    turned: NDArray[np.float64] = turn @ rotation
    return turned
