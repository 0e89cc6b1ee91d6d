"""The one door, with the weights that come with the package: closed meshes where the objects are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import trimesh

from onet_ros import Reconstructor
from onet_ros.completion import SOFTNESS_CELL, CompletionSettings, ObjectCompleter, _representatives
from onet_ros.learning.metrics import score_mesh
from onet_ros.ray_casting import ray_scene
from onet_ros.reconstructor import ReconstructorSettings, find_objects
from onet_ros.resources import default_model_path, model_path
from onet_ros.scene import CloudError, PointCloud, SeenObject, SupportPlane, background_points
from onet_ros.simulation import DepthCamera, SimulatedTable, demo_objects
from onet_ros.surface import ExtractionSettings, SurfaceError, surface_deviation
from onet_ros.trust import STEPPED

QUICK = ReconstructorSettings(extraction=ExtractionSettings(start_resolution=16, doublings=2))


@pytest.fixture(scope="module")
def model():
    return Reconstructor.load(default_model_path(), QUICK)


@pytest.fixture(scope="module")
def table():
    """A simulated image of three objects on a table: the frame, true meshes and the plane, in the camera's frame."""
    objects = {name: mesh for name, mesh in demo_objects().items() if name in ("block", "mug", "spray_bottle")}
    arranged = SimulatedTable.arrange(objects, seed=1)
    T_camera_table = arranged.camera_pose()
    camera = DepthCamera(arranged.meshes, T_camera_table, arranged.surroundings(), seed=0)
    return camera.capture(0), arranged.meshes_in(T_camera_table), arranged.plane_in(T_camera_table)


@pytest.fixture(scope="module")
def seen_ball():
    """The camera's side of a ball of 4 cm radius on a table, camera in the origin looking along z, y down."""
    ball = trimesh.creation.icosphere(subdivisions=5, radius=0.04)
    ball.apply_translation((0.0, 0.11, 0.6))
    facing = (ball.face_normals * ball.triangles_center).sum(axis=1) < 0
    return ball.triangles_center[facing], ball, SupportPlane(normal=np.array([0.0, -1.0, 0.0]), offset=0.15)


def test_a_ball_is_completed_to_a_ball(model, seen_ball):
    points, ball, plane = seen_ball
    item = model.complete(points, plane)
    assert item.mesh.is_watertight
    assert item.mesh.volume > 0
    assert score_mesh(item.mesh, ball, samples=20_000).iou > 0.6
    assert item.size == pytest.approx([0.08] * 3, abs=0.02)


def test_seen_vertices_are_confident_and_hidden_ones_are_not(model, seen_ball):
    points, _, plane = seen_ball
    item = model.complete(points, plane)
    assert item.confidence.shape == (len(item.mesh.vertices),)
    behind = item.mesh.vertices[:, 2] > 0.62
    assert item.confidence[behind].mean() < 0.2 < 0.6 < item.confidence[item.mesh.vertices[:, 2] < 0.58].mean()
    assert 0.2 < item.seen_fraction < 0.8


def test_confidence_falls_with_the_distance_to_the_nearest_seen_point_as_a_gaussian_does(model, seen_ball):
    points, _, plane = seen_ball
    item = model.complete(points[::3], plane)
    nearest = np.linalg.norm(item.mesh.vertices[::20, None] - points[None, ::3], axis=2).min(axis=1)
    expected = np.where(nearest < 0.0185, np.exp(-0.5 * (nearest / 0.005) ** 2), 0.0)
    np.testing.assert_allclose(item.confidence[::20], expected, atol=1e-5)


def test_the_objects_frame_is_upright_centred_and_turned_to_the_camera(model, seen_ball):
    points, _, plane = seen_ball
    item = model.complete(points, plane)
    own = (item.mesh.vertices - item.T_source_object[:3, 3]) @ item.T_source_object[:3, :3]
    np.testing.assert_allclose(own.min(axis=0), -item.size / 2, atol=1e-9)
    np.testing.assert_allclose(own.max(axis=0), item.size / 2, atol=1e-9)
    np.testing.assert_allclose(item.T_source_object[:3, 2], plane.normal, atol=1e-9)
    assert item.T_source_object[:3, 0] @ -item.T_source_object[:3, 3] > 0


