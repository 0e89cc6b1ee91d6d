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
    directions = _directions() @ rotation
    rays = np.empty((LOOKED_AT * len(directions), 6), dtype=np.float32)
    numbers = np.empty(len(rays), dtype=np.int64)
    count = _lines_of_sight(np.ascontiguousarray(vertices), faces.take(chosen, axis=0), directions, rays, numbers)
    visible = ~RayScene([mesh]).occluded(rays[:count])
    shown = np.bincount(numbers[:count][visible], minlength=len(directions)) / LOOKED_AT
    best = int(shown.argmax())
    return NextView(directions[best], float(shown[best]))


@compiled
def _lines_of_sight(
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
    directions: NDArray[np.float64],
    rays: NDArray[np.float32],
    numbers: NDArray[np.int64],
) -> int:
    """Rays from the middles of faces in those directions in which they are not seen at too flat an angle, and these
    directions' numbers; returns how many there are."""
    count, normal, start = 0, np.empty(3), np.empty(3)
    for face in faces:
        a, b, c = vertices[face[0]], vertices[face[1]], vertices[face[2]]
        for axis in range(3):
            second, third = (axis + 1) % 3, (axis + 2) % 3
            normal[axis] = (b[second] - a[second]) * (c[third] - a[third]) - (b[third] - a[third]) * (
                c[second] - a[second]
            )
        normal /= max(np.sqrt((normal**2).sum()), 1e-15)
        for axis in range(3):
            start[axis] = (a[axis] + b[axis] + c[axis]) / 3.0 + CLEARANCE * normal[axis]
        for direction in range(len(directions)):
            steep = 0.0
            for axis in range(3):
                steep += normal[axis] * directions[direction, axis]
            if steep > GRAZING:
                for axis in range(3):
                    rays[count, axis], rays[count, axis + 3] = start[axis], directions[direction, axis]
                numbers[count] = direction
                count += 1
    return count


@lru_cache(maxsize=1)
def _directions() -> NDArray[np.float64]:
    """(48, 3) unit, z up."""
    azimuth, elevation = np.meshgrid(2.0 * np.pi * np.arange(AZIMUTHS) / AZIMUTHS, ELEVATIONS)
    flat = np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=-1).reshape(-1, 3)
