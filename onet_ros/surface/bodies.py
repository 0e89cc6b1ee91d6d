"""Which connected bodies of a mesh are the object, and which are crumbs or hidden hollows."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from onet_ros.surface.field import SurfaceError
from onet_ros.surface.triangles import areas_and_volumes, compact, piece_labels


def keep_bodies(
    mesh: trimesh.Trimesh, min_fraction: float, seeds: ArrayLike | None = None, reach: float = 0.0
) -> trimesh.Trimesh:
    """The mesh without crumbs, without closed hollows, without what lies inside another body and what nobody saw.

    A closed piece of surface that bounds a positive volume is a body, one that bounds a negative volume a hollow in a
    body. No camera and no gripper reaches a closed hollow, so hollows are filled. Bodies with less than `min_fraction`
    of the largest body's area are dropped; area, because a thin plate has next to no volume.

    Args:
        mesh: closed, wound consistently, outward. Not changed.
        min_fraction: 0 to 1; 1 keeps the largest body alone.
        seeds: (S, 3) metres, points known to lie near the surface (what the camera saw). Of several bodies those
            without a vertex within `reach` of a seed are dropped: nothing speaks for them. Should none have one, all
            stay.
        reach: metres.

    Raises:
        SurfaceError: there is no body with positive volume.
    """
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    count, labels = piece_labels(faces)
    face_areas, face_volumes = areas_and_volumes(vertices, faces)
    areas, volumes = np.bincount(labels, face_areas), np.bincount(labels, face_volumes)
    bodies = np.flatnonzero(volumes > 0)
    if not len(bodies):
        raise SurfaceError(f"mesh bounds no positive volume: its pieces have {volumes[:10].tolist()} m^3")
    if seeds is not None and len(bodies) > 1:
        bodies = _near_seeds(bodies, vertices, faces, labels, np.asarray(seeds, dtype=np.float64), reach)
    bodies = bodies[np.argsort(-areas[bodies], kind="stable")]
    bodies = bodies[areas[bodies] >= min_fraction * areas[bodies[0]]]

    kept: list[int] = []
    for body in bodies:
        vertex = vertices[faces[np.argmax(labels == body), 0]]
        if not any(_contains(vertices[faces[labels == other]], vertex) for other in kept):
            kept.append(int(body))
    if len(kept) == count:
        return mesh
    vertices, faces = compact(vertices, faces[np.isin(labels, kept)])
    return trimesh.Trimesh(vertices=vertices, faces=faces, process=False)


def _near_seeds(
    bodies: NDArray[np.int64],
    vertices: NDArray[np.float64],
    faces: NDArray[np.int64],
    labels: NDArray[np.integer],
    seeds: NDArray[np.float64],
    reach: float,
) -> NDArray[np.int64]:
    if not len(seeds):
        return bodies
    nearest, _ = cKDTree(seeds).query(vertices, distance_upper_bound=reach)
    supported = np.isfinite(nearest)[faces].any(axis=1)
    near = bodies[np.isin(bodies, labels[supported])]
    return near if len(near) else bodies


def _contains(triangles: NDArray[np.float64], point: NDArray[np.float64]) -> bool:
    """Whether a closed surface (F, 3, 3) winds around a point: the sum of the triangles' solid angles.

    Solid angle of a triangle: van Oosterom and Strackee, IEEE Transactions on Biomedical Engineering, 1983.
    """
    if not ((point > triangles.min(axis=(0, 1))) & (point < triangles.max(axis=(0, 1)))).all():
        return False
    a, b, c = np.moveaxis(triangles - point, 1, 0)
    la, lb, lc = (np.linalg.norm(corner, axis=1) for corner in (a, b, c))
    numerator = np.einsum("ij,ij->i", a, np.cross(b, c))
    ab, bc, ca = (np.einsum("ij,ij->i", p, q) for p, q in ((a, b), (b, c), (c, a)))
    denominator = la * lb * lc + ab * lc + bc * la + ca * lb
    return bool(2 * np.arctan2(numerator, denominator).sum() > 2 * np.pi)
