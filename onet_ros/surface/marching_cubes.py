"""Marching cubes over the crossed cells alone, with PyMCubes' case table.

The triangles of each of the 256 cases come from PyMCubes, whose table closes without cracks and never puts an inner
edge on a face of a cell, so that the mesh is a closed 2-manifold. Its own sweep visits every cell of the volume and
interpolates to corners where a value equals the threshold; here only crossed cells are visited, and vertices keep off
the corners.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import mcubes
import numpy as np
import torch
import trimesh
from numpy.typing import NDArray

from onet_ros.surface.field import Field, SurfaceError, evaluate_field
from onet_ros.surface.grid import GridField

# The least distance of a vertex from a grid corner, as a fraction of the edge it lies on. Vertices at a corner (values
# equal to the threshold) would coincide and leave triangles without area.
CORNER_CLEARANCE = 0.01

_CORNERS = np.array(list(itertools.product((0, 1), repeat=3)))  # corner k of a cell, offset from its lower corner


def extract_mesh(
    grid: GridField, field: Field | None = None, refinement_steps: int = 0, chunk_size: int = 0
) -> trimesh.Trimesh:
    """Triangle mesh of a sampled field's level set.

    Vertices lie on grid edges: at the linear interpolation of the two values, or, refined, where the field
    itself crosses the threshold. The mesh is closed (at the border of the box, too, where caps lie outside it by
    `CORNER_CLEARANCE` cells), wound consistently, with outward normals, and has neither duplicate nor unreferenced
    vertices nor triangles without area.

    Args:
        grid: see `GridField`.
        field: what the grid was sampled from; needed for refinement only.
        refinement_steps: evaluations of the field per vertex. Where the field is steep or saturated within a cell, one
            takes three quarters of the distance to its level set away and two nine tenths; where it is smooth, linear
            interpolation is near already.
        chunk_size: points per call of the field; 0 chooses by device.

    Returns:
        vertices (V, 3) float64, metres, frame of the grid's box; faces (F, 3) int64, counter-clockwise from outside.

    Raises:
        SurfaceError: no cell is crossed, or the field returns something unusable.
    """
    cells = grid.crossed_cells
    if not len(cells):
        known = grid.samples[grid.asked]
        raise SurfaceError(
            f"no surface: {grid.points_asked} field values from {known.min().item():.6g} to {known.max().item():.6g}, "
            f"none above threshold {grid.threshold:.6g}"
        )
    corner_values, corner_inside = _corners_of(grid, cells)
    vertex_ids, edges = _crossed_edges(grid, cells, corner_values, corner_inside)
    if field is not None and refinement_steps:
        _secant_steps(edges, grid, field, refinement_steps, chunk_size)
    faces = _faces(grid.resolution, cells, corner_inside, vertex_ids)
    return trimesh.Trimesh(vertices=edges.vertices(grid), faces=faces.cpu().numpy(), process=False)


def _corners_of(grid: GridField, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(M, 8) float32 values and (M, 8) bool sides of the cells' corners; corners beyond the border are outside."""
    both = cells[:, :, None] + torch.arange(2, device=cells.device)  # (M, 3, 2), both coordinates along each axis
    x, y, z = both.clamp(0, grid.resolution).unbind(1)
    width = grid.resolution + 1
    flat = ((x * width)[:, :, None] + y[:, None, :]).flatten(1) * width
    values = grid.samples.flatten().take((flat[:, :, None] + z[:, None, :]).flatten(1))
    inside = values > grid.threshold
    at_border = ((cells < 0) | (cells == grid.resolution)).any(dim=1)
    corners = cells[at_border][:, None] + torch.from_numpy(_CORNERS).to(cells.device)
    inside[at_border] &= ((corners >= 0) & (corners <= grid.resolution)).all(dim=2)
    return values, inside


@dataclass
class _CrossedEdges:
    """Grid edges whose ends lie on opposite sides, with the vertex on each.

    Attributes:
        lower_end: (V, 3) int64, lattice coordinates.
        axis: (V,) int64, direction of the edge.
        in_box: (V,) bool, false on the edges that lead out of the box.
        start, end: (V,) float64, value - threshold at both ends.
        fraction: (V,) float64, where the vertex lies from the lower end, 0 to 1 but kept off both.
    """

    lower_end: NDArray[np.int64]
    axis: NDArray[np.int64]
    in_box: NDArray[np.bool_]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    fraction: NDArray[np.float64]

    def vertices(self, grid: GridField) -> NDArray[np.float64]:
        """(V, 3) metres."""
        position = self.lower_end.astype(np.float64)
        position[np.arange(len(position)), self.axis] += self.fraction
        return grid.lower + position * grid.voxel_size