def test_the_collision_mesh_is_closed_within_its_budget_and_near_the_mesh(model, seen_ball):
    points, _, plane = seen_ball
    item = model.complete(points, plane)
    assert item.collision_mesh.is_watertight
    assert len(item.collision_mesh.faces) <= QUICK.extraction.max_collision_triangles
    assert item.collision_mesh.volume == pytest.approx(item.mesh.volume, rel=0.05)


def test_nothing_lies_under_the_table(model, seen_ball):
    points, _, plane = seen_ball
    item = model.complete(points, plane)
    assert plane.height(item.mesh.vertices).min() > -0.002


def test_a_known_plane_and_one_guessed_from_the_lowest_point_agree_on_an_upright_camera(model, seen_ball):
    points, ball, _ = seen_ball
    assert score_mesh(model.complete(points).mesh, ball, samples=20_000).iou > 0.4


def test_the_result_moves_with_the_frame(model, seen_ball):
    points, _, plane = seen_ball
    T = trimesh.transformations.rotation_matrix(0.7, (0.3, 1.0, -0.4), (0.1, 0.2, 0.3))
    moved = points @ T[:3, :3].T + T[:3, 3]
    here, there = model.complete(points, plane), model.complete(moved, plane.transformed(T), viewpoint=T[:3, 3])
    assert there.size == pytest.approx(here.size, abs=1e-3)
    expected = here.T_source_object[:3, 3] @ T[:3, :3].T + T[:3, 3]
    np.testing.assert_allclose(there.T_source_object[:3, 3], expected, atol=1e-3)


def test_a_cloud_gives_every_object_once_and_in_place(model, table):
    frame, truths, _ = table
    result = model.reconstruct(frame.points)
    assert result.failures == []
    assert len(result.objects) == len(truths)
    for truth in truths.values():
        distances = [np.linalg.norm(item.T_source_object[:3, 3] - truth.bounds.mean(axis=0)) for item in result.objects]
        assert min(distances) < 0.04
    for item in result.objects:
        assert item.mesh.is_watertight
        labels = frame.labels.ravel()[item.indices]
        assert (labels == np.bincount(labels).argmax()).mean() > 0.9


def test_the_table_is_found_where_it_is(model, table):
    frame, _, true_plane = table
    found = model.reconstruct(frame.points).plane.coefficients
    assert found[:3] @ true_plane[:3] > np.cos(np.radians(0.5))
    assert found[3] == pytest.approx(true_plane[3], abs=0.003)


def test_two_runs_give_the_same_meshes(model, seen_ball):
    points, _, plane = seen_ball
    a, b = (model.complete(points, plane).mesh for _ in range(2))
    np.testing.assert_array_equal(a.vertices, b.vertices)


def test_warming_up_changes_nothing_that_comes_later(seen_ball):
    points, _, plane = seen_ball
    budgeted = ReconstructorSettings(extraction=ExtractionSettings(time_budget=30.0))
    cold, warm = (Reconstructor.load(default_model_path(), budgeted) for _ in range(2))
    warm.warm_up()
    np.testing.assert_array_equal(
        warm.complete(points, plane).mesh.vertices, cold.complete(points, plane).mesh.vertices
    )


def test_networks_that_observe_something_else_need_no_warming_up():
    Reconstructor.load(model_path("image")).warm_up()


def test_timings_name_the_stages(model, table):
    stages = {"plane", "segment", "encode", "evaluate", "bookkeeping", "marching cubes", "simplify", "collision"}
    assert stages <= set(model.reconstruct(table[0].points).timings)


