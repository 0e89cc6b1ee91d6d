"""The nearest of many points, and the distance from a mesh, by boxes around blocks of them.

For a few thousand queries a tree does not pay: it takes longer to build than to look at all boxes for each query, which
a CPU does in one go.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from onet_ros import columns
from onet_ros.cpu_kernels import compiled, over_cores
from onet_ros.lanes import LANES, Lanes, Matrix, index

POINTS_IN_BLOCK, TRIANGLES_IN_BLOCK = 32, 8
TOGETHER = 8  # queries that follow each other along a curve, for which boxes are left out together
_BITS = 5  # of a cell's number along each axis
_CELLS, _CODES = 2**_BITS, 2 ** (3 * _BITS)
LEAST = 64  # queries that are worth a thread of their own

Floats = NDArray[np.float64]


class NearestPoint:
    """Which of some points is the nearest, and how far it is.

    Args:
        points: (N, 3) float64 metres, N >= 1.
    """

    def __init__(self, points: Floats) -> None:
        origin = columns.centre(points)
        self._origin, self._order = origin, _along_a_curve(points)
        self._points = points.take(self._order, axis=0) - origin
        self._boxes = _boxes(self._points[:, None], POINTS_IN_BLOCK)
        self._blocks = _in_blocks(self._points)

    def __call__(self, queries: Floats, within: float = np.inf) -> tuple[Floats, NDArray[np.int64]]:
        """(M,) metres to the nearest point, and (M,) which it is.

        Args:
            queries: (M, 3) metres.
            within: metres, how far to look; where there is nothing, the distance is infinite, and the point any.
        """
        asked = np.ascontiguousarray(queries - self._origin)
        curve = _along_a_curve(asked) if len(asked) else np.zeros(0, dtype=np.int64)
        distances, rows = np.empty(len(asked)), np.empty(len(asked), dtype=np.int64)
        known = asked, curve, self._points, self._blocks, self._boxes, within
        over_cores(_nearest_points, len(asked), *known, distances, rows, least=LEAST)
        return distances, self._order.take(rows)


def surface_distances(points: Floats, vertices: Floats, faces: NDArray[np.int64]) -> Floats:
    """(N,) metres from points to the nearest place of a triangle mesh.

    Args:
        points: (N, 3) metres.
        vertices: (V, 3) metres.
        faces: (F, 3) int64, F >= 1.
    """
    origin = vertices[0]  # far from the origin of the frame, digits would be lost
    order = _along_a_curve(vertices.take(faces[:, 0], axis=0))
    triangles = np.empty((len(faces), 3, 3))
    _gather(np.ascontiguousarray(vertices), np.ascontiguousarray(faces), order, origin, triangles)
    distances, asked = np.empty(len(points)), np.ascontiguousarray(points - origin)
    over_cores(
        _nearest_triangles, len(asked), asked, triangles, _boxes(triangles, TRIANGLES_IN_BLOCK), distances, least=LEAST
    )
    return distances


@compiled
def _along_a_curve(points: Floats) -> NDArray[np.int64]:
    """(N,) numbers of points (N, 3) in an order in which those that follow each other are close (Morton's)."""
    low = np.array([points[:, 0].min(), points[:, 1].min(), points[:, 2].min()])
    extent = max(points[:, 0].max() - low[0], points[:, 1].max() - low[1], points[:, 2].max() - low[2], 1e-30)
    codes, starts = np.empty(len(points), np.int64), np.zeros(_CODES + 1, np.int64)
    for i in range(len(points)):
        code = 0
        for axis in range(3):
            cell = int((points[i, axis] - low[axis]) / extent * (_CELLS - 1))
            for bit in range(_BITS):
                code |= (cell >> bit & 1) << (3 * bit + axis)
        codes[i] = code
        starts[code + 1] += 1
    starts = np.cumsum(starts)
    order = np.empty(len(points), np.int64)
    for i in range(len(points)):
        order[starts[codes[i]]] = i
        starts[codes[i]] += 1
    return order


@compiled
def _gather(
    vertices: Floats, faces: NDArray[np.int64], order: NDArray[np.int64], origin: Floats, triangles: Floats
) -> None:
    """Corners (N, 3, 3) of faces, seen from the origin."""
    for i in range(len(order)):
        for corner in range(3):
            vertex = faces[order[i], corner]
            for axis in range(3):
                triangles[i, corner, axis] = vertices[vertex, axis] - origin[axis]


@compiled
def _boxes(items: Floats, block: int) -> Floats:
    """(6, B) lower and upper corners of the boxes about each `block` of items (N, K, 3) of K points."""
    boxes = np.empty((6, (len(items) + block - 1) // block))
    for number in range(boxes.shape[1]):
        for axis in range(3):
            low, high = np.inf, -np.inf
            for i in range(number * block, min((number + 1) * block, len(items))):
                for corner in range(items.shape[1]):
                    low, high = min(low, items[i, corner, axis]), max(high, items[i, corner, axis])
            boxes[axis, number], boxes[axis + 3, number] = low, high
    return boxes


@compiled
def _gap(boxes: Floats, number: int, x: float, y: float, z: float) -> float:
    """Square of the distance from a place to a box, nought within it."""
    right = max(boxes[0, number] - x, x - boxes[3, number], 0.0)
    below = max(boxes[1, number] - y, y - boxes[4, number], 0.0)
    behind = max(boxes[2, number] - z, z - boxes[5, number], 0.0)
    return right * right + below * below + behind * behind


@compiled
def _gaps(boxes: Floats, x: float, y: float, z: float, gaps: Floats) -> int:
    """Squares of the distances from a place to boxes, nought within them; returns the nearest box."""
    for number in range(len(gaps)):
        gaps[number] = _gap(boxes, number, x, y, z)
    nearest, least = 0, np.inf
    for number in range(len(gaps)):
        if gaps[number] < least:
            nearest, least = number, gaps[number]
    return nearest


@compiled
def _in_blocks(points: Floats) -> NDArray[np.float32]:
    """(B, 3, POINTS_IN_BLOCK) points (N, 3) in single precision, coordinates side by side; what is left over is far."""
    blocks = np.full(((len(points) + POINTS_IN_BLOCK - 1) // POINTS_IN_BLOCK, 3, POINTS_IN_BLOCK), np.float32(1e18))
    for i in range(len(points)):
        for axis in range(3):
            blocks[i // POINTS_IN_BLOCK, axis, i % POINTS_IN_BLOCK] = points[i, axis]
    return blocks


@compiled
def _nearest_points(
    low: int,
    high: int,
    queries: Floats,
    curve: NDArray[np.int64],
    points: Floats,
    blocks: NDArray[np.float32],
    boxes: Floats,
    within: float,
    distances: Floats,
    rows: NDArray[np.int64],
) -> None:
    """Of queries that are close to each other, as they follow on the curve: most boxes are too far from all of them."""
    gaps, best, found = np.empty(boxes.shape[1]), np.empty(TOGETHER, np.float32), np.empty(TOGETHER, np.int64)
    for start in range(low, high, TOGETHER):
        asked = curve[start : min(start + TOGETHER, high)]
        nearest = _gaps_of_all(queries, asked, boxes, gaps)
        best[:], found[:], farthest = min(within * within, 1e30), -1, np.float32(0.0)
        for i in range(len(asked)):
            x, y, z = queries[asked[i], 0], queries[asked[i], 1], queries[asked[i], 2]
            _scan(blocks, nearest, x, y, z, best, found, i)  # type: ignore[call-arg]  # Numba adds one
            farthest = max(farthest, best[i])
        for block in range(len(gaps)):
            if gaps[block] <= farthest and block != nearest:
                for i in range(len(asked)):
                    x, y, z = queries[asked[i], 0], queries[asked[i], 1], queries[asked[i], 2]
                    if _gap(boxes, block, x, y, z) < best[i]:
                        _scan(blocks, block, x, y, z, best, found, i)  # type: ignore[call-arg]
        for i in range(len(asked)):
            query, row = asked[i], found[i]
            distance = np.inf
            if row >= 0:  # in double precision again
                square = (points[row, 0] - queries[query, 0]) ** 2 + (points[row, 1] - queries[query, 1]) ** 2
                distance = np.sqrt(square + (points[row, 2] - queries[query, 2]) ** 2)
            distances[query], rows[query] = distance, max(row, 0)


@compiled
def _gaps_of_all(queries: Floats, asked: NDArray[np.int64], boxes: Floats, gaps: Floats) -> int:
    """Squares of the distances from the box about some queries to boxes; returns the box nearest to its middle."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for query in asked:
        for axis in range(3):
            low[axis], high[axis] = min(low[axis], queries[query, axis]), max(high[axis], queries[query, axis])
    nearest = _gaps(boxes, (low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (low[2] + high[2]) / 2, gaps)
    for number in range(len(gaps)):
        right = max(boxes[0, number] - high[0], low[0] - boxes[3, number], 0.0)
        below = max(boxes[1, number] - high[1], low[1] - boxes[4, number], 0.0)
        behind = max(boxes[2, number] - high[2], low[2] - boxes[5, number], 0.0)
        gaps[number] = right * right + below * below + behind * behind
    return nearest


@intrinsic
def _scan(
    typing: Any, blocks: Any, block: Any, x: Any, y: Any, z: Any, best: Any, found: Any, i: Any
) -> tuple[Any, Callable[..., Any]]:
    """Look whether a block holds a point nearer to a place than best[i], the square of a distance: then that, and which
    point it is."""
    place = types.float64, types.float64, types.float64
    return types.void(blocks, types.intp, *place, best, found, types.intp), _write_scan


def _write_scan(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
    _, block, x, y, z, _, _, i = arguments
    blocks, best = (Matrix(context, builder, signature.args[k], arguments[k]) for k in (0, 5))
    place = [Lanes.of_one(builder, builder.fptrunc(one, ir.FloatType())) for one in (x, y, z)]
    squares = []
    for first in range(0, POINTS_IN_BLOCK, LANES):
        along = [blocks.lanes(block, index(axis * POINTS_IN_BLOCK + first)) - one for axis, one in enumerate(place)]
        squares.append((along[0] * along[0]).plus_product(along[1], along[1]).plus_product(along[2], along[2]))
    least = reduce(Lanes.at_most, squares).least()
    target = best.pointer(index(0), i)
    with builder.if_then(builder.fcmp_ordered("<", least, builder.load(target))):
        bits = [
            builder.shl(square.equal(Lanes.of_one(builder, least)), index(LANES * number))
            for number, square in enumerate(squares)
        ]
        first = builder.cttz(reduce(builder.or_, bits), ir.Constant(ir.IntType(1), 1))
        builder.store(least, target)
        rows = context.make_array(signature.args[6])(context, builder, arguments[6])
        row = builder.add(builder.mul(block, index(POINTS_IN_BLOCK)), first)
        builder.store(row, builder.gep(rows.data, [i]))
    return context.get_dummy_value()


@compiled
def _nearest_triangles(
    low: int, high: int, queries: Floats, triangles: Floats, boxes: Floats, distances: Floats
) -> None:
    gaps = np.empty(boxes.shape[1])
    for query in range(low, high):
        x, y, z = queries[query, 0], queries[query, 1], queries[query, 2]
        nearest = _gaps(boxes, x, y, z, gaps)
        best = np.inf
        for turn in range(-1, len(gaps)):
            block = turn if turn >= 0 else nearest
            if gaps[block] < best:
                first = block * TRIANGLES_IN_BLOCK
                for i in range(first, min(first + TRIANGLES_IN_BLOCK, len(triangles))):
                    best = min(best, _to_triangle(triangles[i], x, y, z))
        distances[query] = np.sqrt(best)


@compiled
def _to_triangle(corners: Floats, x: float, y: float, z: float) -> float:
    """Square of the distance from a place to the triangle with corners (3, 3).

    To its plane where the foot of the perpendicular lies on the inner side of all edges, to the nearest edge otherwise.
    """
    ux, uy, uz = corners[1, 0] - corners[0, 0], corners[1, 1] - corners[0, 1], corners[1, 2] - corners[0, 2]
    vx, vy, vz = corners[2, 0] - corners[0, 0], corners[2, 1] - corners[0, 1], corners[2, 2] - corners[0, 2]
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    area = nx * nx + ny * ny + nz * nz
    # What is left of the area of a triangle without any is rounding.
    within = area > 1e-24 * (ux * ux + uy * uy + uz * uz) * (vx * vx + vy * vy + vz * vz)
    to_edges = np.inf
    for start in range(3):
        end = (start + 1) % 3
        ex, ey, ez = (
            corners[end, 0] - corners[start, 0],
            corners[end, 1] - corners[start, 1],
            corners[end, 2] - corners[start, 2],
        )
        wx, wy, wz = x - corners[start, 0], y - corners[start, 1], z - corners[start, 2]
        share = (wx * ex + wy * ey + wz * ez) / max(ex * ex + ey * ey + ez * ez, 1e-30)
        share = min(max(share, 0.0), 1.0)
        dx, dy, dz = wx - share * ex, wy - share * ey, wz - share * ez
        to_edges = min(to_edges, dx * dx + dy * dy + dz * dz)
        if (ny * ez - nz * ey) * wx + (nz * ex - nx * ez) * wy + (nx * ey - ny * ex) * wz < 0.0:
            within = False
    if not within:
        return to_edges
    height = nx * (x - corners[0, 0]) + ny * (y - corners[0, 1]) + nz * (z - corners[0, 2])
    return height * height / area
