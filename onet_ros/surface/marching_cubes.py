"""Marching cubes over the crossed cells alone, with PyMCubes' case table.

The triangles of each of the 256 cases come from PyMCubes, whose table closes without cracks and never puts an inner
edge on a face of a cell, so that the mesh is a closed 2-manifold. Its own sweep visits every cell of the volume and
interpolates to corners where a value equals the threshold; here only crossed cells are visited, and vertices keep off
the corners.
"""

from __future__ import annotations

from dataclasses import replace

import trimesh

from onet_ros.surface import marching_kernels, marching_loops
from onet_ros.surface.field import BatchField, Field, SurfaceError, batch_of_one
from onet_ros.surface.grid import GridBatch, GridField
from onet_ros.surface.mesh_batch import MeshBatch

# The least distance of a vertex from a grid corner, as a fraction of the edge it lies on. Vertices at a corner (values
# equal to the threshold) would coincide and leave triangles without area.
CORNER_CLEARANCE = 0.01


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
    batch = marching_kernels.march(grids, field, refinement_steps, chunk_size, CORNER_CLEARANCE)
    if batch is None:
        batch = marching_loops.march(grids, field, refinement_steps, chunk_size, CORNER_CLEARANCE)
    errors = {number: _no_surface(grids, number) for number, count in enumerate(batch.face_counts) if not count}
    return replace(batch, errors=errors)


def _no_surface(grids: GridBatch, number: int) -> SurfaceError:
    known = grids[number].samples[grids[number].asked]
    return SurfaceError(
        f"no surface: {len(known)} field values from {known.min().item():.6g} to {known.max().item():.6g}, "
        f"none above threshold {grids.threshold:.6g}"
    )
