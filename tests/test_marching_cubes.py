"""Marching cubes: exact places, closed, outward, whatever the values; against PyMCubes' own sweep."""

from __future__ import annotations

import analytic_fields as fields
import mcubes
import numpy as np
import pytest
import torch
import trimesh
from analytic_fields import LOWER, UPPER
from scipy.spatial import cKDTree

from onet_ros.surface import (
    ExtractionSettings,
    Field,
    extract_mesh,
    sample_grid_dense,
    sample_grid_mise,
    sample_grids_mise,
)
from onet_ros.surface.marching_cubes import CORNER_CLEARANCE, polygonise
from onet_ros.surface.mesh_batch import _roots

GRID_64 = ExtractionSettings(start_resolution=16, doublings=2)


def extract(field: Field, threshold: float = 0.0, settings: ExtractionSettings = GRID_64) -> trimesh.Trimesh:
    return extract_mesh(sample_grid_mise(field, LOWER, UPPER, threshold, settings))


def assert_closed_and_clean(mesh: trimesh.Trimesh) -> None:
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0
    assert len(np.unique(mesh.faces)) == len(mesh.vertices)
    assert len(np.unique(mesh.vertices, axis=0)) == len(mesh.vertices)
    assert mesh.area_faces.min() > 0
    assert mesh.vertices.dtype == np.float64
    assert mesh.faces.dtype == np.int64


def test_vertices_of_a_sphere_lie_on_it_within_a_small_fraction_of_a_cell():
    field = fields.sphere(0.3, (0.05, -0.04, 0.03))
    mesh = extract(field)
    radii = np.linalg.norm(mesh.vertices - [0.05, -0.04, 0.03], axis=1)
    voxel_size = 1 / 64
    # Linear interpolation of a distance errs by at most h^2 / 8r; vertices pushed off a corner, by the clearance.
    assert np.abs(radii - 0.3).max() < (voxel_size / (8 * 0.3) + CORNER_CLEARANCE) * voxel_size
    assert np.abs(radii - 0.3).mean() < 0.005 * voxel_size
    np.testing.assert_allclose(mesh.center_mass, [0.05, -0.04, 0.03], atol=0.01 * voxel_size)
    assert_closed_and_clean(mesh)


def test_volume_area_and_euler_number_of_known_shapes():
    torus = extract(fields.torus(0.3, 0.11))
    assert torus.volume == pytest.approx(2 * np.pi**2 * 0.3 * 0.11**2, rel=0.005)
    assert torus.area == pytest.approx(4 * np.pi**2 * 0.3 * 0.11, rel=0.005)
    assert torus.euler_number == 0
    plate = extract(fields.box((0.3, 0.25, 0.06), turned=True))
    assert plate.volume == pytest.approx(8 * 0.3 * 0.25 * 0.06, rel=0.005)
    assert plate.euler_number == 2
    holed = extract(fields.box_with_hole())
    assert holed.volume == pytest.approx(8 * 0.35 * 0.3 * 0.25 - np.pi * 0.15**2 * 0.5, rel=0.005)
    assert holed.euler_number == 0
    assert extract(fields.two_bodies()).euler_number == 4


def test_normals_point_to_where_the_field_falls():
    mesh = extract(fields.two_bodies())
    step = torch.from_numpy(mesh.face_normals * 1e-3).float()
    places = torch.tensor(mesh.triangles_center, dtype=torch.float32)
    assert (fields.two_bodies()(places + step) < fields.two_bodies()(places - step)).all()


def test_box_with_different_edges_gives_metric_coordinates():
    field = fields.sphere(0.2, (1.0, 2.0, 3.0))
    mesh = extract_mesh(sample_grid_mise(field, (0.5, 1.7, 2.7), (1.5, 2.3, 3.5), 0.0, GRID_64))
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices - [1, 2, 3], axis=1), 0.2, atol=2e-4)
    assert_closed_and_clean(mesh)


