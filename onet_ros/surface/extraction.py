"""From fields to the meshes people use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from numpy.typing import ArrayLike

from onet_ros.stopwatch import Stopwatch
from onet_ros.surface.bodies import keep_bodies_of_all
from onet_ros.surface.coarse import coarse_grids, covering_grids, raised
from onet_ros.surface.field import BatchField, Field, SurfaceError, batch_of_one
from onet_ros.surface.grid import GridBatch
from onet_ros.surface.marching_cubes import polygonise
from onet_ros.surface.mise import sample_grids_mise
from onet_ros.surface.pace import Pace
from onet_ros.surface.refine import refine_vertices
from onet_ros.surface.settings import ExtractionSettings
from onet_ros.surface.simplify import simplify_meshes

POINTS_ASKED = "points asked"  # what a stopwatch counts
SEED_REACH = 0.05  # of the box's longest edge: a separate body farther than this from all seeds is invented


@dataclass(frozen=True)
class ExtractedSurface:
    """One object's surface, closed, outward, in its own frame.

    Attributes:
        mesh: vertices (V, 3) float64, faces (F, 3) int64, within `ExtractionSettings.max_triangles`.
        collision_mesh: within `max_collision_triangles`, from the start grid's resolution (see `coarse_grids`).
        conservative_mesh: likewise, of a surface that contains the object with the share asked for (see
            `covering_grids`); None where none was.
    """

    mesh: trimesh.Trimesh
    collision_mesh: trimesh.Trimesh
    conservative_mesh: trimesh.Trimesh | None = None


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
        settings: all of them but `max_collision_triangles` and `time_budget`.
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
    boxes = np.array([lower]), np.array([upper])
    (found,) = extract_surfaces(batch, *boxes, threshold, settings, device, all_seeds, collision_meshes=False)
    if isinstance(found, SurfaceError):
        raise found
    return found.mesh


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
    collision_meshes: bool = True,
    coverage: float = 0.0,
) -> list[ExtractedSurface | SurfaceError]:
    """`extract_surface` for B objects side by side.

    Args:
        field: the fields of all objects, see `BatchField`.
        lower, upper: (B, 3), the boxes, in each object's own frame.
        threshold: level of all surfaces.
        settings: all of them.
        device: where the fields are evaluated.
        seeds: B lists of points, see `sample_grid_mise`.
        scales: (B,) metres per unit of the objects' frames, for `settings.voxel_size`; 1 when None.
        pace: what `settings.time_budget` is kept with; without one there is no budget.
        watch: told of the stages evaluate, bookkeeping, refine, marching cubes, bodies, simplify and collision, and
            how many points were asked.
        collision_meshes: False for those who need none: the mesh takes its place.
        coverage: share of each object that its conservative mesh contains, 0 to 1; 0 for those who need none. The
            field's values are logits then.

    Returns:
        For each object its surface, or the error that says why it has none.

    Raises:
        SurfaceError: impossible boxes, threshold or seeds; a field with wrong shape, type or non-finite values, be it
            for one object only.
    """
    settings, watch = settings or ExtractionSettings(), watch or Stopwatch()
    with watch.stage("bookkeeping"):
        grids = sample_grids_mise(
            _watched(field, watch, "evaluate"), lower, upper, threshold, settings, device, seeds, scales, pace
        )
    fine = _meshes(grids, field, settings, seeds, watch, "marching cubes")
    coarse: dict[str, list[trimesh.Trimesh | SurfaceError]] = {}
    as_collision: list[int] = []
    if collision_meshes:
        with watch.stage("collision"):
            start = coarse_grids(grids, grids.threshold)
        coarse["collision_mesh"] = _meshes(start, field, settings, seeds, watch, "collision")
    if coverage:
        with watch.stage("conservative"):
            covering, raised_by = covering_grids(
                grids, _watched(field, watch, "evaluate"), coverage, settings.chunk_size
            )
        above = raised(field, raised_by)
        coarse["conservative_mesh"] = _meshes(covering, above, settings, seeds, watch, "conservative")
        if collision_meshes:  # these are of the same level where nothing was raised
            as_collision = (raised_by <= 0.0).nonzero().flatten().tolist()
    with watch.stage("simplify"):
        simple = _simplified(fine, coarse, as_collision, settings)
    found: list[ExtractedSurface | SurfaceError] = []
    for number, surface in enumerate(fine):
        if isinstance(surface, SurfaceError):
            found.append(surface)
            continue
        with watch.stage("refine"):
            mesh = _refined(simple["mesh", number], field, number, grids, settings, device)
        collision = simple.get(("collision_mesh", number), mesh)
        conservative = simple.get(("conservative_mesh", number), collision) if coverage else None
        found.append(ExtractedSurface(mesh, collision, conservative))
    return found


def _meshes(
    grids: GridBatch,
    field: BatchField,
    settings: ExtractionSettings,
    seeds: Sequence[ArrayLike] | None,
    watch: Stopwatch,
    stage: str,
) -> list[trimesh.Trimesh | SurfaceError]:
    """The surfaces on grids, without crumbs and inventions."""
    with watch.stage(stage):
        steps, chunk = settings.refinement_steps, settings.chunk_size
        batch = polygonise(grids, _watched(field, watch, "refine"), steps, chunk)
    with watch.stage("bodies"):
        reach = SEED_REACH * (grids.lattice.upper - grids.lattice.lower).max(axis=1)
        batch = keep_bodies_of_all(batch, settings.min_body_fraction, seeds, reach.tolist())
    with watch.stage(stage):
        return batch.meshes()


def _simplified(
    fine: Sequence[trimesh.Trimesh | SurfaceError],
    coarse: Mapping[str, Sequence[trimesh.Trimesh | SurfaceError]],
    as_collision: Sequence[int],
    settings: ExtractionSettings,
) -> dict[tuple[str, int], trimesh.Trimesh]:
    """Meshes within their budgets, by attribute of `ExtractedSurface` and object: of all objects that have a fine one.

    Args:
        coarse: meshes of the start grids by attribute; where these show nothing, the fine mesh takes their place.
        as_collision: objects whose conservative mesh would be their collision mesh again; they get none here.
    """
    wanted: dict[tuple[str, int], tuple[trimesh.Trimesh, int]] = {}
    for number, surface in enumerate(fine):
        if isinstance(surface, SurfaceError):
            continue
        wanted["mesh", number] = surface, settings.max_triangles
        for name, meshes in coarse.items():
            if name != "conservative_mesh" or number not in as_collision:
                mesh = meshes[number]
                solid = surface if isinstance(mesh, SurfaceError) else mesh
                wanted[name, number] = solid, settings.max_collision_triangles
    return dict(zip(wanted, simplify_meshes(list(wanted.values())), strict=True))


def _refined(
    mesh: trimesh.Trimesh,
    field: BatchField,
    number: int,
    grids: GridBatch,
    settings: ExtractionSettings,
    device: torch.device | str,
) -> trimesh.Trimesh:
    """The mesh with its vertices moved along the gradient, if that is asked for."""
    if not settings.gradient_steps:
        return mesh
    lattice = grids.lattice

    def own(points: torch.Tensor) -> torch.Tensor:
        return field(points, torch.full((len(points),), number, dtype=torch.int64, device=points.device))

    return refine_vertices(
        mesh,
        own,
        grids.threshold,
        lattice.voxel_sizes()[number],
        settings.gradient_steps,
        settings.chunk_size,
        device,
        (lattice.lower[number], lattice.upper[number]),
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
