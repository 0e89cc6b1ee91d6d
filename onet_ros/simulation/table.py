"""A table with objects on it, in a room: where everything stands, and where a camera would stand to see it.

Table frame: origin at the centre of the table's top, z up, y away from the camera's usual side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from onet_ros.ray_casting import look_rotation
from onet_ros.settings import check_settings, setting

_CANDIDATES = 600  # random places tried for one object
_SIDEWAYS = 0.7  # a face whose normal's z is less than this is a side


@dataclass(frozen=True)
class TableSettings:
    """The furniture, how objects are spread on it, and the camera's usual place."""

    width: float = setting(1.3, "extent of the table along x", unit="m", minimum=0.2, maximum=5.0)
    depth: float = setting(0.9, "extent of the table along y", unit="m", minimum=0.2, maximum=5.0)
    height: float = setting(0.74, "table top above the floor", unit="m", minimum=0.1, maximum=2.0)
    wall_distance: float = setting(2.4, "wall behind the table's centre", unit="m", minimum=0.3, maximum=10.0)
    spread_x: float = setting(0.84, "objects stand within this extent along x", unit="m", minimum=0.1, maximum=5.0)
    spread_y: float = setting(0.56, "objects stand within this extent along y", unit="m", minimum=0.1, maximum=5.0)
    clearance: float = setting(0.03, "smallest gap between two footprints", unit="m", minimum=0.0, maximum=0.5)
    lying_fraction: float = setting(0.2, "share of the objects that are tipped over", minimum=0.0, maximum=1.0)
    camera_distance: float = setting(1.0, "camera to the table's centre", unit="m", minimum=0.2, maximum=5.0)
    camera_elevation: float = setting(0.72, "camera above the horizon", unit="rad", minimum=0.05, maximum=1.5)

    def __post_init__(self) -> None:
        check_settings(self)


class SimulatedTable:
    """Objects at rest on a table. `T_table_object[name]` (4, 4) takes an object's own frame to the table frame."""

    def __init__(
        self,
        objects: Mapping[str, trimesh.Trimesh],
        T_table_object: Mapping[str, NDArray[np.float64]],
        settings: TableSettings = TableSettings(),
    ) -> None:
        if set(objects) != set(T_table_object):
            raise ValueError(f"objects {sorted(objects)} and poses {sorted(T_table_object)} name different things")
        self.settings = settings
        self.T_table_object = dict(T_table_object)
        self.meshes = {name: mesh.copy().apply_transform(T_table_object[name]) for name, mesh in objects.items()}

    @classmethod
    def arrange(
        cls, objects: Mapping[str, trimesh.Trimesh], seed: int = 0, settings: TableSettings = TableSettings()
    ) -> SimulatedTable:
        """Place every object without touching another, tall ones behind; the same for the same seed.

        Raises ValueError, naming the object, when the table has no room left for it.
        """
        rng = np.random.default_rng(seed)
        resting = {name: _resting_pose(mesh, rng.random() < settings.lying_fraction) for name, mesh in objects.items()}
        heights = {name: np.ptp(_moved(objects[name], pose)[:, 2]) for name, pose in resting.items()}
        taken: list[NDArray[np.float64]] = []
        poses = {}
        for rank, name in enumerate(sorted(objects, key=lambda name: (-heights[name], name))):
            preferred_y = settings.spread_y * (0.5 - (rank + 0.5) / len(objects))
            footprint = _convex_outline(_moved(objects[name], resting[name])[:, :2])
            place = _find_place(footprint, taken, preferred_y, rng, settings)
            if place is None:
                raise ValueError(
                    f"no room for {name} beside {len(taken)} objects on {settings.spread_x} m x {settings.spread_y} m "
                    f"with {settings.clearance} m between them"
                )
            taken.append(_apply(place, footprint))
            poses[name] = place @ resting[name]
        return cls(objects, {name: poses[name] for name in objects}, settings)

    def surroundings(self) -> dict[str, trimesh.Trimesh]:
        """The table's slab, the floor and a wall, table frame."""
        settings = self.settings
        slab = trimesh.creation.box((settings.width, settings.depth, 0.03))
        slab.apply_translation((0, 0, -0.015))
        floor = trimesh.creation.box((8, 8, 0.02))
        floor.apply_translation((0, 0, -settings.height - 0.01))
        wall = trimesh.creation.box((8, 0.02, 4))
        wall.apply_translation((0, settings.wall_distance, 2 - settings.height))
        return {"table": slab, "floor": floor, "wall": wall}

    def camera_pose(self, azimuth: float = 0.0) -> NDArray[np.float64]:
        """T_camera_table (4, 4) of a camera that looks at the table's middle; azimuth in rad about z, 0 from -y."""
        elevation, distance = self.settings.camera_elevation, self.settings.camera_distance
        target = np.array([0.0, 0.0, 0.04])
        outward = np.array(
            [np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)]
        )
        pose = np.eye(4)
        pose[:3, :3] = look_rotation(-outward, (0.0, 0.0, 1.0))
        pose[:3, 3] = -pose[:3, :3] @ (target + distance * outward)
        return pose

    def meshes_in(self, T_camera_table: NDArray[np.float64]) -> dict[str, trimesh.Trimesh]:
        """The true objects in the camera's frame."""
        return {name: mesh.copy().apply_transform(T_camera_table) for name, mesh in self.meshes.items()}

    def plane_in(self, T_camera_table: NDArray[np.float64]) -> NDArray[np.float64]:
        """(4,) nx, ny, nz, d of the table's top in the camera's frame; n . X + d is the height over it in metres."""
        normal = T_camera_table[:3, 2]
        return np.append(normal, -normal @ T_camera_table[:3, 3])


