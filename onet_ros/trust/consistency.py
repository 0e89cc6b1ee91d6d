"""What is left of a mesh's contradictions with what the camera saw, in millimetres and shares of its volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.nearest import surface_distances
from onet_ros.scene import FreeSpace
from onet_ros.surface import volume

SEEN_POINTS = 128  # of those seen, whose distances are measured


@dataclass(frozen=True)
class Consistency:
    """How well a mesh agrees with what was seen.

    Attributes:
        seen_distance: metres, mean distance of the seen points from the surface.
        free_fraction: share of the volume that lies in space seen to be free, by the view that saw most of it.
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
        seed: of the choice of points.
    """
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    rng = np.random.default_rng(seed)
    points = seen if len(seen) <= SEEN_POINTS else seen[rng.choice(len(seen), SEEN_POINTS, replace=False)]
    in_free = max((one.volume_in(vertices, faces) for one in free), default=0.0)
    share = in_free / max(volume(vertices, faces), 1e-12) if in_free > 0.0 else 0.0
    return Consistency(
        seen_distance=float(surface_distances(points, vertices, faces).mean()),
        free_fraction=min(1.0, share),
    )
