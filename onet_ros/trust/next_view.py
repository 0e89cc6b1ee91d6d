"""From where a camera would see most of what is only guessed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.cpu_kernels import compiled
from onet_ros.ray_casting import RayScene
from onet_ros.surface import face_areas, face_means

AZIMUTHS = 16
ELEVATIONS = np.radians([20.0, 45.0, 70.0])
LOOKED_AT = 400  # faces
GRAZING = 0.2  # cosine between line of sight and normal: what is seen at a flatter angle than that is not measured
CLEARANCE = 1e-3  # metres that a line of sight begins in front of its face


@dataclass(frozen=True)
class NextView:
    """Where to look from.

    Attributes:
        direction: (3,) unit, source frame, from the object towards the camera.
        gain: share of the expected error, summed over the surface, that the camera would see.
    """

    direction: NDArray[np.float64]
    gain: float


def suggest_view(
    mesh: trimesh.Trimesh, error: NDArray[np.floating], rotation: NDArray[np.float64], seed: int = 0
) -> NextView:
    """Of views from all around and from above, the one that shows most of the expected error.

    What the object hides of itself is taken into account, what other objects hide of it is not.

    Args:
        mesh: closed, outward, source frame, metres; few triangles are enough.
        error: (V,) metres, expected at its vertices.
        rotation: (3, 3), rows: axes of the object's frame in the source frame, z up.
        seed: of the choice among the faces.
    """
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    weight = face_areas(vertices, faces) * face_means(np.asarray(error, dtype=np.float64), faces)
    total = float(weight.sum())
    rng = np.random.default_rng(seed)
    if not total > 0.0:
        return NextView(rotation[2].copy(), 0.0)
    chosen = rng.choice(len(faces), LOOKED_AT, p=weight / total)  # each stands for an equal part of the error
    corners = vertices[faces[chosen]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1), 1e-15)[:, None]
    starts = corners.mean(axis=1) + CLEARANCE * normals
    directions = _directions() @ rotation
    rays = np.empty((LOOKED_AT * len(directions), 6), dtype=np.float32)
    numbers = np.empty(len(rays), dtype=np.int64)
    count = _lines_of_sight(starts, normals, directions, rays, numbers)
    visible = ~RayScene([mesh]).occluded(rays[:count])
    shown = np.bincount(numbers[:count][visible], minlength=len(directions)) / LOOKED_AT
    best = int(shown.argmax())
    return NextView(directions[best], float(shown[best]))


@compiled
def _lines_of_sight(
    starts: NDArray[np.float64],
    normals: NDArray[np.float64],
    directions: NDArray[np.float64],
    rays: NDArray[np.float32],
    numbers: NDArray[np.int64],
) -> int:
    """Rays from faces in those directions in which they are not seen at too flat an angle, and these directions'
    numbers; returns how many there are."""
    count = 0
    for face in range(len(starts)):
        for direction in range(len(directions)):
            steep = 0.0
            for axis in range(3):
                steep += normals[face, axis] * directions[direction, axis]
            if steep > GRAZING:
                for axis in range(3):
                    rays[count, axis], rays[count, axis + 3] = starts[face, axis], directions[direction, axis]
                numbers[count] = direction
                count += 1
    return count


@lru_cache(maxsize=1)
def _directions() -> NDArray[np.float64]:
    """(48, 3) unit, z up."""
    azimuth, elevation = np.meshgrid(2.0 * np.pi * np.arange(AZIMUTHS) / AZIMUTHS, ELEVATIONS)
    flat = np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=-1).reshape(-1, 3)
