"""Marching cubes on the host: a few compiled loops over cells, edges and vertices.

For grids on a GPU without kernels, too: what is put together there is small against what was evaluated.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onet_ros.cpu_kernels import compiled
from onet_ros.surface.field import BatchField, evaluate_batch
from onet_ros.surface.grid import INSIDE, GridBatch, Lattice
from onet_ros.surface.marching_table import case_table
from onet_ros.surface.mesh_batch import MeshBatch

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def march(
    grids: GridBatch, field: BatchField | None, refinement_steps: int, chunk_size: int, clearance: float
) -> MeshBatch:
    """The surfaces of grids, errors aside, on the grids' device.

    Args:
        field: what the grids were sampled from, on their device; None to interpolate only.
        refinement_steps: of the rule of false position.
        clearance: of vertices from the ends of their edges, as a fraction of them.
    """
    device, lattice = grids.cells.device, grids.lattice
    cells, sides, samples = (values.cpu().numpy() for values in (grids.cells, grids.sides, grids.samples))
    triangles, faces_of_case = case_table()
    cases, first = np.empty(len(cells), dtype=np.uint8), np.empty((len(cells) + 1, 2), dtype=np.int64)
    ranks = np.empty(lattice.size, dtype=np.int32)  # read only where written
    _look(cells, sides, lattice.width, faces_of_case, cases, first, ranks)
    made_up = np.zeros(0, dtype=bool) if grids.made_up is None else grids.made_up.cpu().numpy()
    edges = _Edges(first[-1, 0], lattice, clearance)
    edges.place(cells, cases, first, (samples, made_up, grids.threshold))
    if field is not None and refinement_steps:
        edges.refine(field, grids.threshold, refinement_steps, chunk_size)
    faces = np.empty((first[-1, 1], 3), dtype=np.int64)
    _join(cells, cases, first, ranks, lattice.width, triangles, faces)
    ends = np.searchsorted(cells, np.arange(len(grids) + 1) * lattice.width**3)
    vertex_counts, face_counts = (
        [int(high - low) for low, high in itertools.pairwise(first[ends, column])] for column in range(2)
    )
    vertices = torch.from_numpy(edges.vertices).to(device)
    return MeshBatch(vertices, torch.from_numpy(faces).to(device), vertex_counts, face_counts)


class _Edges:
    """Grid edges whose ends lie on opposite sides, with the vertex on each.

    Args:
        count: how many there are.
        lattice: of the grids.
        clearance: see `march`.

    Attributes:
        vertices: (V, 3) metres.
        ends: (V, 3) of each the lattice coordinate along it where it starts, its axis and its object.
        brackets: (V, 5) how far along it the vertex is, from where to where it may be, and value - threshold there.
        rows: those between whose ends the field can be asked.
    """

    def __init__(self, count: int, lattice: Lattice, clearance: float) -> None:
        self.vertices, self.brackets = np.empty((count, 3)), np.empty((count, 5))
        self.ends, self.rows = np.empty((count, 3), dtype=np.int64), np.empty(0, dtype=np.int64)
        self._clearance, self._device = clearance, lattice.device
        sizes = np.array(lattice.resolutions), lattice.width, np.array(lattice.steps)
        self._boxes = lattice.lower, lattice.voxel_sizes(), *sizes

    @property
    def _arrays(self) -> tuple[Floats, Integers, Floats]:
        return self.vertices, self.ends, self.brackets

    def place(self, cells: Integers, cases: NDArray[np.uint8], first: Integers, known: tuple[Any, ...]) -> None:
        """The edges of cells, with the vertices where linear interpolation puts them; known: see `_place`."""
        self.rows = _place(cells, cases, first, known, self._boxes, self._clearance, self._arrays)

    def refine(self, field: BatchField, threshold: float, steps: int, chunk_size: int) -> None:
        """Move the vertices to the fields' own crossings by the rule of false position.

        The crossing stays bracketed, so a vertex never leaves its edge and the mesh stays as closed and as free of
        crossings as it was. That, and a price of one evaluation a step, is what it has over moving along the gradient.
        """
        objects = torch.from_numpy(self.ends[:, 2].take(self.rows)).to(self._device)
        for _ in range(steps):
            places = torch.from_numpy(self.vertices.take(self.rows, axis=0).astype(np.float32)).to(self._device)
            heights = evaluate_batch(field, places, objects, chunk_size).cpu().numpy()
            _step(self.rows, heights, threshold, self._boxes, self._clearance, self._arrays)


@compiled
def _look(
    cells: Integers,
    sides: NDArray[np.uint8],
    width: int,
    faces_of_case: Integers,
    cases: NDArray[np.uint8],
    first: Integers,
    ranks: NDArray[np.int32],
) -> None:
    """Of each cell its case, its rank by its number, and how many vertices and faces there are before its own.

    A cell's own vertices are those on the edges that leave its lower corner upwards.
    """
    vertices, faces = 0, 0
    for row in range(len(cells)):
        cell, case = cells[row], 0
        for corner in range(8):
            step = ((corner >> 2) * width + (corner >> 1 & 1)) * width + (corner & 1)
            case |= (sides[cell + step] == INSIDE) << corner
        cases[row], ranks[cell] = case, row
        first[row, 0], first[row, 1] = vertices, faces
        vertices += _crossed(case, 0) + _crossed(case, 1) + _crossed(case, 2)
        faces += faces_of_case[case]
    first[len(cells), 0], first[len(cells), 1] = vertices, faces


@compiled
def _crossed(case: int, axis: int) -> int:
    """Whether a cell's edge from its lower corner along an axis has ends on opposite sides."""
    return (case >> (4 >> axis) ^ case) & 1


