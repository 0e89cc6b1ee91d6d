"""The surface at the start grid's resolution: near the fine one, and with nothing thin lost."""

from __future__ import annotations

import analytic_fields as fields
import numpy as np
import pytest
import torch
from analytic_fields import LOWER, UPPER

from onet_ros.learning.metrics import points_inside
from onet_ros.surface import (
    ExtractionSettings,
    Field,
    coarse_grids,
    extract_meshes,
    extract_surfaces,
    is_sound,
    sample_grids_mise,
    surface_deviation,
)
from onet_ros.surface.field import batch_of_one
from onet_ros.surface.grid import GridBatch

BOX = np.array([LOWER]), np.array([UPPER])
SHAPES = {
    "sphere": fields.sphere(0.37),
    "torus": fields.torus(0.3, 0.11),
    "cup": fields.cup(0.06),
    "turned box": fields.box((0.3, 0.2, 0.25), turned=True),
}


def surfaces(field: Field, settings: ExtractionSettings):
    (found,) = extract_surfaces(batch_of_one(field), *BOX, 0.0, settings)
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_collision_meshes_are_sound_near_the_mesh_and_within_their_budget(shape: str):
    found = surfaces(SHAPES[shape], ExtractionSettings(32, 1))
    assert is_sound(found.collision_mesh)
    assert len(found.collision_mesh.faces) <= ExtractionSettings().max_collision_triangles
    mean, largest = surface_deviation(found.collision_mesh, found.mesh)
    assert mean < 0.004
    assert largest < 1.0 / 32
    assert found.collision_mesh.volume == pytest.approx(found.mesh.volume, rel=0.06)


@pytest.mark.parametrize("thickness", [0.02, 0.03])
def test_a_plate_thinner_than_a_start_cell_is_thickened_and_not_lost(thickness: float):
    """A start cell is 0.0625 wide."""
    plate = fields.thin_plate(thickness)
    found = surfaces(plate, ExtractionSettings(16, 2, max_collision_triangles=0))
    assert is_sound(found.collision_mesh)
    assert found.collision_mesh.body_count == 1
    inside = fields.thin_plate(0.5 * thickness)
    points = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    points = points[inside(points) > 0]
    assert points_inside(found.collision_mesh, points.numpy()).mean() > 0.9
    reach = np.abs(plate(torch.tensor(found.collision_mesh.vertices, dtype=torch.float32)).numpy()).max()
    assert reach < np.sqrt(3) / 16


def test_vertices_beside_what_was_made_up_stay_where_they_are():
    grids = sample_grids_mise(batch_of_one(fields.thin_plate(0.02)), *BOX, 0.0, ExtractionSettings(16, 2))
    coarse = coarse_grids(grids, 0.0)
    assert coarse.made_up is not None
    assert coarse.made_up.any()
    (plain,), (refined,) = extract_meshes(coarse), extract_meshes(coarse, batch_of_one(fields.thin_plate(0.02)), 1)
    np.testing.assert_array_equal(plain.faces, refined.faces)
    assert is_sound(refined)


def test_another_threshold_gives_the_surface_of_that_level():
    ball = fields.sphere(0.3)
    grids = sample_grids_mise(batch_of_one(ball), *BOX, 0.0, ExtractionSettings(32, 1))
    (larger,) = extract_meshes(coarse_grids(grids, -0.05))
    assert np.linalg.norm(larger.vertices, axis=1) == pytest.approx(0.35, abs=0.002)


def test_grids_that_were_not_refined_are_refused():
    grids = sample_grids_mise(batch_of_one(fields.sphere(0.3)), *BOX, 0.0, ExtractionSettings(8, 1))
    with pytest.raises(ValueError, match="were not refined"):
        coarse_grids(GridBatch.of(grids[0]), 0.0)
