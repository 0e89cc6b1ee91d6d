"""What extraction needs to know of triangles, on plain arrays: trimesh computes and caches far more than is asked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

# vertices (V, 3) float64 metres and faces (F, 3) int64
Arrays = tuple[NDArray[np.float64], NDArray[np.int64]]


def normals_of_twice_the_area(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """(F, 3) normals, each as long as twice its triangle's area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    (ux, uy, uz), (vx, vy, vz) = (b - a).T, (c - a).T
    return np.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx], axis=1)


def face_areas(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """(F,) m^2."""
    return 0.5 * _lengths(normals_of_twice_the_area(vertices, faces))


def areas_and_volumes(
    vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(F,) m^2 areas, and (F,) m^3 signed volumes.

    The volumes are of the tetrahedra between each face and a point amid the vertices, positive where it is outside.
    Summed over a closed mesh they are the volume it bounds, negative when it is inside out.
    """
    amid = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    normals = normals_of_twice_the_area(vertices, faces)
    return 0.5 * _lengths(normals), np.einsum("ij,ij->i", vertices[faces[:, 0]] - amid, normals) / 6


def is_closed(faces: NDArray[np.int64]) -> bool:
    """Whether each edge is shared by two faces that run along it in opposite directions."""
    starts, ends = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    count = int(faces.max(initial=0)) + 1
    there, back = np.sort(starts * count + ends), np.sort(ends * count + starts)
    return bool(len(faces) and (there[1:] != there[:-1]).all() and np.array_equal(there, back))


def euler_number(faces: NDArray[np.int64]) -> int:
    """Vertices - edges + faces of a closed mesh: 2 for each body less 2 for each handle."""
    return int(np.count_nonzero(np.bincount(faces.ravel()))) - len(faces) // 2


def piece_labels(faces: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """How many connected pieces there are, and (F,) number of each face's piece; pieces share no vertex."""
    count, first = len(faces), int(faces.max()) + 1
    # A graph of vertices and, after them, faces; each face knows its vertices, and every vertex is known to a face.
    starts = np.concatenate([np.zeros(first, dtype=np.int32), np.arange(0, 3 * count + 1, 3, dtype=np.int32)])
    ends = faces.ravel().astype(np.int32)
    graph = csr_matrix((np.ones(3 * count), ends, starts), shape=2 * (first + count,))
    _, labels = connected_components(graph, directed=False)
    labels = labels[first:].astype(np.int64)
    if not labels.any():
        return 1, labels
    names, labels = np.unique(labels, return_inverse=True)  # vertices without a face are pieces without one
    return len(names), labels.ravel()


def compact(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> Arrays:
    """Vertices that faces refer to, and the faces renumbered."""
    used = np.bincount(faces.ravel(), minlength=len(vertices)) > 0
    if used.all():
        return vertices, faces
    return vertices[used], (np.cumsum(used) - 1)[faces]


def _lengths(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
