"""Closed meshes with fewer triangles, edge by edge, in compiled loops.

Quadric error metrics after Garland and Heckbert, "Surface Simplification Using Quadric Error Metrics" (SIGGRAPH 1997):
of all edges the one is taken next whose two vertices can become one with the least sum of squared distances to the
planes of all triangles that went into them, weighted by area. An edge is left alone where that would change the
topology (Dey et al., "Topology preserving edge contraction", 1999: the two vertices have other neighbours in common
than those of the edge's own triangles), turn a triangle over, or make a needle of it.

A corner is a triangle's place in the list of faces: corner c is of triangle c // 3, and lies opposite the edge between
the two other corners of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onet_ros.cpu_kernels import compiled

UPRIGHT = 0.2  # cosine between a triangle's normal before and after, at least
STEP_BITS = 2
STEPS, RANKS = 1 << STEP_BITS, 128 << STEP_BITS  # of errors, from 1e-30 to 1e8 of a mesh whose size is about 1
LATER, SOON = 2 * STEPS, STEPS * (100 - 33)  # an edge that cannot be taken comes up again when others are as bad
ROUNDNESS = 0.02  # of triangles that come out: 1 for three equal edges, 0 for a line
PULL = 1e-6  # towards the middle of the edge, over that of all planes together: what is flat leaves the place open

# Numbers without a sign are divided in half the time, and nobody looks whether they count from the end of an array.
_THREE = np.uint32(3)

Floats = NDArray[np.float64]
Integers = NDArray[np.int32]  # half the memory: large meshes are read all over


@compiled
def collapse_edges(vertices: Floats, faces: NDArray[np.int64], target: int) -> tuple[Floats, NDArray[np.int64]]:
    """At most `target` triangles, or as few as can be.

    Args:
        vertices: (V, 3), of a size of about 1 and near the origin.
        faces: (F, 3), closed and wound consistently; what is not comes back as it is.

    Returns:
        (V', 3) and (F', 3), without unused vertices, with the same Euler number; where fans of triangles met in one
        vertex, each has its own.
    """
    corners = faces.astype(np.int32).ravel()
    opposite = _opposites(corners, len(vertices))
    if opposite.min() < 0:
        return vertices, faces
    places = _parted(corners, opposite, vertices)
    _take_edges(corners, opposite, places, _quadrics(corners, places), len(faces), target)
    return _left_over(corners, places)


@compiled
def _next(corner: int) -> Any:
    return np.uint32(corner - 2 if np.uint32(corner) % _THREE == 2 else corner + 1)


@compiled
def _previous(corner: int) -> Any:
    return np.uint32(corner + 2 if np.uint32(corner) % _THREE == 0 else corner - 1)


@compiled
def _around(corner: int, opposite: Integers) -> int:
    """The corner at the same vertex in the next triangle about it."""
    return _next(opposite[_next(corner)])


@compiled
def _opposites(corners: Integers, count: int) -> Integers:
    """Of each corner the one on the other side of its edge; -1 where there is none."""
    starts = np.zeros(count + 1, np.int64)
    for corner in range(len(corners)):
        starts[corners[_next(corner)] + 1] += 1
    starts = np.cumsum(starts)
    ends, sorted_corners = starts[:-1].copy(), np.empty(len(corners), np.int32)
    for corner in range(len(corners)):  # by the vertex at which their edge begins
        vertex = corners[_next(corner)]
        sorted_corners[ends[vertex]] = corner
        ends[vertex] += 1
    opposite = np.full(len(corners), np.int32(-1))
    for corner in range(len(corners)):
        if opposite[corner] < 0:
            begin, end = corners[_next(corner)], corners[_previous(corner)]
            for i in range(starts[end], ends[end]):
                other = sorted_corners[i]
                if corners[_previous(other)] == begin and opposite[other] < 0 and other != corner:
                    opposite[corner], opposite[other] = other, corner
                    break
    return opposite


@compiled
def _parted(corners: Integers, opposite: Integers, vertices: Floats) -> Floats:
    """Vertices, one for each closed fan of triangles, to which the corners are changed."""
    known = np.zeros(len(corners), np.bool_)
    taken = np.zeros(len(vertices), np.bool_)
    sources, count = np.empty(len(corners), np.int64), len(vertices)
    for first in range(len(corners)):
        if known[first]:
            continue
        fan = corners[first]
        if taken[fan]:
            sources[count - len(vertices)] = fan
            fan = count
            count += 1
        else:
            taken[fan] = True
        corner = first
        while not known[corner]:
            known[corner] = True
            corners[corner] = fan
            corner = _around(corner, opposite)
    return np.concatenate((vertices, vertices[sources[: count - len(vertices)]]))


@compiled
def _quadrics(corners: Integers, places: Floats) -> Floats:
    """(V, 10) sums over the triangles about vertices: the upper triangle of area (n, d) (n, d)', plane n x + d = 0."""
    quadrics = np.zeros((len(places), 10))
    for triangle in range(len(corners) // 3):
        a, b, c = corners[3 * triangle], corners[3 * triangle + 1], corners[3 * triangle + 2]
        x, y, z = _normal(places[a, 0], places[a, 1], places[a, 2], b, c, places)
        area = np.sqrt(x * x + y * y + z * z)
        if area > 0.0:
            x, y, z = x / area, y / area, z / area
            d = -(x * places[a, 0] + y * places[a, 1] + z * places[a, 2])
            terms = (x * x, x * y, x * z, x * d, y * y, y * z, y * d, z * z, z * d, d * d)
            for vertex in (a, b, c):
                for i in range(10):
                    quadrics[vertex, i] += area * terms[i]
    return quadrics


@compiled
def _normal(ax: float, ay: float, az: float, b: Any, c: Any, places: Floats) -> tuple[float, float, float]:
    """Of a triangle of a place and two vertices, as long as twice its area."""
    b, c = np.uint32(b), np.uint32(c)
    ux, uy, uz = places[b, 0] - ax, places[b, 1] - ay, places[b, 2] - az
    vx, vy, vz = places[c, 0] - ax, places[c, 1] - ay, places[c, 2] - az
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


@compiled
def _best_place(one: Any, other: Any, places: Floats, quadrics: Floats) -> tuple[float, float, float, float]:
    """The error of two vertices that become one, and where they do."""
    one, other = np.uint32(one), np.uint32(other)
    xx, xy, xz = (
        quadrics[one, 0] + quadrics[other, 0],
        quadrics[one, 1] + quadrics[other, 1],
        quadrics[one, 2] + quadrics[other, 2],
    )
    yy, yz, zz = (
        quadrics[one, 4] + quadrics[other, 4],
        quadrics[one, 5] + quadrics[other, 5],
        quadrics[one, 7] + quadrics[other, 7],
    )
    xd, yd, zd, dd = (
        quadrics[one, 3] + quadrics[other, 3],
        quadrics[one, 6] + quadrics[other, 6],
        quadrics[one, 8] + quadrics[other, 8],
        quadrics[one, 9] + quadrics[other, 9],
    )
    mx, my, mz = (
        (places[one, 0] + places[other, 0]) / 2,
        (places[one, 1] + places[other, 1]) / 2,
        (places[one, 2] + places[other, 2]) / 2,
    )
    # With the quadric as (A, b; b', c): (A + pull) (x - m) = -(A m + b), by Cramer's rule.
    bx, by, bz = xx * mx + xy * my + xz * mz + xd, xy * mx + yy * my + yz * mz + yd, xz * mx + yz * my + zz * mz + zd
    middle = mx * (bx + xd) + my * (by + yd) + mz * (bz + zd) + dd
    pull = PULL * (xx + yy + zz) + 1e-30
    xx, yy, zz = xx + pull, yy + pull, zz + pull
    cx, cy, cz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    whole = -1.0 / (xx * cx + xy * cy + xz * cz)
    dx = whole * (bx * cx + by * cy + bz * cz)
    dy = whole * (bx * cy + by * (xx * zz - xz * xz) + bz * (xy * xz - xx * yz))
    dz = whole * (bx * cz + by * (xy * xz - xx * yz) + bz * (xx * yy - xy * xy))
    # The minimum of a quadratic function lies below its value in the middle by half of what the slope there promises.
    return max(middle + bx * dx + by * dy + bz * dz, 0.0), mx + dx, my + dy, mz + dz


@compiled
def _take_edges(
    corners: Integers, opposite: Integers, places: Floats, quadrics: Floats, left: int, target: int
) -> None:
    """Take edges, the best first, until few enough triangles are left or no edge can be taken."""
    changes, near = np.zeros(len(places), np.int32), np.empty(len(corners), np.int32)
    queue = _queue(2 * left)
    heads, following, edges, ages = queue
    waiting, in_vain, lowest = 0, 0, len(heads)
    for corner in range(len(corners)):
        if corner < opposite[corner]:
            lowest = min(lowest, _file(queue, waiting, corner, corners, changes, places, quadrics))
            waiting += 1
    slots = waiting
    while waiting > in_vain and left > target:
        while heads[lowest] < 0:
            lowest += 1
        slot = heads[lowest]
        heads[lowest] = following[slot]
        corner = edges[slot]
        if corners[corner] < 0:
            waiting -= 1
            continue
        start, end = _next(corner), _previous(corner)
        kept, gone = corners[start], corners[end]
        now = changes[kept] + changes[gone]
        if now != ages[slot]:  # something was taken beside it, and it may have become worse
            lowest = min(lowest, _file(queue, slot, corner, corners, changes, places, quadrics))
            continue
        _, x, y, z = _best_place(kept, gone, places, quadrics)
        if not (
            _is_alone(corner, corners, opposite, near)
            and _can_move(start, gone, x, y, z, corners, opposite, places)
            and _can_move(end, kept, x, y, z, corners, opposite, places)
        ):
            _enter(queue, slot, max(lowest, SOON) + LATER, corner, now)
            in_vain += 1
            continue
        one, other = _collapse(corner, corners, opposite)
        left, waiting, in_vain = left - 2, waiting + 1, 0
        places[kept, 0], places[kept, 1], places[kept, 2] = x, y, z
        for i in range(10):
            quadrics[kept, i] += quadrics[gone, i]
        changes[kept] += 1 + changes[gone]
        # Two edges each have become one, which may not be waiting.
        lowest = min(lowest, _file(queue, slot, one, corners, changes, places, quadrics))
        lowest = min(lowest, _file(queue, slots, other, corners, changes, places, quadrics))
        slots += 1


@compiled
def _queue(room: int) -> tuple[Integers, Integers, Integers, Integers]:
    """Edges by the rank of their errors: the first slot of each rank, and of each slot the next of the same rank, the
    edge, and how often its vertices had changed."""
    return np.full(RANKS, np.int32(-1)), np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)


