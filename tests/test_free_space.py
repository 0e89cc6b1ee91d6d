"""What the camera saw to be free: in front of what it measured, nothing where it measured nothing."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from onet_ros.learning.metrics import points_inside
from onet_ros.scene import FreeSpace, PointCloud, SeenObject, SupportPlane, depth_to_points

K = np.array([[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]])


def square_before_a_wall(noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Points of a square of 60 px 0.6 m away, and of the wall 1 m away around it."""
    depth = np.full((480, 640), 1.0)
    depth[210:270, 290:350] = 0.6
    depth += noise * np.random.default_rng(0).normal(size=depth.shape)
    points = depth_to_points(depth.astype(np.float32), K).reshape(-1, 3)
    own = points[:, 2] < 0.8
    return points[own], points[~own]


def at_pixel(u: float, v: float, z: float) -> np.ndarray:
    return np.array([[(u - 320.0) / 600.0 * z, (v - 240.0) / 600.0 * z, z]])


def test_what_is_in_front_of_the_object_is_free_and_what_is_behind_is_not_known_to_be():
    space = FreeSpace.about(*square_before_a_wall(), (0, 0, 0))
    assert space.margin(at_pixel(320, 240, 0.595))[0] == pytest.approx(-0.0045, abs=2e-4)
    assert space.margin(at_pixel(320, 240, 0.62))[0] > 0.0


def test_beside_the_object_all_is_free_up_to_the_wall():
    space = FreeSpace.about(*square_before_a_wall(), (0, 0, 0))
    beside = at_pixel(355, 240, 0.62)  # a cell and a half beside the outline
    assert space.margin(beside)[0] == pytest.approx(0.62 - 1.0, abs=0.01)
    assert space.margin(at_pixel(355, 240, 1.01))[0] > 0.0


def test_nothing_is_known_outside_the_image_and_behind_the_camera():
    space = FreeSpace.about(*square_before_a_wall(), (0, 0, 0))
    assert np.isinf(
        space.margin(np.concatenate([at_pixel(500, 240, 0.5), [[0.0, 0.0, -0.5]], [[0.0, 0.0, 0.0]]]))
    ).all()


def test_nothing_is_known_where_no_ray_ended():
    own, around = square_before_a_wall()
    hole = (np.abs(around[:, 0] / around[:, 2] * 600.0) < 60) & (around[:, 1] > 0.0)
    space = FreeSpace.about(own, around[~hole], (0, 0, 0))
    assert np.isinf(space.margin(at_pixel(320, 272, 0.62))).all()


def test_single_missing_pixels_are_gaps_and_not_unknown():
    own, around = square_before_a_wall()
    kept = np.random.default_rng(0).random(len(around)) > 0.05
    space = FreeSpace.about(own, around[kept], (0, 0, 0))
    places = np.concatenate([at_pixel(u, v, 0.62) for u in (284, 355) for v in range(215, 265, 3)])
    assert (space.margin(places) < 0.0).mean() > 0.95


