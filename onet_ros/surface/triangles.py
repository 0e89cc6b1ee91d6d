"""What extraction needs to know of triangles, on plain arrays: trimesh computes and caches far more than is asked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onet_ros import columns
from onet_ros.cpu_kernels import compiled

# vertices (V, 3) float64 metres and faces (F, 3) int64
Arrays = tuple[NDArray[np.float64], NDArray[np.int64]]


def normals_of_twice_the_area(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """(F, 3) normals, each as long as twice its triangle's area."""
    return np.stack(_normals(*_corners(vertices, faces)), axis=1)


def mesh_normals(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """(V, 3) unit normals of the vertices, the mean of their faces' by area."""
    normals = np.zeros((len(vertices), 3))
    _add_normals(*_contiguous(vertices, faces), normals)
    return normals


def face_areas(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """(F,) m^2."""
    areas = np.empty(len(faces))
    _fill_areas(*_contiguous(vertices, faces), areas)
    return areas


def face_means(values: NDArray[np.floating], faces: NDArray[np.int64]) -> NDArray[np.floating]:
    """(F,) means of the values (V,) at the corners of each face."""
    means = np.empty(len(faces), dtype=values.dtype)
    _fill_means(np.ascontiguousarray(values), np.ascontiguousarray(faces), means)
    return means


def volume(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> float:
    """m^3 that a closed mesh bounds, negative when it is inside out: the flow of (x, 0, 0) through its surface."""
    return float(_enclosed(*_contiguous(vertices, faces)))


def volume_moments(
    vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Moments of the solid that a closed mesh bounds: volume, m^3; centre (3,), m; second moments about it (3, 3), m^5.

    The integrals of 1, x and x x^T over each tetrahedron between a face (a, b, c) and a point amid the vertices are
    d / 6, d s / 24 and d (s s^T + a a^T + b b^T + c c^T) / 120, with d = a . (b x c) and s = a + b + c (F. Tonon,
    Explicit exact formulas for the 3-D tetrahedron inertia tensor, 2004, for a corner in the origin). The centre is NaN
    where nothing is enclosed.
    """
    amid = columns.centre(vertices)
    enclosed, first, second = _moments(*_contiguous(vertices - amid, faces))
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = first / np.float64(enclosed)
    return enclosed, amid + centre, second - enclosed * np.outer(centre, centre)


def _contiguous(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> Arrays:
    """As the loops want them."""
    return np.ascontiguousarray(vertices, dtype=np.float64), np.ascontiguousarray(faces, dtype=np.int64)


@compiled
def _normal(vertices: NDArray[np.float64], face: NDArray[np.int64]) -> tuple[float, float, float]:
    """(b - a) x (c - a)."""
    a, b, c = vertices[face[0]], vertices[face[1]], vertices[face[2]]
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


@compiled
def _add_normals(vertices: NDArray[np.float64], faces: NDArray[np.int64], normals: NDArray[np.float64]) -> None:
    for face in faces:
        normal = _normal(vertices, face)
        for corner in face:
            for axis in range(3):
                normals[corner, axis] += normal[axis]
    for own in normals:
        length = max(np.sqrt(own[0] ** 2 + own[1] ** 2 + own[2] ** 2), 1e-30)
        for axis in range(3):
            own[axis] /= length


@compiled
def _fill_areas(vertices: NDArray[np.float64], faces: NDArray[np.int64], areas: NDArray[np.float64]) -> None:
    for i in range(len(faces)):
        x, y, z = _normal(vertices, faces[i])
        areas[i] = 0.5 * np.sqrt(x * x + y * y + z * z)


@compiled
def _fill_means(values: NDArray[np.floating], faces: NDArray[np.int64], means: NDArray[np.floating]) -> None:
    for i in range(len(faces)):
        means[i] = (values[faces[i, 0]] + values[faces[i, 1]] + values[faces[i, 2]]) / 3


@compiled
def _enclosed(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> float:
    total, origin = 0.0, vertices[faces[0, 0], 0] if len(faces) else 0.0
    for face in faces:
        around = vertices[face[0], 0] + vertices[face[1], 0] + vertices[face[2], 0] - 3.0 * origin
        total += around * _normal(vertices, face)[0]
    return total / 6.0


@compiled
def areas_and_volumes_of_pieces(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], pieces: NDArray[np.int64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(count,) m^2 areas and (count,) m^3 signed volumes of a mesh's pieces; pieces (F,) are the faces' own.

    The volumes are sums over the tetrahedra between each face and a corner of the first one, positive where that is on
    the inner side.
    """
    areas, volumes = np.zeros(count), np.zeros(count)
    ox, oy, oz = vertices[faces[0, 0]]  # far from the origin of the frame, digits would be lost
    for i in range(len(faces)):
        x, y, z = _normal(vertices, faces[i])
        a = vertices[faces[i, 0]]
        areas[pieces[i]] += 0.5 * np.sqrt(x * x + y * y + z * z)
        volumes[pieces[i]] += ((a[0] - ox) * x + (a[1] - oy) * y + (a[2] - oz) * z) / 6.0
    return areas, volumes


@compiled
def _moments(
    vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """`volume_moments` about the origin, the first not over the volume."""
    total, first, second = 0.0, np.zeros(3), np.zeros((3, 3))
    for face in faces:
        a, b, c = vertices[face[0]], vertices[face[1]], vertices[face[2]]
        x, y, z = _normal(vertices, face)
        d = a[0] * x + a[1] * y + a[2] * z
        total += d / 6.0
        for i in range(3):
            s = a[i] + b[i] + c[i]
            first[i] += d * s / 24.0
            for j in range(3):
                product = s * (a[j] + b[j] + c[j]) + a[i] * a[j] + b[i] * b[j] + c[i] * c[j]
                second[i, j] += d * product / 120.0
    return total, first, second


# x, y and z of many points, each (N,): one after the other they take a fifth of the time that (N, 3) takes.
_Coordinates = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _corners(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> list[_Coordinates]:
    """The three corners of all faces."""
    x, y, z = np.ascontiguousarray(vertices.T)
    return [(x.take(own), y.take(own), z.take(own)) for own in np.ascontiguousarray(faces.T)]


def _normals(a: _Coordinates, b: _Coordinates, c: _Coordinates) -> _Coordinates:
    """(b - a) x (c - a)."""
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


def is_closed(faces: NDArray[np.int64]) -> bool:
    """Whether each edge is shared by two faces that run along it in opposite directions."""
    if not len(faces) or faces.min() < 0:
        return False
    return bool(_edges_meet(np.ascontiguousarray(faces, dtype=np.int64)))


@compiled
def _edges_meet(faces: NDArray[np.int64]) -> bool:
    corners = faces.ravel()
    firsts = np.zeros(corners.max() + 2, np.int64)
    for i in range(len(corners)):
        firsts[corners[i] + 1] += 1
    firsts = np.cumsum(firsts)
    filled, by_vertex = firsts[:-1].copy(), np.empty(len(corners), np.int64)
    for i in range(len(corners)):
        by_vertex[filled[corners[i]]] = i
        filled[corners[i]] += 1
    leads_from = np.full(len(filled), -1)  # the vertex from which an edge leads here
    for vertex in range(len(filled)):
        for corner in by_vertex[firsts[vertex] : firsts[vertex + 1]]:
            end = corners[corner + 1 if corner % 3 < 2 else corner - 2]
            if leads_from[end] == vertex:
                return False
            leads_from[end] = vertex
        for corner in by_vertex[firsts[vertex] : firsts[vertex + 1]]:
            if leads_from[corners[corner - 1 if corner % 3 > 0 else corner + 2]] != vertex:
                return False
    return True


def euler_number(faces: NDArray[np.int64]) -> int:
    """Vertices - edges + faces of a closed mesh: 2 for each body less 2 for each handle."""
    return int(np.count_nonzero(np.bincount(faces.ravel()))) - len(faces) // 2
