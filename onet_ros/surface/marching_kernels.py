"""Marching cubes as GPU kernels: what `marching_loops` does on the host.

Four kernels, each over cells, edges, vertices or triangles, and a running sum between them that says where in the lists
each one's own are. Order and values are those of `marching_loops`.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import torch

from onet_ros.gpu_kernels import GpuKernels, jit, tl
from onet_ros.surface.field import BatchField, evaluate_batch
from onet_ros.surface.grid import INSIDE, GridBatch
from onet_ros.surface.marching_table import case_table
from onet_ros.surface.mesh_batch import MeshBatch

_kernels = GpuKernels("surfaces are put together on the host", block=128)


class UnmadeError(Exception):
    """A kernel could not be made."""


def march(
    grids: GridBatch, field: BatchField | None, refinement_steps: int, chunk_size: int, clearance: float
) -> MeshBatch | None:
    """The surfaces of grids on a GPU, errors aside; None where there are no kernels for it."""
    countable = 5 * len(grids.cells) < 2**31 and grids.lattice.size < 2**31
    if not _kernels.fit(grids.samples) or not len(grids.cells) or not countable:
        return None
    try:
        return _Marching(grids, clearance).run(field, refinement_steps, chunk_size)
    except UnmadeError:
        return None


class _Marching:
    def __init__(self, grids: GridBatch, clearance: float) -> None:
        self._grids, self._clearance = grids, clearance
        lattice = self._lattice = grids.lattice
        count, device = len(grids.cells), grids.cells.device
        self._cases = torch.empty(count, dtype=torch.uint8, device=device)
        self._crossed = torch.empty(count, dtype=torch.uint8, device=device)
        self._rows = torch.empty(lattice.size, dtype=torch.int32, device=device)  # read only where written
        counts = torch.empty(2, count, dtype=torch.int32, device=device)
        self._table, faces_of_case = _tables(device)
        arguments = (grids.cells, grids.sides, faces_of_case, self._cases, self._crossed, self._rows, counts)
        self._launch(_look, count, *arguments, count, lattice.width, INSIDE=INSIDE)
        self._first = torch.zeros(2, count + 1, dtype=torch.int64, device=device)  # of vertices and faces
        for row in range(2):  # one by one: sums along the rows of a matrix are no work for many threads
            torch.cumsum(counts[row], 0, out=self._first[row, 1:])
        ends = torch.searchsorted(grids.cells, lattice.object_starts)
        vertices, faces = self._first[:, ends].tolist()
        self._vertex_counts = [end - start for start, end in itertools.pairwise(vertices)]
        self._face_counts = [end - start for start, end in itertools.pairwise(faces)]

    def run(self, field: BatchField | None, steps: int, chunk_size: int) -> MeshBatch:
        grids, lattice, device = self._grids, self._lattice, self._grids.cells.device
        total = sum(self._vertex_counts)
        vertices = torch.empty(total, 3, dtype=torch.float64, device=device)
        queries = torch.empty(total, 3, dtype=torch.float32, device=device)
        edges, owners = (torch.empty(total, dtype=torch.int64, device=device) for _ in range(2))
        brackets = torch.empty(5, total, dtype=torch.float64, device=device)  # fraction, low, high, values there
        places = (lattice.resolutions_there, lattice.lower_there, lattice.voxel_sizes_there)
        made_up = grids.sides if grids.made_up is None else grids.made_up.view(torch.uint8)
        state = (vertices, queries, edges, owners, brackets)
        arguments = (grids.cells, grids.samples, made_up, self._crossed, self._first, *places, *state)
        count = 3 * len(grids.cells)
        numbers = (count, total, lattice.width, grids.threshold, self._clearance)
        self._launch(_place, count, *arguments, *numbers, MADE_UP=grids.made_up is not None)
        for _ in range(steps if field is not None else 0):
            heights = evaluate_batch(field, queries, owners, chunk_size)  # type: ignore[arg-type]
            lists = (grids.cells, heights, *places[1:], *state)
            self._launch(_step, total, *lists, total, lattice.width, grids.threshold, self._clearance)
        return MeshBatch(vertices, self._faces(), self._vertex_counts, self._face_counts)

    def _faces(self) -> torch.Tensor:
        faces = torch.empty(sum(self._face_counts), 3, dtype=torch.int64, device=self._grids.cells.device)
        count = 5 * len(self._grids.cells)
        lists = (self._grids.cells, self._cases, self._crossed, self._rows, self._first, self._table, faces)
        self._launch(_join, count, *lists, count, self._lattice.width)
        return faces

    def _launch(self, kernel: object, items: int, *arguments: object, **constants: object) -> None:
        if not _kernels.launch(kernel, items, *arguments, **constants):
            raise UnmadeError


@lru_cache(maxsize=8)
def _tables(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    triangles, counts = case_table()
    return torch.from_numpy(triangles).int().to(device), torch.from_numpy(counts).int().to(device)


# ruff: noqa: ANN001, ANN202 - the arguments of a kernel are pointers, numbers and constants


@jit
def _look(  # type: ignore[no-untyped-def]
    cells, sides, faces_of_case, cases, crossed, rows, counts, count, width, INSIDE: tl.constexpr, BLOCK: tl.constexpr
):
    """Of each cell its case, the edges crossed of the three that leave its lower corner, and how much is its own."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = row < count
    cell = tl.load(cells + row, mask, 0).to(tl.int32)
    case = tl.zeros_like(row).to(tl.int32)
    for corner in tl.static_range(8):
        step = ((corner // 4) * width + corner // 2 % 2) * width + corner % 2
        case += tl.where(tl.load(sides + cell + step, mask, 0) == INSIDE, 1 << corner, 0)
    first = case & 1
    along_x, along_y, along_z = (case >> 4 & 1) ^ first, (case >> 2 & 1) ^ first, (case >> 1 & 1) ^ first
    tl.store(cases + row, case.to(tl.uint8), mask)
    tl.store(crossed + row, (along_x + 2 * along_y + 4 * along_z).to(tl.uint8), mask)
    tl.store(rows + cell, row.to(tl.int32), mask)
    tl.store(counts + row, along_x + along_y + along_z, mask)
    tl.store(counts + count + row, tl.load(faces_of_case + case, mask, 0), mask)


@jit
def _own_vertex(first, crossed, row, axis, mask):  # type: ignore[no-untyped-def]
    """The number of the vertex on the edge along an axis at a cell's lower corner, and whether there is one."""
    bits = tl.load(crossed + row, mask, 0).to(tl.int32)
    before = tl.where(axis > 0, bits & 1, 0) + tl.where(axis > 1, bits >> 1 & 1, 0)
    return tl.load(first + row, mask, 0) + before, (bits >> axis & 1) > 0


@jit
def _put(vertices, queries, lower, voxel_sizes, owner, vertex, cell, axis, fraction, width, mask):  # type: ignore[no-untyped-def]
    """A vertex so far along the edge from a cell's lower corner."""
    line = cell // width
    plane = line // width
    for direction in tl.static_range(3):
        if direction == 0:
            place = plane % width - 1
        elif direction == 1:
            place = line - plane * width - 1
        else:
            place = cell - line * width - 1
        along = place.to(tl.float64) + tl.where(axis == direction, fraction, 0.0)
        own = 3 * owner + direction
        position = tl.load(lower + own, mask, 0.0) + along * tl.load(voxel_sizes + own, mask, 0.0)
        tl.store(vertices + 3 * vertex + direction, position, mask)
        tl.store(queries + 3 * vertex + direction, position.to(tl.float32), mask)


@jit
def _place(  # type: ignore[no-untyped-def]
    cells,
    samples,
    made_up,
    crossed,
    first,
    resolutions,
    lower,
    voxel_sizes,
    vertices,
    queries,
    edges,
    owners,
    brackets,
    count,
    total,
    width,
    threshold,
    clearance,
    MADE_UP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Vertices where linear interpolation puts them; those that are to stay there get no bracket: low = high."""
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, axis = number // 3, number % 3
    mask = number < count
    vertex, there = _own_vertex(first, crossed, row, axis, mask)
    mask = mask & there
    cell = tl.load(cells + row, mask, 0).to(tl.int32)
    other = cell + tl.where(axis == 0, width * width, tl.where(axis == 1, width, 1))
    line = cell // width
    plane = line // width
    owner = plane // width
    along = (
        tl.where(axis == 0, plane - owner * width, tl.where(axis == 1, line - plane * width, cell - line * width)) - 1
    )
    in_box = (along >= 0) & (along < tl.load(resolutions + owner, mask, 0))
    start = tl.load(samples + cell, mask & in_box, 0.0).to(tl.float64) - threshold
    end = tl.load(samples + other, mask & in_box, 1.0).to(tl.float64) - threshold
    # Beyond the border there is no value to interpolate with: the cap stays as close to the border as allowed.
    fraction = tl.where(in_box, start / (start - end), tl.where(along < 0, 1.0, 0.0))
    fraction = tl.minimum(tl.maximum(fraction, clearance), 1.0 - clearance)
    bracketed = in_box
    if MADE_UP:
        bracketed = bracketed & (tl.load(made_up + cell, mask, 1) == 0) & (tl.load(made_up + other, mask, 1) == 0)
    tl.store(edges + vertex, number, mask)
    tl.store(owners + vertex, owner, mask)
    tl.store(brackets + vertex, fraction, mask)
    tl.store(brackets + total + vertex, tl.zeros_like(fraction), mask)
    tl.store(brackets + 2 * total + vertex, tl.where(bracketed, 1.0, 0.0), mask)
    tl.store(brackets + 3 * total + vertex, start, mask)
    tl.store(brackets + 4 * total + vertex, end, mask)
    _put(vertices, queries, lower, voxel_sizes, owner, vertex, cell, axis, fraction, width, mask)


@jit
def _step(  # type: ignore[no-untyped-def]
    cells,
    heights,
    lower,
    voxel_sizes,
    vertices,
    queries,
    edges,
    owners,
    brackets,
    count,
    width,
    threshold,
    clearance,
    BLOCK: tl.constexpr,
):
    """The rule of false position: the vertex to where the line between the nearest values around it crosses."""
    vertex = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = vertex < count
    fraction = tl.load(brackets + vertex, mask, 0.5)
    low, high = tl.load(brackets + count + vertex, mask, 0.0), tl.load(brackets + 2 * count + vertex, mask, 0.0)
    at_low = tl.load(brackets + 3 * count + vertex, mask, 0.0)
    at_high = tl.load(brackets + 4 * count + vertex, mask, 1.0)
    mask = mask & (low < high)
    height = tl.load(heights + vertex, mask, 0.0).to(tl.float64) - threshold
    like_low = (height > 0.0) == (at_low > 0.0)
    low, at_low = tl.where(like_low, fraction, low), tl.where(like_low, height, at_low)
    high, at_high = tl.where(like_low, high, fraction), tl.where(like_low, at_high, height)
    crossing = low + (high - low) * at_low / (at_low - at_high)
    crossing = tl.minimum(tl.maximum(crossing, clearance), 1.0 - clearance)
    tl.store(brackets + vertex, crossing, mask)
    tl.store(brackets + count + vertex, low, mask)
    tl.store(brackets + 2 * count + vertex, high, mask)
    tl.store(brackets + 3 * count + vertex, at_low, mask)
    tl.store(brackets + 4 * count + vertex, at_high, mask)
    edge = tl.load(edges + vertex, mask, 0)
    cell, owner = tl.load(cells + edge // 3, mask, 0).to(tl.int32), tl.load(owners + vertex, mask, 0)
    _put(vertices, queries, lower, voxel_sizes, owner, vertex, cell, edge % 3, crossing, width, mask)


@jit
def _join(  # type: ignore[no-untyped-def]
    cells, cases, crossed, rows, first, table, faces, count, width, BLOCK: tl.constexpr
):
    """The triangles of each cell, at most five."""
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = number < count
    row, triangle = number // 5, number % 5
    own = first + (count // 5 + 1) + row  # the second row, of faces
    start = tl.load(own, mask, 0)
    mask = mask & (start + triangle < tl.load(own + 1, mask, 0))
    case = tl.load(cases + row, mask, 0).to(tl.int32)
    cell = tl.load(cells + row, mask, 0).to(tl.int32)
    for corner in tl.static_range(3):
        edge = tl.load(table + (case * 5 + triangle) * 3 + corner, mask, 0)
        place = edge // 3
        owner = cell + ((place // 4) * width + place // 2 % 2) * width + place % 2
        owner_row = tl.load(rows + owner, mask, 0)
        vertex, _ = _own_vertex(first, crossed, owner_row, edge % 3, mask)
        tl.store(faces + 3 * (start + triangle) + corner, vertex, mask)
