"""What was seen around an object: from a window about its image, never the object itself."""

from __future__ import annotations

import numpy as np
import pytest

from onet_ros.scene import PointCloud, SupportPlane, background_points, depth_to_points, table_beside

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


class TestTableBesideAnObject:
    """A camera half a metre up looks steeply at a ball on a table; x to the right, z up."""

    EYE = np.array([0.0, -0.5, 0.5])
    TABLE = SupportPlane(normal=np.array([0.0, 0.0, 1.0]), offset=0.0)
    CENTRE, RADIUS = np.array([0.0, 0.0, 0.05]), 0.05

    def seen_of_ball(self, count=4000):
        outwards = np.random.default_rng(0).normal(size=(count, 3))
        points = self.CENTRE + self.RADIUS * outwards / np.linalg.norm(outwards, axis=1, keepdims=True)
        return points[((points - self.CENTRE) * (self.EYE - points)).sum(axis=1) > 0.0]

    def test_it_lies_on_the_table_and_its_rays_miss_the_object(self):
        around = table_beside(self.seen_of_ball(), self.TABLE, self.EYE, 1024)
        assert len(around) > 300
        assert np.abs(self.TABLE.height(around)).max() < 1e-6
        rays = (around - self.EYE) / np.linalg.norm(around - self.EYE, axis=1, keepdims=True)
        beside = np.linalg.norm(np.cross(self.CENTRE - self.EYE, rays), axis=1)
        assert beside.min() > self.RADIUS

    def test_it_comes_from_all_sides_of_the_object(self):
        around = table_beside(self.seen_of_ball(), self.TABLE, self.EYE, 1024)
        assert (around[:, 0] > 0.05).any()
        assert (around[:, 0] < -0.05).any()
        assert (around[:, 1] < -0.02).any()
        assert (around[:, 1] > 0.1).any()

    def test_few_points_have_an_outline_without_holes(self):
        seen = self.seen_of_ball()[:60]
        around = table_beside(seen, self.TABLE, self.EYE, 1024)
        rays = (around - self.EYE) / np.linalg.norm(around - self.EYE, axis=1, keepdims=True)
        beside = np.linalg.norm(np.cross(self.CENTRE - self.EYE, rays), axis=1)
        assert beside.min() > 0.6 * self.RADIUS

    def test_the_frame_does_not_matter(self):
        turn, shift = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([5.0, 1.0, 2.0])
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = turn, shift
        seen = self.seen_of_ball()
        there = table_beside(seen @ turn.T + shift, self.TABLE.transformed(T), turn @ self.EYE + shift, 10_000)
        here = table_beside(seen, self.TABLE, self.EYE, 10_000)
        assert len(there) == pytest.approx(len(here), rel=0.1)
        assert np.abs((there - shift) @ turn)[:, 2].max() < 1e-6

    def test_there_are_never_more_than_asked_for(self):
        assert len(table_beside(self.seen_of_ball(), self.TABLE, self.EYE, 100)) == 100

    def test_a_camera_that_looks_up_or_sees_one_point_sees_no_table(self):
        below = SupportPlane(normal=np.array([0.0, 0.0, 1.0]), offset=-2.0)
        assert len(table_beside(self.seen_of_ball(), below, self.EYE, 100)) == 0
        assert len(table_beside(np.tile(self.CENTRE, (30, 1)), self.TABLE, self.EYE, 100)) == 0