class TestVolumeIn:
    def box_at(self, z: float, size=(0.04, 0.04, 0.1)) -> trimesh.Trimesh:
        """In front of the square or in it, of triangles as small as those of completed meshes."""
        box = trimesh.creation.box(size).subdivide_to_size(0.004)
        box.apply_translation([0.0, 0.0, z])
        return box

    def test_of_a_box_that_comes_out_of_what_was_seen_it_is_the_part_before_it(self):
        space = FreeSpace.about(*square_before_a_wall(), (0, 0, 0))
        box = self.box_at(0.62)  # from 0.57 on; what was seen lies at 0.6
        assert space.volume_in(box.vertices, box.faces) == pytest.approx(0.04**2 * 0.03, rel=0.03)

    def test_it_is_all_of_a_box_before_and_nothing_of_one_behind(self):
        space = FreeSpace.about(*square_before_a_wall(), (0, 0, 0))
        before, behind = self.box_at(0.5), self.box_at(0.66)
        assert space.volume_in(before.vertices, before.faces) == pytest.approx(before.volume, rel=1e-3)
        assert space.volume_in(behind.vertices, behind.faces) == 0.0

    def test_of_a_solid_with_hollows_it_is_what_one_finds_by_trying(self):
        space = FreeSpace.about(*square_before_a_wall(), (0, 0, 0))
        cup = trimesh.creation.annulus(0.015, 0.025, 0.06, sections=48).subdivide_to_size(0.004)
        cup.apply_transform(trimesh.transformations.rotation_matrix(0.7, [1.0, 0.3, 0.0], [0.0, 0.0, 0.0]))
        cup.apply_translation([0.0, 0.0, 0.605])
        places = np.random.default_rng(0).uniform(*cup.bounds, (100_000, 3))
        inside = points_inside(cup, places) & (space.margin(places) < 0.0)
        expected = inside.mean() * np.prod(np.ptp(cup.bounds, axis=0))
        assert expected > 0.1 * cup.volume
        assert space.volume_in(cup.vertices, cup.faces) == pytest.approx(expected, rel=0.05)

    def test_nothing_of_it_where_nothing_is_known(self):
        space = FreeSpace.about(*square_before_a_wall(), (0, 0, 0))
        aside = self.box_at(0.5)
        aside.apply_translation([0.3, 0.0, 0.0])
        assert space.volume_in(aside.vertices, aside.faces) == 0.0


def test_noise_does_not_make_the_object_itself_free():
    own, around = square_before_a_wall(noise=0.0015)
    space = FreeSpace.about(own, around, (0, 0, 0))
    surface = np.concatenate([at_pixel(u, v, 0.6) for u in range(295, 345, 2) for v in range(215, 265, 2)])
    assert (space.margin(surface) > 0.0).all()
    assert (space.margin(surface - [0.0, 0.0, 0.01]) < 0.0).all()


def test_it_goes_with_the_frame():
    own, around = square_before_a_wall()
    turn, shift = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([2.0, -1.0, 0.5])
    moved = FreeSpace.about(own @ turn.T + shift, around @ turn.T + shift, shift)
    assert moved.margin(at_pixel(320, 240, 0.595) @ turn.T + shift)[0] == pytest.approx(-0.0045, abs=3e-4)


def test_a_single_point_tells_nothing():
    assert FreeSpace.about([[0.0, 0.0, 0.5]], [[0.1, 0.0, 0.5]], (0, 0, 0)) is None


def test_an_object_alone_on_its_table_was_seen_around_as_well():
    rng = np.random.default_rng(0)
    plane = SupportPlane(np.array([0.0, -1.0, 0.0]), 0.3)  # y is down: the table at y = 0.3
    points = np.column_stack([rng.uniform(-0.03, 0.03, 4000), rng.uniform(0.2, 0.3, 4000), np.full(4000, 0.6)])
    seen = SeenObject.on_plane(points, plane, (0, -0.2, 0))
    assert seen.free is not None
    above, beside = [0.0, 0.18, 0.62], [0.045, 0.27, 0.6]
    assert (seen.free.margin([above, beside]) < 0.0).all()
    assert seen.free.margin([[0.0, 0.27, 0.64]])[0] > 0.0  # behind it


def test_an_object_of_a_cloud_is_told_of_its_surroundings_in_full_and_the_network_of_some():
    own, around = square_before_a_wall()
    plane = SupportPlane(np.array([0.0, -1.0, 0.0]), 0.2)
    near = around[(np.abs(around[:, :2] / around[:, 2:]) < 0.1).all(axis=1)]
    seen = SeenObject.on_plane(own, plane, (0, 0, 0), near)
    assert len(near) > 5000
    assert len(seen.background) == 1024
    assert seen.free is not None
    assert (seen.free.depth > 0.9).mean() > 0.2
    assert PointCloud.from_points(own).valid.all()
