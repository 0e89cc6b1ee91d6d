"""From fields to the meshes people use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import trimesh
from numpy.typing import ArrayLike

from onet_ros.stopwatch import Stopwatch
from onet_ros.surface.bodies import keep_bodies
from onet_ros.surface.field import BatchField, Field, SurfaceError, batch_of_one
from onet_ros.surface.marching_cubes import extract_meshes
from onet_ros.surface.mise import sample_grids_mise
from onet_ros.surface.pace import Pace
from onet_ros.surface.refine import refine_vertices
from onet_ros.surface.settings import ExtractionSettings
from onet_ros.surface.simplify import simplify_mesh

POINTS_ASKED = "points asked"  # what a stopwatch counts
SEED_REACH = 0.05  # of the box's longest edge: a separate body farther than this from all seeds is invented


def extract_surface(
    field: Field,
    lower: ArrayLike,
    upper: ArrayLike,
    threshold: float,
    settings: ExtractionSettings | None = None,
    device: torch.device | str = "cpu",
    seeds: ArrayLike | None = None,
) -> trimesh.Trimesh:
    """A field's level set as a closed triangle mesh with outward faces, within the triangle budget.

    Args:
        field: (N, 3) float32 metres on `device` -> (N,) float32, inside where above the threshold.
        lower, upper: (3,) metres, the box to look in.
        threshold: level of the surface.
        settings: all of them but `max_collision_triangles`, which `collision_mesh` uses, and `time_budget`.
        device: where the field is evaluated.
        seeds: (S, 3) metres, points near the surface, so that thin separate parts are not missed (see
            `sample_grid_mise`) and separate bodies that nothing speaks for are left out (see `keep_bodies`).

    Returns:
        vertices (V, 3) float64, metres, the field's frame; faces (F, 3) int64, counter-clockwise from outside.

    Raises:
        SurfaceError: the field is unusable, or has no surface in the box.
    """
    settings = settings or ExtractionSettings()
    batch = batch_of_one(field, settings.chunk_size)
    all_seeds = None if seeds is None else [seeds]
    (mesh,) = extract_surfaces(batch, np.array([lower]), np.array([upper]), threshold, settings, device, all_seeds)
    if isinstance(mesh, SurfaceError):
        raise mesh
    return mesh


def extract_surfaces(
    field: BatchField,
    lower: ArrayLike,
    upper: ArrayLike,
    threshold: float,
    settings: ExtractionSettings | None = None,
    device: torch.device | str = "cpu",
    seeds: Sequence[ArrayLike] | None = None,
    scales: ArrayLike | None = None,
    pace: Pace | None = None,
    watch: Stopwatch | None = None,
) -> list[trimesh.Trimesh | SurfaceError]:
    """`extract_surface` for B objects side by side.

    Args:
        field: the fields of all objects, see `BatchField`.
        lower, upper: (B, 3), the boxes, in each object's own frame.
        threshold: level of all surfaces.
        settings: all of them but `max_collision_triangles`.
        device: where the fields are evaluated.
        seeds: B lists of points, see `sample_grid_mise`.
        scales: (B,) metres per unit of the objects' frames, for `settings.voxel_size`; 1 when None.
        pace: what `settings.time_budget` is kept with; without one there is no budget.
        watch: told of the stages evaluate, bookkeeping, refine, marching cubes, bodies and simplify, and how many
            points were asked.

    Returns:
        For each object its mesh, or the error that says why it has none.

    Raises:
        SurfaceError: impossible boxes, threshold or seeds; a field with wrong shape, type or non-finite values, be it
            for one object only.
    """
    settings, watch = settings or ExtractionSettings(), watch or Stopwatch()
    with watch.stage("bookkeeping"):
        grids = sample_grids_mise(
            _watched(field, watch, "evaluate"), lower, upper, threshold, settings, device, seeds, scales, pace
        )
    with watch.stage("marching cubes"):
        steps, chunk = settings.refinement_steps, settings.chunk_size
        meshes = extract_meshes(grids, _watched(field, watch, "refine"), steps, chunk)
    voxel_sizes = grids.lattice.voxel_sizes()
    finished: list[trimesh.Trimesh | SurfaceError] = []
    for number, mesh in enumerate(meshes):
        if isinstance(mesh, SurfaceError):
            finished.append(mesh)
            continue
        try:
            with watch.stage("bodies"):
                reach = SEED_REACH * float((grids.lattice.upper[number] - grids.lattice.lower[number]).max())
                mesh = keep_bodies(mesh, settings.min_body_fraction, None if seeds is None else seeds[number], reach)
            with watch.stage("simplify"):
                mesh = simplify_mesh(mesh, settings.max_triangles)
            with watch.stage("refine"):
                bounds = (grids.lattice.lower[number], grids.lattice.upper[number])
                mesh = _refined(mesh, field, number, threshold, voxel_sizes[number], bounds, settings, device)
        except SurfaceError as error:
            finished.append(error)
        else:
            finished.append(mesh)
    return finished


def collision_mesh(mesh: trimesh.Trimesh, settings: ExtractionSettings | None = None) -> trimesh.Trimesh:
    """The mesh within the smaller budget that collision checking can afford; see `simplify_mesh`."""
    return simplify_mesh(mesh, (settings or ExtractionSettings()).max_collision_triangles)


def _refined(
    mesh: trimesh.Trimesh,
    field: BatchField,
    number: int,
    threshold: float,
    voxel_size: ArrayLike,
    bounds: tuple[ArrayLike, ArrayLike],
    settings: ExtractionSettings,
    device: torch.device | str,
) -> trimesh.Trimesh:
    def own(points: torch.Tensor) -> torch.Tensor:
        return field(points, torch.full((len(points),), number, dtype=torch.int64, device=points.device))

    return refine_vertices(
        mesh, own, threshold, np.asarray(voxel_size), settings.gradient_steps, settings.chunk_size, device, bounds
    )


def _watched(field: BatchField, watch: Stopwatch, stage: str) -> BatchField:
    """The same field, its time and its points taken down."""

    def watched(points: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
        with watch.stage(stage):
            watch.counts[POINTS_ASKED] += len(points)
            values = field(points, objects)
            if isinstance(values, torch.Tensor) and values.is_cuda:
                torch.cuda.synchronize(values.device)  # whoever asked waits for the values anyway
            return values

    return watched