class TestBadInput:
    def test_a_cloud_without_a_table_has_no_objects_and_says_why(self, model):
        points = np.random.default_rng(0).uniform(-1, 1, (4000, 3)) + [0, 0, 2]
        result = model.reconstruct(points)
        assert result.objects == []
        assert "plane" in result.failures[0]

    def test_an_empty_cloud_is_refused(self, model):
        with pytest.raises(CloudError, match="empty"):
            model.reconstruct(np.zeros((0, 3)))

    def test_a_cloud_of_nan_is_refused(self, model):
        with pytest.raises(CloudError, match="12"):
            model.reconstruct(np.full((3, 4, 3), np.nan))

    def test_too_few_points_are_refused_with_their_number(self, model):
        with pytest.raises(ValueError, match="3 points"):
            model.complete(np.zeros((3, 3)) + [0, 0, 1])

    def test_points_of_the_wrong_shape_are_refused(self, model):
        with pytest.raises(ValueError, match=r"\(30, 2\)"):
            model.complete(np.zeros((30, 2)))

    def test_points_that_are_not_finite_are_refused(self, model):
        points = np.random.default_rng(0).normal(size=(50, 3))
        points[7] = np.inf
        with pytest.raises(ValueError, match="1 of 50"):
            model.complete(points)

    def test_settings_out_of_range_are_quoted(self):
        with pytest.raises(ValueError, match=r"threshold.*1\.5"):
            CompletionSettings(threshold=1.5)


@pytest.fixture(scope="module")
def seen(table):
    """The three objects of the table, with much, some and nothing known of what is around them."""
    scene = find_objects(table[0].points, QUICK, plane=SupportPlane.from_coefficients(table[2]))
    here = (0.0, 0.0, 0.0)
    around = [
        background_points(scene.cloud, one.indices, here, count)
        for one, count in zip(scene.clusters, (1024, 300, 0), strict=True)
    ]
    return [
        SeenObject.on_plane(one.points, scene.plane, here, background)
        for one, background in zip(scene.clusters, around, strict=True)
    ]


COARSE = ExtractionSettings(8, 2, max_triangles=0)


def assert_same_surface(a: trimesh.Trimesh, b: trimesh.Trimesh):
    """To the rounding of matrix products, whose order of summation depends on how many rows there are."""
    mean, largest = surface_deviation(a, b, 2000)
    assert mean < 1e-6
    assert largest < 1e-4


def test_vertices_that_share_what_is_asked_lie_side_by_side_on_one_side_of_a_wall():
    plate = trimesh.creation.box((0.4, 0.3, 0.004)).subdivide_to_size(0.01)  # both sides within one cell
    vertices, normals = np.asarray(plate.vertices), np.asarray(plate.vertex_normals)
    chosen, places = _representatives(vertices, normals)
    assert len(chosen) < 0.4 * len(vertices)
    apart = vertices - vertices[chosen][places]
    assert np.abs(apart).max() <= SOFTNESS_CELL
    facing = np.abs(normals[:, 2]) > 0.9
    assert (np.sign(normals[facing, 2]) == np.sign(normals[chosen][places][facing, 2])).all()
    np.testing.assert_array_equal(chosen[places[chosen]], chosen)


def test_errors_are_expected_of_the_network_that_comes_with_the_package(model, seen_ball):
    points, _, plane = seen_ball
    item = model.complete(points, plane)
    behind = item.mesh.vertices[:, 2] > 0.62
    assert item.error[behind].mean() > 1.5 * item.error[item.mesh.vertices[:, 2] < 0.58].mean() > 0.0
    assert 0.0005 < item.trust.expected_error < 0.01
    assert item.trust.coverage == 0.95


def test_what_is_known_of_vertices_is_how_steeply_the_field_falls_on_either_side_and_whom_they_face(model, seen):
    completer = ObjectCompleter(model.checkpoint, CompletionSettings(), COARSE)
    (subject,) = completer.subjects(seen[1:2])
    vertices, evidence = np.asarray(subject.mesh.vertices), subject.vertices
    step = STEPPED * evidence.scale
    for side, found in ((1.0, evidence.outward), (-1.0, evidence.inward)):
        inside = completer.occupancy(seen[1:2], vertices + side * step * subject.mesh.vertex_normals)[0].astype(float)
        inside = inside.clip(1e-6, 1.0 - 1e-6)
        fall = -side * (np.log(inside / (1.0 - inside)) - completer.threshold)
        clear = (np.abs(fall) < 8.0) & (fall > 0.5)  # what carving cut off is another matter, and 1 is the next number
        ratio = found[clear] * fall[clear] / step
        assert clear.mean() > 0.3
        assert np.median(ratio) == pytest.approx(1.0, abs=0.05)
        assert np.percentile(np.abs(np.log(ratio)), 80) < 0.3  # of neighbours that share what is asked
    towards = -vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    assert np.corrcoef(evidence.facing, (towards * subject.mesh.vertex_normals).sum(axis=1))[0, 1] > 0.99
    nearest = np.linalg.norm(vertices[::10, None] - seen[1].points, axis=2).min(axis=1)
    np.testing.assert_allclose(evidence.distance[::10], nearest, rtol=0.1, atol=1e-9)