@compiled
def _enter(queue: tuple[Integers, Integers, Integers, Integers], slot: int, rank: int, edge: int, age: int) -> int:
    """Put an edge into a slot; its rank."""
    heads, following, edges, ages = queue
    rank = min(rank, RANKS - 1)
    edges[slot], ages[slot], following[slot] = edge, age, heads[rank]
    heads[rank] = slot
    return rank


@compiled
def _file(
    queue: tuple[Integers, Integers, Integers, Integers],
    slot: int,
    edge: int,
    corners: Integers,
    changes: Integers,
    places: Floats,
    quadrics: Floats,
) -> int:
    """Put an edge into a slot by its error; its rank."""
    one, other = corners[_next(edge)], corners[_previous(edge)]
    error = _best_place(one, other, places, quadrics)[0]
    return _enter(queue, slot, _rank(error), edge, changes[one] + changes[other])


@compiled
def _rank(error: float) -> int:
    """How large an error is, in `STEPS` to each doubling; one that is no number comes last."""
    if not error < 1e8:
        return RANKS - 1
    # Of the bits of a double the exponent comes first, and then the largest ones of the fraction.
    return int(np.float64(max(error, 1e-30)).view(np.int64) >> (52 - STEP_BITS)) - STEPS * (1022 - 100)