@compiled
def _place(
    cells: Integers,
    cases: NDArray[np.uint8],
    first: Integers,
    known: tuple[Any, ...],
    boxes: tuple[Any, ...],
    clearance: float,
    edges: tuple[Any, ...],
) -> Integers:
    """Each crossed edge, with the vertex where linear interpolation puts it; returns `_Edges.rows`.

    Known are the samples, which of them are made up (none of them: an empty list), and the threshold.
    """
    samples, made_up, threshold = known
    lower, voxel_sizes, resolutions, width, steps = boxes
    vertices, ends, brackets = edges
    rows, count = np.empty(len(ends), np.int64), 0
    for row in range(len(cells)):
        cell, case, vertex = cells[row], cases[row], first[row, 0]
        owner = cell // (steps[0] * width)
        for axis in range(3):
            if not _crossed(case, axis):
                continue
            other = cell + steps[axis]
            for direction in range(3):
                place = cell // steps[direction] % width - 1
                vertices[vertex, direction] = lower[owner, direction] + place * voxel_sizes[owner, direction]
            along = cell // steps[axis] % width - 1
            in_box = 0 <= along < resolutions[owner]
            # Beyond the border there is no value to interpolate with: the cap stays as close to it as allowed.
            start, end, fraction = 0.0, 1.0, 1.0 if along < 0 else 0.0
            if in_box:
                start, end = np.float64(samples[cell]) - threshold, np.float64(samples[other]) - threshold
                fraction = start / (start - end)
            ends[vertex, 0], ends[vertex, 1], ends[vertex, 2] = along, axis, owner
            brackets[vertex, 1], brackets[vertex, 2] = 0.0, 1.0
            brackets[vertex, 3], brackets[vertex, 4] = start, end
            _put(vertex, min(max(fraction, clearance), 1.0 - clearance), boxes, edges)
            if in_box and not (len(made_up) and (made_up[cell] or made_up[other])):
                rows[count] = vertex
                count += 1
            vertex += 1
    return rows[:count].copy()


@compiled
def _put(vertex: int, fraction: float, boxes: tuple[Any, ...], edges: tuple[Any, ...]) -> None:
    """A vertex so far along its edge."""
    lower, voxel_sizes = boxes[0], boxes[1]
    vertices, ends, brackets = edges
    along, axis, owner = ends[vertex, 0], ends[vertex, 1], ends[vertex, 2]
    brackets[vertex, 0] = fraction
    vertices[vertex, axis] = lower[owner, axis] + (along + fraction) * voxel_sizes[owner, axis]


@compiled
def _step(
    rows: Integers,
    values: NDArray[np.float32],
    threshold: float,
    boxes: tuple[Any, ...],
    clearance: float,
    edges: tuple[Any, ...],
) -> None:
    """The vertices of rows to where the lines between the nearest values around them cross."""
    brackets = edges[2]
    for i in range(len(rows)):
        bracket, height = brackets[rows[i]], np.float64(values[i]) - threshold
        end = 0 if (height > 0.0) == (bracket[3] > 0.0) else 1
        bracket[1 + end], bracket[3 + end] = bracket[0], height
        low, high, at_low, at_high = bracket[1], bracket[2], bracket[3], bracket[4]
        crossing = low + (high - low) * at_low / (at_low - at_high)
        _put(rows[i], min(max(crossing, clearance), 1.0 - clearance), boxes, edges)


@compiled
def _join(
    cells: Integers,
    cases: NDArray[np.uint8],
    first: Integers,
    ranks: NDArray[np.int32],
    width: int,
    triangles: Integers,
    faces: Integers,
) -> None:
    """The triangles of each cell, out of its own vertices and those of the cells around it."""
    for row in range(len(cells)):
        cell, case = cells[row], cases[row]
        for face in range(first[row, 1], first[row + 1, 1]):
            for corner in range(3):
                edge = triangles[case, face - first[row, 1], corner]
                place, axis = edge // 3, edge % 3
                owner = ranks[cell + ((place >> 2) * width + (place >> 1 & 1)) * width + (place & 1)]
                vertex = first[owner, 0]
                for before in range(axis):
                    vertex += _crossed(cases[owner], before)
                faces[face, corner] = vertex