@pytest.mark.parametrize("seed", range(3))
def test_triangles_are_those_of_pymcubes(seed: int):
    """Matched by their centres, since PyMCubes sweeps the cells in another order."""
    grid = sample_grid_dense(fields.gaussians(seed), LOWER, UPPER, 0.0, ExtractionSettings(12, 1))
    mesh = extract_mesh(grid)
    padded = np.pad(grid.values.double().numpy(), 1, constant_values=-1e9)  # far below, so caps lie on the border
    vertices, faces = mcubes.marching_cubes(padded, 0.0)
    expected = (grid.lower + (vertices - 1) * grid.voxel_size)[faces.astype(np.int64)]
    assert len(mesh.faces) == len(expected) > 1000
    distances, nearest = cKDTree(expected.mean(axis=1)).query(mesh.triangles_center)
    assert distances.max() < 2 * CORNER_CLEARANCE * grid.voxel_size.max()
    own_normals = np.cross(mesh.triangles[:, 1] - mesh.triangles[:, 0], mesh.triangles[:, 2] - mesh.triangles[:, 0])
    matched = expected[nearest]
    normals = np.cross(matched[:, 1] - matched[:, 0], matched[:, 2] - matched[:, 0])
    large = np.linalg.norm(own_normals, axis=1) > 0.1 * grid.voxel_size.max() ** 2
    assert (np.einsum("ij,ij->i", own_normals, normals)[large] > 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_mesh_of_white_noise_is_a_closed_manifold(seed: int):
    """Every one of the 256 cases and all ambiguous faces at once."""
    noise = torch.randn(21**3, generator=torch.Generator().manual_seed(seed))

    def field(points: torch.Tensor) -> torch.Tensor:
        x, y, z = ((points + 0.5) * 20).round().long().T
        return noise[(x * 21 + y) * 21 + z]

    mesh = extract(field, settings=ExtractionSettings(20, 0))
    assert_closed_and_clean(mesh)
    assert mesh.vertices.min() >= -0.5 - 1.001 * CORNER_CLEARANCE / 20
    assert mesh.vertices.max() <= 0.5 + 1.001 * CORNER_CLEARANCE / 20


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5])
def test_values_equal_to_the_threshold_leave_no_hole_and_no_degenerate_triangle(threshold: float):
    """Integer-valued fields meet the threshold on whole planes, lines and corners of the grid."""
    octahedron = lambda p: 0.25 * torch.floor(20 * (0.4 - p.abs().sum(dim=1)))  # noqa: E731
    assert_closed_and_clean(extract(octahedron, threshold))
    aligned_box = lambda p: threshold + 0.25 - p.abs().amax(dim=1)  # noqa: E731 - faces on planes of the grid
    mesh = extract(aligned_box, threshold, ExtractionSettings(16, 0))
    assert_closed_and_clean(mesh)
    np.testing.assert_allclose(mesh.bounds, [[-0.25] * 3, [0.25] * 3], atol=1.001 * CORNER_CLEARANCE / 16)


def test_binary_and_saturated_fields_are_meshed_half_way():
    occupied = lambda p: (fields.torus(0.3, 0.11)(p) > 0).float()  # noqa: E731
    mesh = extract(occupied, 0.5)
    assert_closed_and_clean(mesh)
    assert mesh.euler_number == 0
    huge = lambda p: torch.where(fields.sphere(0.3)(p) > 0, 3e38, -3e38)  # noqa: E731
    mesh = extract(huge)
    assert_closed_and_clean(mesh)
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.3**3, rel=0.02)


def test_surface_that_meets_the_border_is_closed_there():
    radius = 0.4
    mesh = extract(fields.sphere(radius, (0.5, 0.0, 0.0)))
    assert_closed_and_clean(mesh)
    assert mesh.volume == pytest.approx(2 / 3 * np.pi * radius**3, rel=0.01)
    cap = mesh.vertices[:, 0] > 0.5
    assert cap.any()
    np.testing.assert_allclose(mesh.vertices[cap, 0], 0.5 + CORNER_CLEARANCE / 64, atol=1e-9)
    assert mesh.euler_number == 2


def test_full_field_gives_the_box():
    mesh = extract(lambda p: torch.ones(len(p)), settings=ExtractionSettings(4, 2))
    assert_closed_and_clean(mesh)
    np.testing.assert_allclose(mesh.bounds, [LOWER, UPPER], atol=1.001 * CORNER_CLEARANCE / 16)
    assert mesh.volume == pytest.approx(1.0, rel=0.01)


