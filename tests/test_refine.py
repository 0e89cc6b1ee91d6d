"""Refinement puts vertices on the level set, within bounds, and leaves a mesh that is still closed."""

from __future__ import annotations

import analytic_fields as fields
import numpy as np
import open3d as o3d
import pytest
import torch
import trimesh
from analytic_fields import LOWER, UPPER

from onet_ros.surface import (
    ExtractionSettings,
    Field,
    SurfaceError,
    extract_mesh,
    is_sound,
    refine_vertices,
    sample_grid_mise,
    vertex_normals,
)
from onet_ros.surface.refine import MAX_MOVE

COARSE = ExtractionSettings(start_resolution=16, doublings=1)
VOXEL_SIZE = 1 / 32

SHAPES = {
    "sphere": fields.sphere(0.37),
    "torus": fields.torus(0.3, 0.11),
    "turned box": fields.box((0.3, 0.2, 0.25), turned=True),
    "cup": fields.cup(0.05),
}


def extract(field: Field, threshold: float = 0.0) -> trimesh.Trimesh:
    return extract_mesh(sample_grid_mise(field, LOWER, UPPER, threshold, COARSE))


def distances(distance: Field, points: np.ndarray) -> np.ndarray:
    """(N,) metres from points to the true surface."""
    return distance(torch.tensor(points, dtype=torch.float32)).abs().numpy()


def without_gradient(field: Field) -> Field:
    """The same values from an engine that autograd knows nothing of."""
    return lambda points: torch.from_numpy(field(points.detach()).numpy())


