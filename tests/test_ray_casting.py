"""Rays against analytic shapes, and the pinhole camera's conventions."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from onet_ros.ray_casting import RayScene, look_rotation, pixel_rays

K = np.array([[600.0, 0, 319.5], [0, 600.0, 239.5], [0, 0, 1]])


def test_rays_meet_a_box_at_its_analytic_distance_face_and_normal():
    box = trimesh.creation.box((0.2, 0.2, 0.2))
    rays = np.array([[0.01, 0.02, -1, 0, 0, 2], [1, 0.03, 0.02, -1, 0, 0], [0.5, 0.5, -1, 0, 0, 1]], dtype=np.float32)
    hits = RayScene([box]).cast(rays)
    assert hits.hit.tolist() == [True, True, False]
    np.testing.assert_allclose(hits.distance[:2], [0.45, 0.9], atol=1e-6)  # in lengths of the direction
    np.testing.assert_allclose(hits.normal[:2], [[0, 0, -1], [1, 0, 0]], atol=1e-6)
    corners = box.triangles[hits.face[:2]]
    points = (corners * hits.weights[:2, :, None]).sum(1)
    np.testing.assert_allclose(points, [[0.01, 0.02, -0.1], [0.1, 0.03, 0.02]], atol=1e-6)


def test_first_of_two_meshes_is_met_and_named():
    near, far = trimesh.creation.box((1, 1, 0.1)), trimesh.creation.box((1, 1, 0.1))
    far.apply_translation((0, 0, 1))
    rays = np.array([[0, 0, -1, 0, 0, 1], [0, 0, 3, 0, 0, -1]], dtype=np.float32)
    assert RayScene([near, far]).cast(rays).mesh.tolist() == [0, 1]


def test_occlusion_counts_only_what_lies_before_the_limit():
    scene = RayScene([trimesh.creation.box((0.2, 0.2, 0.2))])
    ray = np.array([[0, 0, -1, 0, 0, 1]], dtype=np.float32)
    assert scene.occluded(ray).tolist() == [True]
    assert scene.occluded(ray, far=0.89).tolist() == [False]


def test_scene_without_meshes_is_met_by_no_ray():
    rays = np.zeros((4, 5, 6), dtype=np.float32)
    rays[..., 5] = 1
    assert not RayScene([]).cast(rays).hit.any()
    assert not RayScene([]).occluded(rays).any()


def test_pixel_rays_project_back_to_their_pixels():
    rays = pixel_rays(K, 640, 480)
    pixels = rays @ K.T
    v, u = np.mgrid[:480, :640]
    np.testing.assert_allclose(pixels, np.stack([u, v, np.ones_like(u)], axis=-1), atol=1e-9)


def test_pixel_rays_quote_intrinsics_of_the_wrong_shape():
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        pixel_rays(np.zeros((3, 4)), 10, 10)


def test_look_rotation_is_level_and_right_handed():
    rotation = look_rotation((1.0, 2.0, -1.0), (0, 0, 1))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(rotation @ np.array([1, 2, -1]) / np.sqrt(6), [0, 0, 1], atol=1e-12)
    assert rotation[0, 2] == pytest.approx(0)  # image right is horizontal
    assert rotation[1, 2] < 0  # image down is down


def test_look_rotation_straight_up_is_refused():
    with pytest.raises(ValueError, match="level"):
        look_rotation((0, 0, 2.0), (0, 0, 1))
