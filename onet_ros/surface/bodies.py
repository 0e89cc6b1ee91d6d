"""Which connected bodies of a mesh are the object, and which are crumbs or hidden hollows."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from onet_ros.surface.field import SurfaceError
from onet_ros.surface.soundness import signed_volumes


def keep_bodies(mesh: trimesh.Trimesh, min_fraction: float) -> trimesh.Trimesh:
    """The mesh without crumbs, without closed hollows and without what lies inside another body.

    A closed piece of surface that bounds a positive volume is a body, one that bounds a negative volume a hollow in a
    body. No camera and no gripper reaches a closed hollow, so hollows are filled. Bodies with less than `min_fraction`
    of the largest body's area are dropped; area, because a thin plate has next to no volume.

    Args:
        mesh: closed, wound consistently, outward. Not changed.
        min_fraction: 0 to 1; 1 keeps the largest body alone.

    Raises:
        SurfaceError: there is no body with positive volume.
    """
    labels = _body_labels(mesh)
    volumes = np.bincount(labels, signed_volumes(mesh))
    areas = np.bincount(labels, mesh.area_faces)
    bodies = np.flatnonzero(volumes > 0)
    if not len(bodies):
        raise SurfaceError(f"mesh bounds no positive volume: its pieces have {volumes[:10].tolist()} m^3")
    bodies = bodies[np.argsort(-areas[bodies], kind="stable")]
    bodies = bodies[areas[bodies] >= min_fraction * areas[bodies[0]]]

    kept: list[int] = []
    for body in bodies:
        vertex = np.asarray(mesh.triangles)[np.argmax(labels == body), 0]
        if not any(_contains(np.asarray(mesh.triangles)[labels == other], vertex) for other in kept):
            kept.append(int(body))
    if len(kept) == len(volumes):
        return mesh
    vertices, faces = _compact(np.asarray(mesh.vertices), np.asarray(mesh.faces)[np.isin(labels, kept)])
    return trimesh.Trimesh(vertices=vertices, faces=faces, process=False)


def _body_labels(mesh: trimesh.Trimesh) -> NDArray[np.int64]:
    """(F,) number of the connected piece of each face; pieces share no vertex."""
    a, b, c = np.asarray(mesh.faces).T
    edges = coo_matrix((np.ones(2 * len(a), dtype=bool), (np.r_[a, b], np.r_[b, c])), shape=2 * (len(mesh.vertices),))
    _, vertex_labels = connected_components(edges, directed=False)
    return np.unique(vertex_labels[a], return_inverse=True)[1].ravel()


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


def _compact(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices that faces refer to, and the faces renumbered."""
    used = np.zeros(len(vertices), dtype=bool)
    used[faces] = True
    return vertices[used], (np.cumsum(used) - 1)[faces]