class TestBatches:
    """What is completed side by side equals what is completed alone."""

    def completer(self, model, extraction=COARSE, **completion):
        return ObjectCompleter(model.checkpoint, CompletionSettings(**completion), extraction)

    def test_a_batch_equals_its_objects_one_at_a_time(self, model, seen):
        completer = self.completer(model)
        for one, together in zip(seen, completer.complete(seen), strict=True):
            (alone,) = completer.complete([one])
            assert_same_surface(together.mesh, alone.mesh)
            np.testing.assert_allclose(together.T_source_object, alone.T_source_object, atol=1e-5)
            assert together.seen_fraction == pytest.approx(alone.seen_fraction, abs=1e-3)

    def test_objects_of_different_resolution_share_a_batch(self, model, seen):
        settings = ExtractionSettings(8, 2, voxel_size=0.006, min_resolution=8, max_resolution=64, max_triangles=0)
        completer = self.completer(model, settings)
        for one, together in zip(seen, completer.complete(seen), strict=True):
            (alone,) = completer.complete([one])
            assert_same_surface(together.mesh, alone.mesh)
            assert np.median(together.mesh.edges_unique_length) == pytest.approx(0.006, rel=0.4)

    def test_one_that_fails_leaves_the_others(self, model, seen):
        """No number of points or boxes can be wrong any more; values that are not finite can."""
        broken = dataclasses.replace(seen[1], points=np.full_like(seen[1].points, np.nan))
        whole = self.completer(model).complete(seen)
        results = self.completer(model).complete([seen[0], broken, seen[2]])
        assert isinstance(results[1], SurfaceError)
        assert_same_surface(results[0].mesh, whole[0].mesh)
        assert_same_surface(results[2].mesh, whole[2].mesh)

    def test_a_time_budget_degrades_and_does_not_fail(self, model, seen):
        whole = self.completer(model, ExtractionSettings(16, 1)).complete(seen[:2])
        hasty = self.completer(model, ExtractionSettings(16, 1, time_budget=1e-3)).complete(seen[:2])
        for fine, coarse in zip(whole, hasty, strict=True):
            assert len(coarse.mesh.faces) < len(fine.mesh.faces) / 3
            assert coarse.mesh.is_watertight
            assert coarse.size == pytest.approx(fine.size, abs=0.02)

    def test_the_seed_decides_which_points_are_taken(self, model, seen):
        one, same, other = (self.completer(model, seed=seed).complete(seen[:1])[0] for seed in (1, 1, 2))
        np.testing.assert_array_equal(one.mesh.vertices, same.mesh.vertices)
        assert not np.array_equal(one.mesh.vertices, other.mesh.vertices)

    def test_half_precision_changes_little(self, model, seen):
        exact = self.completer(model).complete(seen[:1])[0]
        rounded = self.completer(model, precision="bfloat16").complete(seen[:1])[0]
        assert score_mesh(rounded.mesh, exact.mesh, samples=20_000).iou > 0.97

    def test_a_fault_of_one_does_not_stop_a_cloud(self, model, table):
        strict = Reconstructor(
            model.checkpoint,
            ReconstructorSettings(extraction=COARSE, completion=CompletionSettings(min_points=4000)),
        )
        points = table[0].points
        result, whole = strict.reconstruct(points), model.reconstruct(points)
        assert len(result.objects) + len(result.failures) == len(whole.objects)
        assert 0 < len(result.objects) < len(whole.objects), [len(item.indices) for item in whole.objects]
        assert all("too few" in failure for failure in result.failures)