def _resting_pose(mesh: trimesh.Trimesh, lying: bool) -> NDArray[np.float64]:
    """(4, 4) from the object's frame to a table under it: as it is modelled, or on its side.

    Of the sides on which it would stay, the one with the lowest centre of mass; without any, as a bowl, it stands.
    """
    pose = np.eye(4)
    if lying:
        hull = mesh.convex_hull
        # A body rests on a face of its hull when the centre of mass is above that face.
        below = trimesh.triangles.points_to_barycentric(hull.triangles, np.tile(mesh.center_mass, (len(hull.faces), 1)))
        heights = ((hull.triangles_center - mesh.center_mass) * hull.face_normals).sum(-1)
        sides = np.flatnonzero((below.min(-1) >= 0) & (np.abs(hull.face_normals[:, 2]) < _SIDEWAYS))
        if len(sides):
            pose = trimesh.geometry.align_vectors(hull.face_normals[sides[heights[sides].argmin()]], (0, 0, -1))
    pose[2, 3] = -_moved(mesh, pose)[:, 2].min()
    return pose


def _find_place(
    footprint: NDArray[np.float64],
    taken: list[NDArray[np.float64]],
    preferred_y: float,
    rng: np.random.Generator,
    settings: TableSettings,
) -> NDArray[np.float64] | None:
    """(4, 4) motion on the table that keeps clear of the footprints taken, at about the preferred depth."""
    half = 0.5 * np.array([settings.spread_x, settings.spread_y])
    best, best_distance = None, np.inf
    for _ in range(_CANDIDATES):
        angle, (x, y) = rng.uniform(-np.pi, np.pi), rng.uniform(-half, half)
        place = np.eye(4)
        place[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        place[:2, 3] = x, y
        moved = _apply(place, footprint)
        distance = abs(moved[:, 1].mean() - preferred_y)
        better = distance < best_distance and (np.abs(moved) <= half).all()
        if better and all(_gap(moved, other) >= settings.clearance for other in taken):
            best, best_distance = place, distance
    return best


def _gap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """A lower bound, in metres, of the distance of two convex outlines (N, 2) counter-clockwise; negative on overlap.

    The widest gap along the normals of their edges (separating axis theorem).
    """
    widest = -np.inf
    for outline, other in ((a, b), (b, a)):
        edges = np.roll(outline, -1, axis=0) - outline
        normals = np.column_stack([edges[:, 1], -edges[:, 0]]) / np.linalg.norm(edges, axis=1, keepdims=True)
        widest = max(widest, ((other @ normals.T).min(0) - (outline * normals).sum(1)).max())
    return float(widest)


def _convex_outline(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, 2) the corners of the points' convex hull, counter-clockwise."""
    return points[ConvexHull(points).vertices]


def _apply(transform: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ transform[:2, :2].T + transform[:2, 3]


def _moved(mesh: trimesh.Trimesh, transform: NDArray[np.float64]) -> NDArray[np.float64]:
    return trimesh.transform_points(mesh.vertices, transform)
