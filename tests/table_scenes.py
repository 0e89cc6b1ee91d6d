"""Views of simple solids for the tests of the scene room: what a noisy depth camera sees of them, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh

from onet_ros.ray_casting import RayScene, look_rotation, pixel_rays
from onet_ros.scene import PointCloud, SupportPlane, depth_noise

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0
K = np.array([[FOCAL, 0.0, (WIDTH - 1) / 2], [0.0, FOCAL, (HEIGHT - 1) / 2], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class View:
    """cloud in the optical frame; owner (H, W): the mesh each pixel shows, -1 for none; T_world_camera (4, 4)."""

    cloud: PointCloud
    owner: np.ndarray
    T_world_camera: np.ndarray

    def in_camera(self, plane: SupportPlane) -> SupportPlane:
        """A plane of the world in the camera's frame."""
        return plane.transformed(np.linalg.inv(self.T_world_camera))

    @property
    def up(self) -> np.ndarray:
        """(3,) the world's z in the camera's frame."""
        return self.T_world_camera[2, :3]


TABLE = SupportPlane(np.array([0.0, 0.0, 1.0]), 0.0)


def box(size: tuple[float, float, float], at: tuple[float, float, float]) -> trimesh.Trimesh:
    """A box of that size with the middle of its bottom at a place of the world, metres."""
    mesh = trimesh.creation.box(size)
    mesh.apply_translation(np.add(at, (0.0, 0.0, size[2] / 2)))
    return mesh


def table(width: float = 3.0, depth: float = 3.0, top: float = 0.0) -> trimesh.Trimesh:
    """A slab of 20 mm around the origin whose upper side is at height `top`."""
    return box((width, depth, 0.02), (0.0, 0.0, top - 0.02))


def cup(radius: float, height: float, at: tuple[float, float, float], wall: float = 0.004) -> trimesh.Trimesh:
    """A cup, open above, with a floor as thick as its wall."""
    side = trimesh.creation.annulus(r_min=radius - wall, r_max=radius, height=height, sections=96)
    side.apply_translation([0.0, 0.0, height / 2])
    floor = trimesh.creation.cylinder(radius=radius, height=wall, sections=96)
    floor.apply_translation([0.0, 0.0, wall / 2])
    mesh = trimesh.util.concatenate([side, floor])
    mesh.apply_translation(at)
    return mesh


def look(
    meshes: list[trimesh.Trimesh],
    eye: tuple[float, float, float] = (0.0, -0.6, 0.55),
    target: tuple[float, float, float] = (0.0, 0.0, 0.0),
    seed: int = 0,
    noise: float = 1.0,
) -> View:
    """What a camera at `eye` that looks at `target` sees: depth with the Kinect's noise, 1 % of the pixels missing.

    At depth steps of more than 20 mm, three in four of the pixels are missing too, as on every real camera.
    """
    T_world_camera = np.eye(4)
    T_world_camera[:3, :3] = look_rotation(np.subtract(target, eye), (0.0, 0.0, 1.0)).T
    T_world_camera[:3, 3] = eye
    directions = pixel_rays(K, WIDTH, HEIGHT)
    in_world = directions @ T_world_camera[:3, :3].T
    hits = RayScene(meshes).cast(
        np.concatenate([np.broadcast_to(eye, in_world.shape), in_world], axis=-1).astype(np.float32)
    )
    depth = np.where(hits.hit, hits.distance, 100.0)
    step = np.zeros_like(hits.hit)
    for axis in (0, 1):
        far = np.abs(np.diff(depth, axis=axis)) > 0.02
        near, behind = [slice(None)] * 2, [slice(None)] * 2
        near[axis], behind[axis] = slice(None, -1), slice(1, None)
        step[tuple(near)] |= far
        step[tuple(behind)] |= far
    rng = np.random.default_rng(seed)
    noisy = depth + noise * depth_noise(depth) * rng.standard_normal(depth.shape)
    seen = hits.hit & (rng.random(depth.shape) > np.where(step, 0.75, 0.01))
    points = np.where(seen[..., None], directions * noisy[..., None], np.nan)
    owner = np.where(seen, hits.mesh, -1)
    return View(PointCloud.from_points(points), owner, T_world_camera)
