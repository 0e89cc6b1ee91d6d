"""Simplified meshes meet the budget, stay closed and stay near."""

from __future__ import annotations

import logging

import analytic_fields as fields
import numpy as np
import pytest
import trimesh
from analytic_fields import LOWER, UPPER

from onet_ros.surface import (
    ExtractionSettings,
    extract_mesh,
    is_sound,
    sample_grid_mise,
    simplify,
    simplify_mesh,
    surface_deviation,
)
from onet_ros.surface.triangles import is_closed, parted

SHAPES = {
    "sphere": fields.sphere(0.37),
    "torus": fields.torus(0.3, 0.05),
    "turned box": fields.box((0.3, 0.2, 0.25), turned=True),
    "aligned box with a hole": fields.box_with_hole(),
    "thin cup": fields.cup(0.02),
    "thin plate": fields.thin_plate(0.015),
    "two bodies": fields.two_bodies(),
    "bumps": fields.gaussians(3),
}


@pytest.fixture(scope="module")
def meshes() -> dict[str, trimesh.Trimesh]:
    settings = ExtractionSettings(start_resolution=32, doublings=1)
    return {name: extract_mesh(sample_grid_mise(field, LOWER, UPPER, 0.0, settings)) for name, field in SHAPES.items()}


@pytest.mark.parametrize(("budget", "mean_limit", "limit"), [(4000, 0.0007, 0.006), (500, 0.004, 0.03)])
@pytest.mark.parametrize("shape", SHAPES)
def test_budget_is_met_by_a_sound_mesh_near_the_original(meshes, shape, budget, mean_limit, limit):
    """Limits in metres, for shapes of up to 0.8 m."""
    mesh = meshes[shape]
    assert len(mesh.faces) > 5000
    simplified = simplify_mesh(mesh, budget)
    assert len(simplified.faces) <= budget
    assert is_sound(simplified)
    assert simplified.euler_number == mesh.euler_number
    assert len(np.unique(simplified.faces)) == len(simplified.vertices)
    mean, largest = surface_deviation(simplified, mesh)
    assert mean < mean_limit
    assert largest < limit
    assert simplified.volume == pytest.approx(mesh.volume, rel=0.05)


def boxes_that_meet_along_an_edge() -> tuple[np.ndarray, np.ndarray]:
    """Two boxes, which share the two vertices at the ends of an edge of both."""
    first = trimesh.creation.box((1.0, 1.0, 1.0))
    second = first.copy()
    second.apply_translation([1.0, 1.0, 0.0])
    both = trimesh.util.concatenate([first, second])
    both.merge_vertices()
    return np.asarray(both.vertices), np.asarray(both.faces)


def test_sheets_that_meet_along_an_edge_are_taken_apart():
    vertices, faces = boxes_that_meet_along_an_edge()
    assert len(vertices) == 14
    assert not is_closed(faces)
    apart = trimesh.Trimesh(*parted(vertices, faces), process=False)
    assert len(apart.vertices) == 16
    assert is_sound(apart)
    assert len(apart.split()) == 2
    assert apart.volume == pytest.approx(2.0, rel=0.05)
    merged = trimesh.Trimesh(apart.vertices, apart.faces, process=True)
    assert merged.is_watertight  # also for those who merge vertices that lie at one place
    np.testing.assert_allclose(apart.bounds, [[-0.5, -0.5, -0.5], [1.5, 1.5, 0.5]], atol=1e-9)


def test_a_closed_mesh_has_nothing_to_be_taken_apart(meshes):
    mesh = meshes["thin cup"]
    vertices, faces = parted(np.asarray(mesh.vertices), np.asarray(mesh.faces))
    assert len(vertices) == len(mesh.vertices)
    np.testing.assert_array_equal(vertices[faces], mesh.vertices[mesh.faces])


@pytest.mark.parametrize("shape", SHAPES)
def test_collision_meshes_are_sound_and_near(meshes, shape):
    mesh = meshes[shape]
    simplified = simplify_mesh(mesh, 1000, keep_topology=False)
    assert len(simplified.faces) <= 1000
    assert is_sound(simplified)
    assert surface_deviation(simplified, mesh)[0] < 0.004
    assert simplified.volume == pytest.approx(mesh.volume, rel=0.05)


