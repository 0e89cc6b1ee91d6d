"""How far a few points are from a mesh.

For so few, a tree of all the triangles (Embree's, say) does not pay: it takes some 0.6 us a triangle to build. A tree
of the vertices takes a tenth of that, and tells which triangles can be the nearest ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from onet_ros import columns
from onet_ros.surface.triangles import longest_edges

LONG = 1.5  # times the mean longest edge: triangles with longer ones are all looked at
# No place of a triangle is farther from all of its corners than its longest edge times the first; none, nor a corner,
# is farther from its centroid than the longest edge times the second, two thirds of the longest median.
_TO_CORNERS, _TO_CENTROID = 1.0 / np.sqrt(3.0), 2.0 / 3.0


def surface_distances(
    points: NDArray[np.float64], vertices: NDArray[np.float64], faces: NDArray[np.int64], tree: cKDTree
) -> NDArray[np.float64]:
    """(N,) metres from points to the nearest place of a triangle mesh.

    Args:
        points: (N, 3) metres, a few hundred.
        vertices: (V, 3) metres, each part of a face.
        faces: (F, 3) int64.
        tree: of the vertices.
    """
    found: NDArray[np.float64] = tree.query(points)[0]
    longest = longest_edges(vertices, faces)
    usual = LONG * float(longest.mean())
    near = np.zeros(len(vertices), dtype=bool)
    for own in tree.query_ball_point(points, found + _TO_CORNERS * usual, return_sorted=False):
        near[own] = True
    a, b, c = np.ascontiguousarray(faces.T)
    some = np.flatnonzero(near.take(a) | near.take(b) | near.take(c) | (longest > usual))
    origin = vertices[0]  # far from the origin of the frame, digits would be lost
    corners = [vertices.take(one.take(some), axis=0) - origin for one in (a, b, c)]
    asked, centroids = points - origin, (corners[0] + corners[1] + corners[2]) / 3.0
    owners, rows = _within(asked, found, centroids, _TO_CENTROID * longest.take(some))
    exact = _to_triangles(asked.take(owners, axis=0), *(one.take(rows, axis=0) for one in corners))
    np.minimum.at(found, owners, exact)
    return found


def _within(
    points: NDArray[np.float64], found: NDArray[np.float64], centres: NDArray[np.float64], radii: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of a point (N, 3) and a ball, (M, 3) and (M,), that comes as near to it as `found` (N,).

    |p - c|^2 - (found + r)^2, all in one product.
    """
    one = np.ones(len(points))
    left = np.column_stack([-2.0 * points, -2.0 * found, one, (points**2).sum(axis=1) - found**2])
    right = np.stack([*centres.T, radii, (centres**2).sum(axis=1) - radii**2, np.ones(len(centres))])
    near = np.flatnonzero((left @ right).ravel() <= 1e-12)
    return np.divmod(near, max(len(centres), 1))


def _to_triangles(
    points: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(P,) metres from each point (P, 3) to the triangle with these corners (P, 3).

    To its plane where the foot of the perpendicular lies on the inner side of all edges, to the nearest edge otherwise.
    """
    normals = np.cross(b - a, c - a)
    area = columns.lengths(normals)
    within, to_edges = area > 0.0, np.full(len(points), np.inf)
    for start, end in ((a, b), (b, c), (c, a)):
        edge, way = end - start, points - start
        share = np.einsum("ij,ij->i", way, edge) / np.maximum(np.einsum("ij,ij->i", edge, edge), 1e-30)
        np.minimum(to_edges, columns.lengths(way - share.clip(0.0, 1.0)[:, None] * edge), out=to_edges)
        within &= np.einsum("ij,ij->i", np.cross(normals, edge), way) >= 0.0
    height = np.abs(np.einsum("ij,ij->i", points - a, normals)) / np.maximum(area, 1e-30)
    return np.where(within, height, to_edges)
