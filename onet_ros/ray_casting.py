"""Rays against triangle meshes on the CPU (Embree, through Open3D), and the pinhole cameras they start from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import open3d as o3d
import trimesh
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class RayHits:
    """Where rays first meet a mesh; arrays of the rays' shape, meaningless but for `hit` where nothing was met."""

    hit: NDArray[np.bool_]
    distance: NDArray[np.float32]  # in lengths of the ray's direction; inf where nothing was met
    mesh: NDArray[np.int64]  # which of the scene's meshes
    face: NDArray[np.int64]  # which of that mesh's faces
    weights: NDArray[np.float32]  # (..., 3) barycentric, of the face's corners
    normal: NDArray[np.float32]  # (..., 3) unit, of the face, to its outer side


class RayScene:
    """Meshes that rays can meet."""

    def __init__(self, meshes: Iterable[trimesh.Trimesh]) -> None:
        self._scene = ray_scene(meshes)

    def cast(self, rays: NDArray[np.float32]) -> RayHits:
        """rays: (..., 6) float32, origin and direction (of any length)."""
        answer = {name: tensor.numpy() for name, tensor in self._scene.cast_rays(_tensor(rays)).items()}
        u, v = answer["primitive_uvs"][..., 0], answer["primitive_uvs"][..., 1]
        return RayHits(
            hit=np.isfinite(answer["t_hit"]),
            distance=answer["t_hit"],
            mesh=answer["geometry_ids"].astype(np.int64),
            face=answer["primitive_ids"].astype(np.int64),
            weights=np.stack([1 - u - v, u, v], axis=-1),
            normal=answer["primitive_normals"],
        )

    def occluded(self, rays: NDArray[np.float32], far: float = np.inf) -> NDArray[np.bool_]:
        """(...) true where something lies on the ray before `far` lengths of its direction."""
        return np.asarray(self._scene.test_occlusions(_tensor(rays), tfar=far).numpy(), dtype=bool)


def ray_scene(meshes: Iterable[trimesh.Trimesh]) -> o3d.t.geometry.RaycastingScene:
    """Open3D's own scene of some meshes, for what `RayScene` does not offer (distances, occupancy)."""
    scene = o3d.t.geometry.RaycastingScene()
    for mesh in meshes:
        scene.add_triangles(
            o3d.core.Tensor.from_numpy(np.ascontiguousarray(mesh.vertices, dtype=np.float32)),
            o3d.core.Tensor.from_numpy(np.ascontiguousarray(mesh.faces, dtype=np.uint32)),
        )
    return scene


def pixel_rays(intrinsics: ArrayLike, width: int, height: int) -> NDArray[np.float64]:
    """(height, width, 3) float64: the point at depth 1 m that each pixel's centre sees, optical frame (z forward).

    `intrinsics`: K (3, 3) in pixels; integer pixel = pixel centre.
    """
    K = np.asarray(intrinsics, dtype=np.float64)
    if K.shape != (3, 3):
        raise ValueError(f"intrinsics must have shape (3, 3), got {K.shape}")
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(K).T


def look_rotation(forward: ArrayLike, up: ArrayLike) -> NDArray[np.float64]:
    """(3, 3) rotation from the world to an optical frame that looks along `forward` (3,), level with `up` (3,).

    Raises ValueError where the two are parallel.
    """
    z = np.asarray(forward, dtype=np.float64) / np.linalg.norm(forward)
    x = np.cross(z, np.asarray(up, dtype=np.float64))
    if np.linalg.norm(x) < 1e-6 * np.linalg.norm(up):
        raise ValueError(f"cannot level a view along {np.asarray(forward)} with up = {np.asarray(up)}")
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _tensor(rays: NDArray[np.float32]) -> o3d.core.Tensor:
    return o3d.core.Tensor.from_numpy(np.ascontiguousarray(rays, dtype=np.float32))
