"""What a cloud says of an object that was seen before."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from table_scenes import TABLE, box, look, table

from onet_ros.scene import PointCloud, SeenObject, SeenRays, SupportPlane
from onet_ros.scene.evidence import Change, KnownShape, sampled

EYE = (0.0, -0.6, 0.55)
SIZE, PLACE = (0.08, 0.06, 0.1), (0.0, 0.0, 0.0)


def seen_in_world(meshes: list[trimesh.Trimesh], eye=EYE, seed: int = 0) -> tuple[PointCloud, dict[int, np.ndarray]]:
    """The cloud in the world's frame, and the points (N, 3) of each mesh."""
    view = look(meshes, eye, seed=seed)
    T = view.T_world_camera.astype(np.float32)
    points = view.cloud.points @ T[:3, :3].T + T[:3, 3]
    return PointCloud(points), {number: points[view.owner == number] for number in range(len(meshes))}


def one_object(meshes, number: int = 1, eye=EYE, seed: int = 0) -> tuple[SeenObject, SeenRays]:
    """What is seen of one of the meshes, and the rays of the whole cloud."""
    cloud, points = seen_in_world(meshes, eye, seed)
    seen = SeenObject.on_plane(points[number], TABLE, eye, np.empty((0, 3)))
    return seen, SeenRays(cloud, eye)


@pytest.fixture(scope="module")
def shape() -> KnownShape:
    """A box as it was seen once, with the true surface as what was completed from it."""
    mesh = box(SIZE, PLACE)
    seen, _ = one_object([table(), mesh])
    return KnownShape(seen, mesh.sample(3000, seed=0))


def change_to(shape: KnownShape, *meshes: trimesh.Trimesh, eye=EYE) -> Change:
    """What is new where now these meshes are seen, the first one in the box's place."""
    return shape.change(*one_object([table(), *meshes], eye=eye, seed=1))


class TestRays:
    def rays(self, *meshes: trimesh.Trimesh) -> SeenRays:
        return SeenRays(seen_in_world([table(), *meshes])[0], EYE)

    def test_what_is_still_there_is_neither_seen_through_nor_hidden(self, shape):
        found = self.rays(box(SIZE, PLACE)).look_at(shape.points)
        assert found.tested > 0.9
        assert found.through < 0.05
        assert found.hidden < 0.05

    def test_the_place_of_what_was_taken_away_is_seen_through(self, shape):
        found = self.rays().look_at(shape.points)
        assert found.tested > 0.9
        assert found.through > 0.5  # near the table's surface the rays end too soon behind it to say
        assert found.hidden == 0.0

    def test_what_something_stands_in_front_of_is_hidden(self, shape):
        found = self.rays(box(SIZE, PLACE), box((0.3, 0.02, 0.3), (0.0, -0.2, 0.0))).look_at(shape.points)
        assert found.hidden > 0.9
        assert found.through < 0.05

    def test_nothing_is_said_of_what_is_out_of_view(self, shape):
        assert self.rays().look_at(shape.points + [3.0, 0.0, 0.0]).tested == 0.0
        assert self.rays().look_at(shape.points + [0.0, -2.0, 0.0]).tested == 0.0  # behind the camera

    def test_a_cloud_of_one_point_says_nothing_and_does_no_harm(self, shape):
        rays = SeenRays(PointCloud.from_points(np.array([[0.0, 0.0, 1.0]])), (0.0, 0.0, 0.0))
        assert rays.look_at(shape.points).tested <= 1.0


class TestChange:
    def test_noise_alone_is_no_change(self, shape):
        change = change_to(shape, box(SIZE, PLACE))
        assert change.known > 0.98
        assert change.expected > 0.98
        assert change.shift < 0.001
        assert change.angle < 1e-6
        assert change.rays.through < 0.05

    @pytest.mark.parametrize("motion", [(0.006, 0.0, 0.0), (0.0, 0.0, 0.006), (0.0, 0.008, 0.0)])
    def test_a_motion_of_some_millimetres_shows_in_the_middle_of_what_is_seen(self, motion, shape):
        change = change_to(shape, box(SIZE, np.add(PLACE, motion)))
        assert change.shift == pytest.approx(np.linalg.norm(motion), rel=0.4)

    def test_a_larger_motion_is_seen_in_the_points_and_the_rays(self, shape):
        change = change_to(shape, box(SIZE, np.add(PLACE, (0.05, 0.0, 0.0))))
        assert change.expected < 0.8
        assert change.rays.through > 0.2

    def test_what_is_hidden_in_part_is_unchanged(self, shape):
        change = change_to(shape, box(SIZE, PLACE), box((0.04, 0.02, 0.3), (-0.03, -0.2, 0.0)))
        assert change.rays.hidden > 0.2
        assert change.known > 0.98
        assert change.shift == 0.0
        assert change.rays.through < 0.1

    def test_a_side_not_seen_before_was_expected_but_not_known(self, shape):
        change = change_to(shape, box(SIZE, PLACE), eye=(0.6, 0.3, 0.55))
        assert change.angle > 0.5
        assert change.known < 0.8
        assert change.expected > 0.95
        assert change.shift == 0.0

    def test_the_nearest_of_several_views_is_named(self):
        mesh = box(SIZE, PLACE)
        eyes = [EYE, (0.6, 0.0, 0.55), (-0.6, 0.0, 0.55)]
        views = [one_object([table(), mesh], eye=eye)[0] for eye in eyes]
        shape = KnownShape(SeenObject(**{**vars(views[2]), "earlier": (views[0], views[1])}))
        change = shape.change(*one_object([table(), mesh], eye=(0.6, 0.1, 0.5), seed=1))
        assert change.nearest == 1
        assert change.angle == pytest.approx(0.19, abs=0.05)
        assert change.known > 0.9


def test_no_more_points_than_asked_are_sampled():
    points = np.arange(30.0).reshape(10, 3)
    assert sampled(points, 20) is points
    some = sampled(points, 4)
    assert len(np.unique(some, axis=0)) == 4
    np.testing.assert_array_equal(some, sampled(points, 4))


def test_plane_in_another_frame_makes_no_difference_to_what_is_seen(shape):
    """Distances and shares do not depend on the frame."""
    T = trimesh.transformations.rotation_matrix(0.8, (0.2, 1.0, 0.3), (1.0, 2.0, -0.5))
    cloud, points = seen_in_world([table(), box(SIZE, np.add(PLACE, (0.01, 0.0, 0.0)))], seed=1)
    plane = SupportPlane(TABLE.normal, TABLE.offset).transformed(T)
    eye = trimesh.transform_points([EYE], T)[0]
    moved = SeenObject.on_plane(trimesh.transform_points(points[1], T), plane, eye, np.empty((0, 3)))
    before = SeenObject.on_plane(trimesh.transform_points(shape.evidence.points, T), plane, eye, np.empty((0, 3)))
    there = KnownShape(before, trimesh.transform_points(shape.surface, T))
    rays = SeenRays(PointCloud.from_points(trimesh.transform_points(cloud.valid_points, T)), eye)
    change, same = there.change(moved, rays), change_to(shape, box(SIZE, np.add(PLACE, (0.01, 0.0, 0.0))))
    assert change.shift == pytest.approx(same.shift, abs=1e-4)
    assert change.known == pytest.approx(same.known, abs=0.02)
