"""From a field to a mesh in one call."""

from __future__ import annotations

import analytic_fields as fields
import numpy as np
import pytest
import torch
import trimesh
from analytic_fields import LOWER, UPPER

from onet_ros.surface import ExtractionSettings, SurfaceError, extract_surface, is_sound

SHAPES = {
    "sphere": fields.sphere(0.37),
    "torus": fields.torus(0.3, 0.11),
    "turned box": fields.box((0.3, 0.2, 0.25), turned=True),
    "cup": fields.cup(),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_default_settings_give_a_sound_mesh_on_the_surface_within_the_budgets(shape: str):
    field = fields.occupancy_logits(SHAPES[shape], 400.0)
    mesh = extract_surface(field, LOWER, UPPER, 0.0)
    assert is_sound(mesh)
    assert len(mesh.faces) <= ExtractionSettings().max_triangles
    points, _ = trimesh.sample.sample_surface(mesh, 20_000, seed=0)
    distance = SHAPES[shape](torch.tensor(points, dtype=torch.float32)).abs()
    assert distance.mean() < 0.03 / 128
    assert distance.max() < 1.0 / 128


def test_refined_mesh_of_half_the_resolution_is_nearer_than_the_plain_one():
    """Steep logits: what refinement is for."""
    distance = fields.torus(0.3, 0.11)
    field = fields.occupancy_logits(distance, 4000.0)
    plain = extract_surface(field, LOWER, UPPER, 0.0, ExtractionSettings(32, 2, max_triangles=0, refinement_steps=0))
    refined = extract_surface(field, LOWER, UPPER, 0.0, ExtractionSettings(32, 1, max_triangles=0, refinement_steps=2))
    errors = [
        distance(torch.tensor(trimesh.sample.sample_surface(mesh, 20_000, seed=0)[0], dtype=torch.float32)).abs().mean()
        for mesh in (plain, refined)
    ]
    assert errors[1] < errors[0]


def test_specks_are_dropped_and_hollows_filled():
    field = fields.union(
        fields.difference(fields.sphere(0.3), fields.sphere(0.15)),
        fields.sphere(0.03, (0.42, 0.0, 0.0)),
    )
    mesh = extract_surface(field, LOWER, UPPER, 0.0, ExtractionSettings(32, 1))
    assert is_sound(mesh)
    assert mesh.body_count == 1
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.3**3, rel=0.005)


def test_seeds_reach_a_thin_plate_that_the_start_grid_misses():
    plate = lambda p: fields.box((0.3, 0.25, 0.02))(p - torch.tensor([0.0, 0.0, 0.06]))  # noqa: E731
    settings = ExtractionSettings(8, 3)
    with pytest.raises(SurfaceError, match="no surface"):
        extract_surface(plate, LOWER, UPPER, 0.0, settings)
    mesh = extract_surface(plate, LOWER, UPPER, 0.0, settings, seeds=[[0.1, 0.05, 0.08]])
    assert is_sound(mesh)
    assert mesh.volume == pytest.approx(0.6 * 0.5 * 0.04, rel=0.02)


def test_object_cut_by_the_box_is_closed_at_its_border():
    mesh = extract_surface(fields.sphere(0.4, (0.5, 0.5, 0.0)), LOWER, UPPER, 0.0, ExtractionSettings(16, 2))
    assert is_sound(mesh)
    assert mesh.bounds[1, :2].max() <= 0.5 + 0.02 / 64
    assert mesh.volume == pytest.approx(np.pi * 0.4**3 / 3, rel=0.02)


def test_real_network_sized_values_in_millimetre_boxes_work():
    """A 40 mm object half a metre from the origin, with logits of either sign."""
    center = (0.51, -0.22, 0.63)
    field = lambda p: 3000 * fields.sphere(0.02, center)(p) - 1.386  # noqa: E731
    lower, upper = np.array(center) - 0.03, np.array(center) + 0.03
    mesh = extract_surface(field, lower, upper, -1.386, ExtractionSettings(16, 2, max_triangles=0))
    assert is_sound(mesh)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices - center, axis=1), 0.02, atol=2e-5)
    assert is_sound(trimesh.Trimesh(mesh.vertices.astype(np.float32), mesh.faces, process=False))