@compiled
def _is_alone(corner: int, corners: Integers, opposite: Integers, near: Integers) -> bool:
    """Whether an edge can be taken without a change of topology.

    Args:
        near: room for as many numbers as there are corners. A fan of a mesh that is no surface can come by the same
            vertex again and again.
    """
    if _is_among_three(corner, opposite) or _is_among_three(opposite[corner], opposite):
        return False
    one, other = _next(corner), _previous(corner)
    count, turn = 0, one
    while True:
        near[count] = corners[_next(turn)]
        count += 1
        turn = _around(turn, opposite)
        if turn == one:
            break
    common, turn = 0, other
    while True:
        neighbour = corners[_next(turn)]
        for i in range(count):
            common += near[i] == neighbour
        turn = _around(turn, opposite)
        if turn == other:
            return common == 2


@compiled
def _is_among_three(corner: int, opposite: Integers) -> bool:
    """Whether three triangles at most are about a vertex."""
    turn = corner
    for _ in range(3):
        turn = _around(turn, opposite)
        if turn == corner:
            return True
    return False


@compiled
def _can_move(
    first: int, aside: int, x: float, y: float, z: float, corners: Integers, opposite: Integers, places: Floats
) -> bool:
    """Whether the triangles about a vertex, but for those with the vertex `aside`, stay upright and round."""
    turn = first
    own = corners[first]
    while True:
        one: Any = np.uint32(corners[_next(turn)])
        other: Any = np.uint32(corners[_previous(turn)])
        if one != aside and other != aside:
            px, py, pz = _normal(places[own, 0], places[own, 1], places[own, 2], one, other, places)
            nx, ny, nz = _normal(x, y, z, one, other, places)
            before, after = px * px + py * py + pz * pz, nx * nx + ny * ny + nz * nz
            dot = px * nx + py * ny + pz * nz
            if dot <= 0.0 or dot * dot < UPRIGHT**2 * before * after:
                return False
            edges = (
                (x - places[one, 0]) ** 2
                + (y - places[one, 1]) ** 2
                + (z - places[one, 2]) ** 2
                + (x - places[other, 0]) ** 2
                + (y - places[other, 1]) ** 2
                + (z - places[other, 2]) ** 2
                + (places[one, 0] - places[other, 0]) ** 2
                + (places[one, 1] - places[other, 1]) ** 2
                + (places[one, 2] - places[other, 2]) ** 2
            )
            if 12.0 * after < (ROUNDNESS * edges) ** 2:
                return False
        turn = _around(turn, opposite)
        if turn == first:
            return True