def test_result_does_not_depend_on_size_or_place(meshes):
    mesh = meshes["thin cup"]
    moved = mesh.copy()
    moved.apply_scale(0.1)
    moved.apply_translation([0.3, -0.2, 0.9])
    here, there = simplify_mesh(mesh, 4000), simplify_mesh(moved, 4000)
    there.apply_translation([-0.3, 0.2, -0.9])
    there.apply_scale(10)
    assert is_sound(there)
    assert surface_deviation(here, there)[0] < 0.0005


def test_mesh_within_the_budget_and_budget_zero_change_nothing(meshes):
    mesh = meshes["sphere"]
    assert simplify_mesh(mesh, 0) is mesh
    assert simplify_mesh(mesh, len(mesh.faces)) is mesh


def test_impossible_budget_gives_the_smallest_sound_mesh_and_a_warning(meshes, caplog):
    with caplog.at_level(logging.WARNING):
        simplified = simplify_mesh(meshes["two bodies"], 3)
    assert is_sound(simplified)
    assert simplified.euler_number == 4
    assert len(simplified.faces) < len(meshes["two bodies"].faces)
    assert "instead of 3" in caplog.text


def test_what_the_fast_method_shrinks_is_done_with_care(meshes, monkeypatch):
    mesh, quadric, tried = meshes["sphere"], simplify._fast_quadric, []

    def shrinking(arrays, target, aggressiveness):
        tried.append(aggressiveness)
        vertices, faces = quadric(arrays, target, aggressiveness)
        return (0.995 if aggressiveness == simplify.HASTE else 1.0) * vertices, faces  # 1.5 % of the volume

    monkeypatch.setattr(simplify, "_fast_quadric", shrinking)
    assert simplify_mesh(mesh, 4000).volume == pytest.approx(mesh.volume, rel=0.003)
    assert tried == [simplify.HASTE, simplify.CARE]
    # Where few triangles are left, or topology does not matter, as much is allowed.
    monkeypatch.setattr(simplify, "HURRY", simplify.HASTE)
    for budget, keep_topology in ((400, True), (4000, False)):
        assert simplify_mesh(mesh, budget, keep_topology).volume < 0.99 * mesh.volume


def test_two_vertices_at_one_place_are_found_whatever_lies_as_far_along():
    rng = np.random.default_rng(0)
    scattered = rng.random((5000, 3))
    assert not simplify._touches_itself(scattered)
    twice = scattered[1234] + 3e-7
    assert simplify._touches_itself(np.concatenate([scattered, twice[None]]))
    across = np.cross(simplify._DIRECTION, [1.0, 0.0, 0.0])
    level = scattered[1234] + 1e-3 * np.arange(1, 4)[:, None] * across
    assert simplify._touches_itself(np.concatenate([scattered, level, twice[None]]))
    assert not simplify._touches_itself(np.concatenate([scattered, level]))


def test_deviation_of_concentric_spheres_is_the_difference_of_their_radii():
    small, large = (trimesh.creation.icosphere(subdivisions=5, radius=radius) for radius in (0.30, 0.31))
    for mesh in (small, large):
        mesh.apply_translation([5.0, -7.0, 3.0])
    mean, largest = surface_deviation(small, large)
    assert mean == pytest.approx(0.01, rel=0.02)
    assert largest == pytest.approx(0.01, rel=0.05)


def test_is_sound_tells_closed_meshes_from_open_inverted_and_empty_ones():
    ball = trimesh.creation.icosphere(subdivisions=2)
    assert is_sound(ball)
    assert not is_sound(trimesh.Trimesh(ball.vertices, ball.faces[1:], process=False))
    assert not is_sound(trimesh.Trimesh(ball.vertices, ball.faces[:, ::-1], process=False))
    assert not is_sound(trimesh.Trimesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64), process=False))
    assert not is_sound(trimesh.Trimesh(ball.vertices * [1, 1, 0], ball.faces, process=False))