def test_hollow_body_has_an_inner_wall_facing_the_hollow():
    shell = fields.difference(fields.sphere(0.4), fields.sphere(0.25))
    mesh = extract(shell)
    assert_closed_and_clean(mesh)
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * (0.4**3 - 0.25**3), rel=0.01)
    assert mesh.euler_number == 4


def test_mesh_from_multiresolution_grid_is_the_mesh_from_the_dense_grid():
    settings = ExtractionSettings(8, 3)
    mesh = extract(fields.cup(), settings=settings)
    dense = extract_mesh(sample_grid_dense(fields.cup(), LOWER, UPPER, 0.0, settings))
    np.testing.assert_array_equal(mesh.vertices, dense.vertices)
    np.testing.assert_array_equal(mesh.faces, dense.faces)


@pytest.mark.parametrize("slope", [40.0, 1000.0, 20000.0])
@pytest.mark.parametrize(
    "distance",
    [fields.sphere(0.37), fields.torus(0.3, 0.11), fields.box((0.3, 0.2, 0.25), turned=True), fields.cup(0.05)],
)
def test_refined_vertices_are_nearer_to_the_true_surface(distance: Field, slope: float):
    """Logits from gently sloped to all but binary: 20000 / m rises to its ceiling within an eightieth of a cell."""
    field = fields.occupancy_logits(distance, slope)
    grid = sample_grid_mise(field, LOWER, UPPER, 0.0, ExtractionSettings(16, 1))
    errors = []
    for steps in (0, 2, 4):
        mesh = extract_mesh(grid, field, steps)
        errors.append(distance(torch.tensor(mesh.vertices, dtype=torch.float32)).abs().mean().item())
    assert errors[1] < 0.3 * errors[0]
    assert errors[2] <= errors[1]
    assert errors[2] < 0.02 / 32


@pytest.mark.parametrize("distance", [fields.cup(0.04), fields.gaussians(1), fields.sphere(0.4, (0.3, 0.3, -0.3))])
def test_refined_vertices_stay_on_their_edges_and_the_mesh_stays_clean(distance: Field):
    field = fields.occupancy_logits(distance, 1000.0)
    grid = sample_grid_mise(field, LOWER, UPPER, 0.0, ExtractionSettings(16, 1))
    plain, refined = extract_mesh(grid), extract_mesh(grid, field, 3)
    assert_closed_and_clean(refined)
    np.testing.assert_array_equal(refined.faces, plain.faces)
    moves = np.sort(np.abs(refined.vertices - plain.vertices), axis=1)
    assert (moves[:, :2] == 0).all()
    assert 0 < moves[:, 2].max() < 1 / 32
    caps = (np.abs(plain.vertices) > 0.5).any(axis=1)
    np.testing.assert_array_equal(refined.vertices[caps], plain.vertices[caps])


def test_refinement_asks_for_one_value_per_vertex_and_step():
    asked = []

    def field(points: torch.Tensor) -> torch.Tensor:
        asked.append(len(points))
        return fields.torus(0.3, 0.11)(points)

    grid = sample_grid_mise(field, LOWER, UPPER, 0.0, GRID_64)
    asked.clear()
    mesh = extract_mesh(grid, field, 2, chunk_size=500)
    assert sum(asked) == 2 * len(mesh.vertices)
    assert max(asked) == 500


def test_pieces_are_counted_object_by_object():
    shapes = (fields.two_bodies(), fields.torus(0.3, 0.1), fields.difference(fields.sphere(0.4), fields.sphere(0.2)))

    def batch(points: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
        values = torch.stack([shape(points) for shape in shapes])
        return values.gather(0, objects.unsqueeze(0)).squeeze(0)

    boxes = np.tile(LOWER, (3, 1)), np.tile(UPPER, (3, 1))
    meshes = polygonise(sample_grids_mise(batch, *boxes, 0.0, GRID_64))
    assert [mesh.body_count for mesh in meshes.meshes()] == [2, 1, 2]
    labels, owners = meshes.pieces(), meshes.objects_of_vertices
    assert [len(labels[owners == number].unique()) for number in range(3)] == [2, 1, 2]
    # The way of a GPU gives each vertex the lowest one it is connected with.
    roots = _roots(meshes.faces, len(meshes.vertices))
    assert len(roots.unique()) == 5
    assert all(len(roots[labels == label].unique()) == 1 for label in range(5))