@compiled
def _collapse(corner: int, corners: Integers, opposite: Integers) -> tuple[int, int]:
    """Take an edge: its two triangles are gone, and its two vertices are one; corners opposite the edges that become
    one on either side."""
    kept, gone = corners[_next(corner)], corners[_previous(corner)]
    turn = _previous(corner)
    while corners[turn] == gone:
        corners[turn] = kept
        turn = _around(turn, opposite)
    return _close(corner, corners, opposite), _close(opposite[corner], corners, opposite)


@compiled
def _close(corner: int, corners: Integers, opposite: Integers) -> int:
    """Take a triangle and join its neighbours; the corner of one of them opposite the edge between them."""
    one, other = opposite[_next(corner)], opposite[_previous(corner)]
    opposite[one], opposite[other] = other, one
    triangle = corner // 3
    for k in range(3):
        corners[3 * triangle + k] = -1
    return one


@compiled
def _left_over(corners: Integers, places: Floats) -> tuple[Floats, NDArray[np.int64]]:
    numbers, count = np.full(len(places), -1), 0
    faces = np.empty(len(corners), np.int64)
    vertices = np.empty((len(places), 3))
    used = 0
    for corner in range(len(corners)):
        vertex = corners[corner]
        if vertex >= 0:
            if numbers[vertex] < 0:
                numbers[vertex] = count
                vertices[count] = places[vertex]
                count += 1
            faces[used] = numbers[vertex]
            used += 1
    return vertices[:count].copy(), faces[:used].copy().reshape(-1, 3)