@pytest.fixture(scope="module")
def mug_views():
    """A mug on a table seen from its front and from behind, in the table's frame; as (true mesh, two SeenObjects)."""
    mug = {"mug": demo_objects()["mug"]}
    table = SimulatedTable(mug, {"mug": np.eye(4)})
    up = SupportPlane(np.array([0.0, 0.0, 1.0]), 0.0)
    views = []
    for azimuth in (0.0, np.pi):
        T_camera_table = table.camera_pose(azimuth)
        camera = DepthCamera(table.meshes, T_camera_table, table.surroundings(), seed=0)
        T_table_camera = np.linalg.inv(T_camera_table)
        points = camera.capture(0).points.reshape(-1, 3)
        cloud = PointCloud.from_points(trimesh.transform_points(points, T_table_camera))
        eye = T_table_camera[:3, 3]
        scene = find_objects(cloud, QUICK, eye, up)
        around = background_points(scene.cloud, scene.clusters[0].indices, eye, 1024)
        views.append(SeenObject.on_plane(scene.clusters[0].points, up, eye, around))
    return mug["mug"], views


class TestSeveralViews:
    def test_a_second_view_from_behind_makes_the_mesh_better(self, model, mug_views):
        truth, (front, behind) = mug_views
        both = dataclasses.replace(behind, earlier=(front,))
        alone, together = model.complete_seen([behind, both])
        assert together.mesh.is_watertight
        single, fused = (score_mesh(item.mesh, truth, samples=20_000) for item in (alone, together))
        assert fused.iou > single.iou + 0.03  # 0.04 with the weights it comes with
        assert fused.chamfer_l1 < single.chamfer_l1
        # What either view saw counts as seen.
        assert together.seen_fraction > alone.seen_fraction + 0.1

    def test_the_same_view_twice_changes_nothing(self, model, mug_views):
        _, (front, _) = mug_views
        once, twice = model.complete_seen([front, dataclasses.replace(front, earlier=(front,))])
        mean, largest = surface_deviation(once.mesh, twice.mesh, 2000)
        assert mean < 1e-5
        assert largest < 1e-3

    def test_views_with_and_without_background_go_together(self, model, mug_views):
        truth, (front, behind) = mug_views
        bare = dataclasses.replace(front, background=np.empty((0, 3)))
        (item,) = model.complete_seen([dataclasses.replace(behind, earlier=(bare,))])
        assert score_mesh(item.mesh, truth, samples=20_000).iou > 0.3

    def test_occupancy_tells_inside_from_outside_of_the_mesh(self, model, mug_views):
        _, (front, behind) = mug_views
        both = dataclasses.replace(behind, earlier=(front,))
        (item,) = model.complete_seen([both])
        points = np.random.default_rng(0).uniform(item.mesh.bounds[0] - 0.02, item.mesh.bounds[1] + 0.02, (3000, 3))
        far_away = np.array([[5.0, 0.0, 0.0]])
        two = model.occupancy([both, front], np.concatenate([points, far_away]))
        assert two.shape == (2, 3001)
        assert two[:, -1].tolist() == [0.0, 0.0]
        inside = ray_scene([item.mesh]).compute_occupancy(points.astype(np.float32), nsamples=3).numpy() > 0.5
        assert ((two[0, :-1] > model.checkpoint.threshold) == inside).mean() > 0.97
        assert model.occupancy([], points).shape == (0, 3000)


def test_a_mask_takes_the_place_of_the_segmentation(model, table):
    frame, truths, _ = table
    labels = np.where(frame.labels == 255, 0, frame.labels).astype(np.uint16)
    labels[labels == 2] = 0  # whoever made the mask left the second object out
    labels[labels == 3] = 700
    result = model.reconstruct(frame.points, labels=labels)
    assert len(result.objects) == len(truths) - 1
    for item in result.objects:
        assert len(set(labels.ravel()[item.indices])) == 1
    with pytest.raises(CloudError, match=r"a mask of 2 x 3 does not fit a cloud of 480 x 640"):
        model.reconstruct(frame.points, labels=np.zeros((2, 3), np.uint8))
