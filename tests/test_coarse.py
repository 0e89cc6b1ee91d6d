"""The surface at the start grid's resolution: near the fine one, and with nothing thin lost."""

from __future__ import annotations

import itertools

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
    coarse_loops,
    extract_meshes,
    extract_surfaces,
    is_sound,
    sample_grids_mise,
    surface_deviation,
)
from onet_ros.surface.field import batch_of_one
from onet_ros.surface.grid import INSIDE, GridBatch, mixed_cells

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


@pytest.fixture(scope="module")
def plates():
    """Two objects of different shape, refined, with thin walls."""
    thin, ball = fields.thin_plate(0.02), fields.sphere(0.3)

    def field(points, objects):
        return torch.where(objects == 0, thin(points), ball(points))

    boxes = np.array([LOWER, LOWER]), np.array([UPPER, UPPER])
    return sample_grids_mise(field, *boxes, 0.0, ExtractionSettings(8, 2))


class TestLoops:
    """Against what the words say, corner by corner."""

    def test_corners_that_no_start_corner_shows_are_raised(self, plates):
        start = plates.start
        found = coarse_grids(plates, 0.0)
        samples, made_up = start.samples.clone(), torch.zeros(len(start.samples), dtype=torch.bool)
        fine, coarse = plates.lattice, start.lattice
        for corner in (plates.sides == INSIDE).nonzero().flatten():
            owner, place = fine.objects(corner[None]), fine.coordinates(corner[None])
            low, high = place // 4, (place + 3) // 4
            ends = [(low[0, axis], high[0, axis]) for axis in range(3)]
            around = coarse.numbers(owner.repeat(8), torch.tensor(list(itertools.product(*ends))))
            if (start.samples[around] <= 0.0).all():
                samples[around] = samples[around].maximum(plates.samples[corner])
                made_up[around] = True
        assert made_up.any()
        assert torch.equal(found.samples, samples)
        assert torch.equal(found.made_up, made_up)

    def test_cells_with_corners_on_both_sides_are_found(self, plates):
        found = coarse_grids(plates, 0.0)
        inside = (found.samples > 0.0).view(2, *3 * [found.lattice.width])
        expected = mixed_cells(inside)
        assert torch.equal(found.cells, found.lattice.numbers(expected[:, 0], expected[:, 1:] - 1))

    @pytest.mark.parametrize("share", [0.3, 0.9, 0.999, 1.0])
    def test_the_level_is_the_highest_that_holds_the_share(self, plates, share: float):
        steep = GridBatch(**{**vars(plates.start), "samples": 20.0 * plates.start.samples})
        levels = coarse_loops.covering_levels(steep, share, 0.0)
        for number in range(2):
            logits = steep.box(steep.samples, number).flatten().sort(descending=True).values
            held = torch.sigmoid(logits).double().cumsum(0)
            enough = int((held < share * held[-1] - 1e-9 * held[-1]).sum())
            assert levels[number] == pytest.approx(float(logits[min(enough, len(logits) - 1)].clamp(max=0.0)), abs=1e-6)


def test_grids_that_were_not_refined_are_refused():
    grids = sample_grids_mise(batch_of_one(fields.sphere(0.3)), *BOX, 0.0, ExtractionSettings(8, 1))
    with pytest.raises(ValueError, match="were not refined"):
        coarse_grids(GridBatch.of(grids[0]), 0.0)
