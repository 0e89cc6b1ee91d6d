"""Marching cubes over the crossed cells alone, with PyMCubes' case table.

The triangles of each of the 256 cases come from PyMCubes, whose table closes without cracks and never puts an inner
edge on a face of a cell, so that the mesh is a closed 2-manifold. Its own sweep visits every cell of the volume and
interpolates to corners where a value equals the threshold; here only crossed cells are visited, and vertices keep off
the corners.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import torch
import trimesh

from onet_ros.surface.field import BatchField, Field, SurfaceError, batch_of_one, evaluate_batch
from onet_ros.surface.grid import INSIDE, GridBatch, GridField, Lattice
from onet_ros.surface.marching_kernels import march
from onet_ros.surface.marching_table import case_table
from onet_ros.surface.mesh_batch import MeshBatch

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
    batch = None if field is None else batch_of_one(field, chunk_size)
    (mesh,) = extract_meshes(GridBatch.of(grid), batch, refinement_steps, chunk_size)
    if isinstance(mesh, SurfaceError):
        raise mesh
    return mesh


def extract_meshes(
    grids: GridBatch, field: BatchField | None = None, refinement_steps: int = 0, chunk_size: int = 0
) -> list[trimesh.Trimesh | SurfaceError]:
    """`extract_mesh` for B objects at once.

    Returns:
        For each object its mesh, or the error that says why it has none.

    Raises:
        SurfaceError: the field returns something unusable.
    """
    return polygonise(grids, field, refinement_steps, chunk_size).meshes()


def polygonise(
    grids: GridBatch, field: BatchField | None = None, refinement_steps: int = 0, chunk_size: int = 0
) -> MeshBatch:
    """`extract_meshes`, left on the device that the grids are on."""
    batch = march(grids, field, refinement_steps, chunk_size, CORNER_CLEARANCE)
    if batch is None:
        batch = _march(grids, field, refinement_steps, chunk_size)
    errors = {number: _no_surface(grids, number) for number, count in enumerate(batch.face_counts) if not count}
    return replace(batch, errors=errors)


def _march(grids: GridBatch, field: BatchField | None, refinement_steps: int, chunk_size: int) -> MeshBatch:
    """What `march` does, operation by operation."""
    lattice, cells = grids.lattice, grids.cells
    corners = cells.unsqueeze(1) + lattice.offsets(_CORNERS)
    inside = grids.sides.take(corners) == INSIDE
    vertex_ids, edges = _crossed_edges(grids, inside, grids.samples.take(corners))
    if field is not None and refinement_steps:
        _secant_steps(edges, field, grids.threshold, refinement_steps, chunk_size)
    faces, cell_of_face = _faces(lattice, cells, inside, vertex_ids)
    return MeshBatch(
        vertices=edges.vertices(),
        faces=faces,
        vertex_counts=torch.bincount(edges.objects, minlength=len(grids)).tolist(),
        face_counts=torch.bincount(lattice.objects(cells[cell_of_face]), minlength=len(grids)).tolist(),
    )


def _no_surface(grids: GridBatch, number: int) -> SurfaceError:
    known = grids[number].samples[grids[number].asked]
    return SurfaceError(
        f"no surface: {len(known)} field values from {known.min().item():.6g} to {known.max().item():.6g}, "
        f"none above threshold {grids.threshold:.6g}"
    )


@dataclass
class _CrossedEdges:
    """Grid edges whose ends lie on opposite sides, with the vertex on each.

    Attributes:
        objects: (V,) int64, whose surface it is; ascending.
        lower_end: (V, 3) float64, lattice coordinates.
        axis: (V, 1) int64, direction of the edge.
        in_box: (V,) bool, false on the edges that lead out of the box.
        true_ends: (V,) bool, whether the field was asked at both ends, and gave what the grid has there.
        start, end: (V,) float64, value - threshold at both ends.
        fraction: (V,) float64, where the vertex lies from the lower end, 0 to 1 but kept off both.
        lower, voxel_size: (V, 3) float64, metres, of the object's grid.
    """

    objects: torch.Tensor
    lower_end: torch.Tensor
    axis: torch.Tensor
    in_box: torch.Tensor
    true_ends: torch.Tensor
    start: torch.Tensor
    end: torch.Tensor
    fraction: torch.Tensor
    lower: torch.Tensor
    voxel_size: torch.Tensor

    def vertices(self) -> torch.Tensor:
        """(V, 3) float64 metres."""
        position = self.lower_end.scatter_add(1, self.axis, self.fraction.unsqueeze(1))
        return torch.addcmul(self.lower, position, self.voxel_size)


def _crossed_edges(
    grids: GridBatch, inside: torch.Tensor, corner_values: torch.Tensor
) -> tuple[torch.Tensor, _CrossedEdges]:
    """Each crossed grid edge once, found at the cell at whose lower corner it starts.

    Args:
        inside, corner_values: (M, 8), of the corners of the crossed cells.

    Returns:
        (M, 3) int64 number of the vertex on the x, y and z edge at each cell's lower corner, anything where that edge
        is not crossed; the edges.
    """
    lattice = grids.lattice
    ends = [4, 2, 1]  # corners (1, 0, 0), (0, 1, 0) and (0, 0, 1) of a cell
    crossed = inside[:, ends] != inside[:, :1]
    vertex_ids = (crossed.flatten().cumsum(0) - 1).view(-1, 3)

    # `take` and `index_select`, on a CPU several times as fast as indexing with tensors.
    cell, axis = crossed.nonzero(as_tuple=True)
    start_corner = grids.cells.take(cell)
    start = corner_values.take(8 * cell).double() - grids.threshold
    end = corner_values.take(8 * cell + torch.tensor(ends, device=cell.device).take(axis)).double() - grids.threshold
    lower_end, objects = lattice.coordinates(start_corner), lattice.objects(start_corner)
    resolution = lattice.resolutions_there.take(objects)
    along = lower_end.gather(1, axis.unsqueeze(1)).squeeze(1)
    in_box = true_ends = (along >= 0) & (along < resolution)
    if grids.made_up is not None:
        end_corner = start_corner + lattice.offsets(_CORNERS[ends]).take(axis)
        true_ends = in_box & ~grids.made_up.take(start_corner) & ~grids.made_up.take(end_corner)
    # Beyond the border there is no value to interpolate with: the cap stays as close to the border as allowed.
    fraction = torch.where(in_box, start / (start - end), (along < 0).double())
    return vertex_ids, _CrossedEdges(
        objects=objects,
        lower_end=lower_end.double(),
        axis=axis.unsqueeze(1),
        in_box=in_box,
        true_ends=true_ends,
        start=start,
        end=end,
        fraction=fraction.clamp(CORNER_CLEARANCE, 1 - CORNER_CLEARANCE),
        lower=lattice.lower_there.index_select(0, objects),
        voxel_size=lattice.voxel_sizes_there.index_select(0, objects),
    )


def _secant_steps(edges: _CrossedEdges, field: BatchField, threshold: float, steps: int, chunk_size: int) -> None:
    """Move the vertices to the fields' own crossings by the rule of false position.

    The crossing stays bracketed, so a vertex never leaves its edge and the mesh stays as closed and as free of
    crossings as it was. That, and a price of one evaluation a step, is what it has over moving along the gradient.
    """
    rows = edges.true_ends.nonzero().squeeze(1)
    objects, at_low, at_high = (values.take(rows) for values in (edges.objects, edges.start, edges.end))
    low, high = torch.zeros_like(at_low), torch.ones_like(at_high)
    for _ in range(steps):
        places = edges.vertices().index_select(0, rows).float()
        heights = evaluate_batch(field, places, objects, chunk_size).double() - threshold
        fraction = edges.fraction.take(rows)
        like_low = (heights > 0) == (at_low > 0)
        low, at_low = torch.where(like_low, fraction, low), torch.where(like_low, heights, at_low)
        high, at_high = torch.where(like_low, high, fraction), torch.where(like_low, at_high, heights)
        crossing = low + (high - low) * at_low / (at_low - at_high)
        edges.fraction[rows] = crossing.clamp(CORNER_CLEARANCE, 1 - CORNER_CLEARANCE)


def _faces(
    lattice: Lattice, cells: torch.Tensor, inside: torch.Tensor, vertex_ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(F, 3) int64 triangles of all cells, and (F,) int64 row of the cell that each is in; rows ascend."""
    triangles, counts = (torch.from_numpy(array).to(cells.device) for array in case_table())
    cases = _bits(inside)
    own = counts.take(cases)
    cell = torch.arange(len(cells), device=cells.device).repeat_interleave(own)
    first = cases * triangles.shape[1] - (own.cumsum(0) - own)  # row of a cell's first triangle, less that in the list
    rows = first.repeat_interleave(own) + torch.arange(len(cell), device=cells.device)
    edges = triangles.flatten(0, 1).index_select(0, rows)  # (F, 3)

    rank = torch.empty(lattice.size, dtype=torch.int64, device=cells.device)  # read only where written
    rank[cells] = torch.arange(len(cells), device=cells.device)
    edge_steps = lattice.offsets(_CORNERS).repeat_interleave(3)
    edge_axes = torch.arange(3, device=cells.device).repeat(8)
    owners = rank.take(cells.take(cell).unsqueeze(1) + edge_steps.take(edges))
    return vertex_ids.take(owners * 3 + edge_axes.take(edges)), cell


def _bits(flags: torch.Tensor) -> torch.Tensor:
    """(M,) int64 from (M, 8) bool: flag k is bit k of the number.

    The eight bytes of a row as one number, times one that brings the lowest bit of each to its place in the highest.
    """
    return (flags.contiguous().view(torch.int64).squeeze(1) * 0x0102040810204080 >> 56) & 255
