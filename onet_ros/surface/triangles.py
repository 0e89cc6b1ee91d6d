"""What extraction needs to know of triangles, on plain arrays: trimesh computes and caches far more than is asked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

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


def areas_and_volumes(
    vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(F,) m^2 areas, and (F,) m^3 signed volumes.

    The volumes are of the tetrahedra between each face and a point amid the vertices, positive where it is outside.
    Summed over a closed mesh they are the volume it bounds, negative when it is inside out.
    """
    amid = columns.centre(vertices)
    corners = _corners(vertices - amid, faces)
    nx, ny, nz = _normals(*corners)
    x, y, z = corners[0]
    return 0.5 * _length(nx, ny, nz), (x * nx + y * ny + z * nz) / 6


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
    """(count,) m^2 and m^3, `areas_and_volumes` summed over the faces of each piece; pieces (F,) are the faces' own."""
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


def _length(x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(x * x + y * y + z * z)


def is_closed(faces: NDArray[np.int64]) -> bool:
    """Whether each edge is shared by two faces that run along it in opposite directions."""
    starts, ends = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    count = int(faces.max(initial=0)) + 1
    there, back = np.sort(starts * count + ends), np.sort(ends * count + starts)
    return bool(len(faces) and (there[1:] != there[:-1]).all() and np.array_equal(there, back))


def without_fins(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """The faces without pairs that share their three vertices and face opposite ways, which bound nothing."""
    count = int(faces.max(initial=0)) + 1
    low, middle, high = np.sort(faces, axis=1).T
    names = (low * count + middle) * count + high
    order = np.argsort(names)
    alike = np.flatnonzero(names[order[1:]] == names[order[:-1]])
    if not len(alike):
        return faces
    first, second = faces[order[alike]], faces[order[alike + 1]]
    turned = np.take_along_axis(second, (np.argmax(second == first[:, :1], axis=1)[:, None] + [0, 1, 2]) % 3, axis=1)
    fins = (turned == first[:, [0, 2, 1]]).all(axis=1)
    kept = np.ones(len(faces), dtype=bool)
    kept[order[alike[fins]]] = kept[order[alike[fins] + 1]] = False
    return faces[kept]


def parted(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> Arrays:
    """The mesh with sheets of its surface that meet along an edge, or at a vertex, taken apart.

    Each gets vertices of its own there, a fiftieth of the way to what is around them. Faces that share a vertex belong
    to one sheet where one is reached from the other across edges of that vertex which two faces share.
    """
    starts, ends = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    count = int(faces.max(initial=0)) + 1
    names = np.minimum(starts, ends) * count + np.maximum(starts, ends)
    order = np.argsort(names, kind="stable")
    first = np.flatnonzero(np.diff(names[order], prepend=-1))
    of_two = first[np.diff(first, append=len(names)) == 2]
    there, back = order[of_two], order[of_two + 1]
    opposed = starts[there] == ends[back]
    there, back = there[opposed], back[opposed]
    # An edge is numbered as the corner of a face that it starts at; corners of two faces at one end of it are one.
    here, other = np.concatenate([there, _next(there)]), np.concatenate([_next(back), back])
    graph = coo_matrix((np.ones(len(here), dtype=np.int8), (here, other)), shape=2 * (len(starts),))
    _, corners = connected_components(graph, directed=False)
    origins = np.empty(corners.max(initial=-1) + 1, dtype=np.int64)
    origins[corners] = starts
    moved = vertices[origins]
    doubled = np.flatnonzero(np.bincount(origins)[origins] > 1)
    if len(doubled):
        along = vertices[ends] - vertices[starts]
        ways = np.stack([np.bincount(corners, along[:, axis]) for axis in range(3)], axis=1)
        moved[doubled] += 0.02 * ways[doubled] / np.bincount(corners)[doubled, None]
    return moved, corners.reshape(-1, 3).astype(np.int64)


def _next(corners: NDArray[np.int64]) -> NDArray[np.int64]:
    """The corner after each in its face, as numbers in the flattened faces."""
    return np.where(corners % 3 == 2, corners - 2, corners + 1)


def euler_number(faces: NDArray[np.int64]) -> int:
    """Vertices - edges + faces of a closed mesh: 2 for each body less 2 for each handle."""
    return int(np.count_nonzero(np.bincount(faces.ravel()))) - len(faces) // 2


def compact(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> Arrays:
    """Vertices that faces refer to, and the faces renumbered."""
    used = np.bincount(faces.ravel(), minlength=len(vertices)) > 0
    if used.all():
        return vertices, faces
    return vertices[used], (np.cumsum(used) - 1)[faces]
