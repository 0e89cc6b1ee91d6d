"""Distances from points and meshes, against a tree's and Embree's and against solids that one can calculate."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from onet_ros.nearest import NearestPoint, surface_distances
from onet_ros.ray_casting import ray_scene
from onet_ros.surface import simplify_mesh


def distances(mesh: trimesh.Trimesh, points: np.ndarray) -> np.ndarray:
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    return surface_distances(points, vertices, faces)


MESHES = {
    "ball": trimesh.creation.icosphere(subdivisions=4, radius=0.06),
    "ball of few triangles": simplify_mesh(trimesh.creation.icosphere(subdivisions=4, radius=0.06), 300),
    "ring, flat parts in a few long triangles": trimesh.creation.annulus(0.02, 0.06, 0.03, sections=64),
    "plate, fine in one corner": trimesh.util.concatenate(
        [
            trimesh.creation.box((0.2, 0.1, 0.004)),
            trimesh.creation.box((0.02, 0.02, 0.01)).subdivide().subdivide().subdivide(),
        ]
    ),
}


@pytest.mark.parametrize("spread", [0.001, 0.01, 0.3])
@pytest.mark.parametrize("name", MESHES)
def test_they_are_embrees(name, spread):
    mesh, rng = MESHES[name], np.random.default_rng(0)
    on_it = trimesh.sample.sample_surface(mesh, 128, seed=0)[0]
    points = on_it + rng.normal(0.0, spread, (128, 3))
    expected = ray_scene([mesh]).compute_distance(points.astype(np.float32)).numpy()
    np.testing.assert_allclose(distances(mesh, points), expected, atol=2e-6, rtol=1e-5)


def test_a_box_is_as_far_as_one_calculates():
    box = trimesh.creation.box((0.2, 0.4, 0.6))  # twelve triangles, no vertex near any of the points
    points = np.array([[0.15, 0.0, 0.0], [0.05, 0.0, 0.0], [0.13, 0.24, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(distances(box, points), [0.05, 0.05, 0.05, 0.7], atol=1e-12)


def test_far_from_the_origin_no_digits_are_lost():
    mesh, away = MESHES["ball"], np.array([0.3, -2.0, 1.5])
    points = np.random.default_rng(1).normal(0.0, 0.05, (64, 3))
    moved = trimesh.Trimesh(mesh.vertices + away, mesh.faces, process=False)
    np.testing.assert_allclose(distances(moved, points + away), distances(mesh, points), atol=1e-9)


def test_triangles_without_area_change_nothing():
    mesh = MESHES["ball"]
    faces = np.concatenate([mesh.faces, [[0, 0, 1], [2, 3, 2], [4, 5, 5]]])
    points = np.random.default_rng(1).normal(0.0, 0.05, (64, 3))
    broken = trimesh.Trimesh(mesh.vertices, faces, process=False)
    found = distances(broken, points)
    assert np.isfinite(found).all()
    assert (found <= distances(mesh, points) + 1e-12).all()


class TestNearestPoint:
    @pytest.mark.parametrize("count", [1, 2, 31, 33, 5000])
    def test_it_is_the_trees(self, count):
        rng = np.random.default_rng(count)
        points = rng.normal(0.0, [0.05, 0.02, 0.1], (count, 3)) + [1.0, -2.0, 3.0]
        queries = np.concatenate([points[:7], points.mean(axis=0) + rng.normal(0.0, 0.3, (300, 3))])
        distances, rows = NearestPoint(points)(queries)
        expected, nearest = cKDTree(points).query(queries)
        np.testing.assert_allclose(distances, expected, atol=1e-12)
        np.testing.assert_array_equal(rows, nearest)

    def test_points_at_one_place_and_on_a_line(self):
        at_one_place, on_a_line = np.ones((40, 3)), np.outer(np.arange(100.0), [1.0, 0.0, 0.0])
        np.testing.assert_allclose(NearestPoint(at_one_place)(np.array([[1.0, 1.0, 3.0]]))[0], [2.0])
        queries = np.array([[41.3, 5.0, 0.0], [-9.0, 0.0, 0.0], [200.0, 1.0, 1.0]])
        assert NearestPoint(on_a_line)(queries)[1].tolist() == [41, 0, 99]

    def test_what_is_too_far_is_not_found(self):
        points = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        distances, rows = NearestPoint(points)(
            np.array([[0.1, 0.0, 0.0], [0.5, 0.3, 0.0], [1.0, 0.0, 0.24]]), within=0.25
        )
        np.testing.assert_allclose(distances, [0.1, np.inf, 0.24])
        assert rows[[0, 2]].tolist() == [0, 1]

    def test_nobody_asks(self):
        distances, rows = NearestPoint(np.ones((3, 3)))(np.empty((0, 3)))
        assert distances.shape == rows.shape == (0,)