def _crossed_edges(
    grid: GridField, cells: torch.Tensor, corner_values: torch.Tensor, corner_inside: torch.Tensor
) -> tuple[torch.Tensor, _CrossedEdges]:
    """Each crossed grid edge once, found at the cell at whose lower corner it starts.

    Returns:
        (M, 3) int64 number of the vertex on the x, y and z edge at each cell's lower corner, anything where that edge
        is not crossed; the edges.
    """
    ends = [4, 2, 1]  # corners (1, 0, 0), (0, 1, 0) and (0, 0, 1) of a cell
    crossed = corner_inside[:, ends] != corner_inside[:, :1]
    vertex_ids = (crossed.flatten().cumsum(0) - 1).view(-1, 3)

    cell, axis = (index.cpu().numpy() for index in crossed.nonzero(as_tuple=True))
    start = corner_values[:, :1].expand(-1, 3)[crossed].cpu().numpy().astype(np.float64) - grid.threshold
    end = corner_values[:, ends][crossed].cpu().numpy().astype(np.float64) - grid.threshold
    lower_end = cells.cpu().numpy()[cell]
    along = lower_end[np.arange(len(axis)), axis]
    in_box = (along >= 0) & (along < grid.resolution)
    # Beyond the border there is no value to interpolate with: the cap stays as close to the border as allowed.
    fraction = np.where(along < 0, 1.0, 0.0)
    fraction[in_box] = start[in_box] / (start[in_box] - end[in_box])
    fraction = fraction.clip(CORNER_CLEARANCE, 1 - CORNER_CLEARANCE)
    return vertex_ids, _CrossedEdges(lower_end, axis, in_box, start, end, fraction)


def _secant_steps(edges: _CrossedEdges, grid: GridField, field: Field, steps: int, chunk_size: int) -> None:
    """Move the vertices to the field's own crossings by the rule of false position.

    The crossing stays bracketed, so a vertex never leaves its edge and the mesh stays as closed and as free of
    crossings as it was. That, and a price of one evaluation a step, is what it has over moving along the gradient.
    """
    rows = np.flatnonzero(edges.in_box)
    low, high = np.zeros(len(rows)), np.ones(len(rows))
    at_low, at_high = edges.start[rows], edges.end[rows]
    for _ in range(steps):
        places = torch.from_numpy(edges.vertices(grid)[rows].astype(np.float32)).to(grid.samples.device)
        heights = evaluate_field(field, places, chunk_size).cpu().numpy().astype(np.float64) - grid.threshold
        fraction = edges.fraction[rows]
        like_low = (heights > 0) == (at_low > 0)
        low, at_low = np.where(like_low, fraction, low), np.where(like_low, heights, at_low)
        high, at_high = np.where(like_low, high, fraction), np.where(like_low, at_high, heights)
        crossing = low + (high - low) * at_low / (at_low - at_high)
        edges.fraction[rows] = crossing.clip(CORNER_CLEARANCE, 1 - CORNER_CLEARANCE)


def _faces(resolution: int, cells: torch.Tensor, corner_inside: torch.Tensor, vertex_ids: torch.Tensor) -> torch.Tensor:
    """(F, 3) int64 triangles of all cells."""
    triangles, counts = (torch.from_numpy(array).to(cells.device) for array in case_table())
    cases = (corner_inside << torch.arange(8, dtype=torch.uint8, device=cells.device)).sum(dim=1)
    used = torch.arange(triangles.shape[1], device=cells.device) < counts[cases][:, None]
    cell, number = used.nonzero(as_tuple=True)
    edges = triangles[cases[cell], number]  # (F, 3)

    width = resolution + 2
    steps = torch.tensor([width * width, width, 1], device=cells.device)
    flat = ((cells + 1) * steps).sum(dim=1)
    rank = torch.empty(width**3, dtype=torch.int64, device=cells.device)  # read only where written
    rank[flat] = torch.arange(len(cells), device=cells.device)
    edge_steps = (torch.from_numpy(_CORNERS).to(cells.device) @ steps).repeat_interleave(3)
    edge_axes = torch.arange(3, device=cells.device).repeat(8)
    owners = rank.take(flat[cell][:, None] + edge_steps.take(edges))
    return vertex_ids.take(owners * 3 + edge_axes.take(edges))


@lru_cache(maxsize=1)
def case_table() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """PyMCubes' triangles of each case, read off by giving it one cell at a time.

    Case c has corner k inside where bit k of c is set; corner k is at the binary digits of k, x first. An edge of the
    cell is named 3 k + a, after the corner k it starts at and its axis a.

    Returns:
        (256, 5, 3) int64, edges of the vertices of up to five triangles, counter-clockwise from outside;
        (256,) int64, how many of the five are used.
    """
    triangles = np.zeros((256, 5, 3), dtype=np.int64)
    counts = np.zeros(256, dtype=np.int64)
    for case in range(1, 255):
        cell = ((case >> np.arange(8)) & 1).reshape(2, 2, 2).astype(np.float64)
        vertices, faces = mcubes.marching_cubes(cell, 0.5)
        axes = np.argmax(vertices == 0.5, axis=1)
        edges = 3 * (np.floor(vertices).astype(np.int64) @ (4, 2, 1)) + axes
        counts[case] = len(faces)
        triangles[case, : len(faces)] = edges[faces.astype(np.int64)]
    return triangles, counts
