"""From a field to the meshes people use."""

from __future__ import annotations

import torch
import trimesh
from numpy.typing import ArrayLike

from onet_ros.surface.bodies import keep_bodies
from onet_ros.surface.field import Field
from onet_ros.surface.marching_cubes import extract_mesh
from onet_ros.surface.mise import sample_grid_mise
from onet_ros.surface.refine import refine_vertices
from onet_ros.surface.settings import ExtractionSettings
from onet_ros.surface.simplify import simplify_mesh


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
        settings: all of them but `max_collision_triangles`, which `collision_mesh` uses.
        device: where the field is evaluated.
        seeds: (S, 3) metres, points near the surface, so that thin separate parts are not missed; see
            `sample_grid_mise`.

    Returns:
        vertices (V, 3) float64, metres, the field's frame; faces (F, 3) int64, counter-clockwise from outside.

    Raises:
        SurfaceError: the field is unusable, or has no surface in the box.
    """
    settings = settings or ExtractionSettings()
    grid = sample_grid_mise(field, lower, upper, threshold, settings, device, seeds)
    mesh = extract_mesh(grid, field, settings.refinement_steps, settings.chunk_size)
    mesh = keep_bodies(mesh, settings.min_body_fraction)
    mesh = simplify_mesh(mesh, settings.max_triangles)
    steps, bounds = settings.gradient_steps, (grid.lower, grid.upper)
    return refine_vertices(mesh, field, threshold, grid.voxel_size, steps, settings.chunk_size, device, bounds)


def collision_mesh(mesh: trimesh.Trimesh, settings: ExtractionSettings | None = None) -> trimesh.Trimesh:
    """The mesh within the smaller budget that collision checking can afford; see `simplify_mesh`."""
    return simplify_mesh(mesh, (settings or ExtractionSettings()).max_collision_triangles)
