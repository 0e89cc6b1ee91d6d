"""What was seen around an object: from a window about its image, never the object itself."""

from __future__ import annotations

import numpy as np
import pytest

from onet_ros.scene import PointCloud, background_points, depth_to_points

K = np.array([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]])


def image_with_square(size=60):
    """A wall 1 m away with a square 0.6 m away in its middle; the cloud and the indices of the square."""
    depth = np.full((480, 640), 1.0, dtype=np.float32)
    depth[240 - size // 2 : 240 + size // 2, 320 - size // 2 : 320 + size // 2] = 0.6
    return PointCloud.from_points(depth_to_points(depth, K)), np.flatnonzero(depth.ravel() < 0.9)


def test_it_is_taken_from_a_window_a_little_larger_than_the_object():
    cloud, indices = image_with_square()
    around = background_points(cloud, indices, (0, 0, 0), 500)
    assert len(around) > 50
    pixels = around[:, :2] / around[:, 2:] * 600.0
    assert np.abs(pixels).max() < 1.2 * 30 + 1
    assert (around[:, 2] > 0.9).all()


def test_there_are_never_more_than_asked_for():
    cloud, indices = image_with_square(200)
    assert len(background_points(cloud, indices, (0, 0, 0), 100)) == 100


def test_the_frame_and_the_order_of_the_cloud_do_not_matter():
    cloud, indices = image_with_square()
    expected = background_points(cloud, indices, (0, 0, 0), 10_000)
    turn = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]], dtype=np.float32)
    moved = PointCloud.from_points(cloud.points.reshape(-1, 3) @ turn.T + np.float32([5.0, 1.0, 2.0]))
    found = background_points(moved, indices, (5.0, 1.0, 2.0), 10_000)
    assert len(found) == pytest.approx(len(expected), rel=0.1)
    assert np.abs((found - [5.0, 1.0, 2.0])[:, 0] - 1.0).max() < 1e-4


def test_an_object_alone_in_the_cloud_has_no_surroundings():
    cloud = PointCloud.from_points(np.random.default_rng(0).normal(size=(100, 3)) * 0.01 + [0, 0, 0.5])
    assert background_points(cloud, np.arange(100), (0, 0, 0), 10).shape == (0, 3)


def test_missing_points_are_no_surroundings():
    cloud, indices = image_with_square()
    points = cloud.points.copy()
    points[:, 320:] = np.nan
    halved = PointCloud.from_points(points)
    own = indices[halved.valid.ravel()[indices]]
    around = background_points(halved, own, (0, 0, 0), 10_000)
    assert np.isfinite(around).all()
    assert (around[:, 0] < 0).all()