@pytest.mark.parametrize("slope", [40.0, 1000.0, 20000.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_mean_distance_to_the_true_surface_falls(shape: str, slope: float):
    """Logits from gently sloped to all but binary: 20000 / m rises to its ceiling within an eightieth of a cell."""
    field = fields.occupancy_logits(SHAPES[shape], slope)
    mesh = extract(field)
    refined = refine_vertices(mesh, field, 0.0, VOXEL_SIZE, steps=4)
    before, after = distances(SHAPES[shape], mesh.vertices), distances(SHAPES[shape], refined.vertices)
    assert after.mean() < 0.35 * before.mean()
    assert after.mean() < 0.04 * VOXEL_SIZE
    samples_before, samples_after = (trimesh.sample.sample_surface(m, 20_000, seed=0)[0] for m in (mesh, refined))
    assert distances(SHAPES[shape], samples_after).mean() < distances(SHAPES[shape], samples_before).mean()


@pytest.mark.parametrize("shape", SHAPES)
def test_refined_mesh_is_sound_and_moved_within_the_bound(shape: str):
    field = fields.occupancy_logits(SHAPES[shape], 1000.0)
    mesh = extract(field)
    refined = refine_vertices(mesh, field, 0.0, VOXEL_SIZE, steps=3)
    assert is_sound(refined)
    assert refined.euler_number == mesh.euler_number
    np.testing.assert_array_equal(refined.faces, mesh.faces)
    moves = np.linalg.norm(refined.vertices - mesh.vertices, axis=1)
    assert 0 < moves.max() <= MAX_MOVE * VOXEL_SIZE * (1 + 1e-6)
    cosines = np.einsum("ij,ij->i", refined.face_normals, mesh.face_normals)
    assert cosines.min() >= 0.5 - 1e-6


def test_no_vertex_gets_further_from_the_level_set():
    """On fields that are no distances, too: each vertex keeps the best place it has seen."""
    for seed in range(4):
        field = fields.gaussians(seed, width=0.05)
        mesh = extract(field)
        refined = refine_vertices(mesh, field, 0.0, VOXEL_SIZE, steps=2)
        before, after = distances(field, mesh.vertices), distances(field, refined.vertices)
        unhindered = np.linalg.norm(refined.vertices - mesh.vertices, axis=1) > 0
        assert (after[unhindered] <= before[unhindered] + 1e-6).mean() > 0.999  # a move halved against a flip may
        assert after.mean() < 0.2 * before.mean()


def test_refinement_creates_no_self_intersection():
    def crossings(mesh: trimesh.Trimesh) -> int:
        vertices, faces = o3d.utility.Vector3dVector(np.array(mesh.vertices)), np.array(mesh.faces, dtype=np.int32)
        legacy = o3d.geometry.TriangleMesh(vertices, o3d.utility.Vector3iVector(faces))
        return len(np.asarray(legacy.get_self_intersecting_triangles()))

    for distance in (fields.cup(0.04), fields.torus(0.3, 0.05), fields.two_bodies()):
        field = fields.occupancy_logits(distance, 1000.0)
        mesh = extract(field)
        refined = refine_vertices(mesh, field, 0.0, VOXEL_SIZE, steps=3)
        assert crossings(refined) <= crossings(mesh)


@pytest.mark.parametrize("shape", SHAPES)
def test_field_without_gradient_is_refined_along_the_mesh_normals(shape: str):
    field = without_gradient(fields.occupancy_logits(SHAPES[shape], 400.0))
    mesh = extract(field)
    refined = refine_vertices(mesh, field, 0.0, VOXEL_SIZE, steps=3)
    assert is_sound(refined)
    assert distances(SHAPES[shape], refined.vertices).mean() < 0.3 * distances(SHAPES[shape], mesh.vertices).mean()


def test_field_whose_operations_have_no_derivative_is_refined_all_the_same():
    def in_place(points: torch.Tensor) -> torch.Tensor:
        squares = torch.mul(points, points, out=torch.empty_like(points))
        return 0.37**2 - squares.sum(dim=1)

    mesh = extract(in_place)
    refined = refine_vertices(mesh, in_place, 0.0, VOXEL_SIZE, steps=3)
    assert distances(SHAPES["sphere"], refined.vertices).max() < 0.2 * distances(SHAPES["sphere"], mesh.vertices).max()


def test_refinement_works_in_inference_mode():
    with torch.inference_mode():
        mesh = extract(SHAPES["torus"])
        refined = refine_vertices(mesh, SHAPES["torus"], 0.0, VOXEL_SIZE, steps=3)
    assert is_sound(refined)
    assert distances(SHAPES["torus"], refined.vertices).mean() < 0.2 * distances(SHAPES["torus"], mesh.vertices).mean()


def test_threshold_is_the_level_refined_to():
    field = fields.sphere(0.37)
    refined = refine_vertices(extract(field, 0.07), field, 0.07, VOXEL_SIZE)
    np.testing.assert_allclose(np.linalg.norm(refined.vertices, axis=1), 0.30, atol=1e-6)


def test_input_mesh_is_not_changed_and_zero_steps_return_it():
    mesh = extract(SHAPES["torus"])
    vertices = mesh.vertices.copy()
    refine_vertices(mesh, SHAPES["torus"], 0.0, VOXEL_SIZE)
    np.testing.assert_array_equal(mesh.vertices, vertices)
    assert refine_vertices(mesh, SHAPES["torus"], 0.0, VOXEL_SIZE, steps=0) is mesh


def test_vertices_keep_within_bounds_and_caps_stay_where_they_are():
    field = fields.occupancy_logits(fields.sphere(0.4, (0.5, 0.0, 0.0)), 400.0)
    mesh = extract(field)
    refined = refine_vertices(mesh, field, 0.0, VOXEL_SIZE, bounds=(LOWER, UPPER))
    cap = mesh.vertices[:, 0] > 0.5
    assert cap.any()
    np.testing.assert_array_equal(refined.vertices[cap], mesh.vertices[cap])
    assert refined.vertices[~cap, 0].max() <= 0.5
    assert is_sound(refined)


def test_flipping_moves_are_taken_back():
    """A field that sends every vertex off to one side by more than a triangle's size."""
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.3)
    field = lambda p: 0.25 + 0.05 * torch.sin(300 * p[:, 0]) - p.norm(dim=1)  # noqa: E731
    refined = refine_vertices(mesh, field, 0.0, voxel_size=0.2, steps=3)
    assert is_sound(refined)
    assert np.einsum("ij,ij->i", refined.face_normals, mesh.face_normals).min() >= 0.5 - 1e-6


def test_vertex_normals_are_the_outward_unit_normals_of_the_field():
    mesh = extract(SHAPES["sphere"])
    normals = vertex_normals(mesh, SHAPES["sphere"])
    np.testing.assert_allclose(normals, mesh.vertices / np.linalg.norm(mesh.vertices, axis=1)[:, None], atol=1e-5)
    flat = vertex_normals(mesh, lambda p: p[:, 0] * 0)
    np.testing.assert_allclose(flat, mesh.vertex_normals, atol=1e-6)


def test_unusable_field_is_refused():
    mesh = extract(SHAPES["sphere"])
    with pytest.raises(SurfaceError, match="non-finite"):
        refine_vertices(mesh, lambda p: p[:, 0] * torch.nan, 0.0, VOXEL_SIZE)
