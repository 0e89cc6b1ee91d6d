"""Objects of a stream of clouds, completed: by an analytic network that makes an octahedron of everything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from table_scenes import box, look, table

from onet_ros import Reconstructor
from onet_ros.live_scene import LiveScene
from onet_ros.pictures.comparisons import surface_distances
from onet_ros.reconstructor import CompletionSettings, ReconstructorSettings
from onet_ros.resources import model_path
from onet_ros.scene import CloudError, PointCloud, RegionOfInterest, SeenObject, TrackingSettings
from onet_ros.shape_completion import GriddedObject
from onet_ros.stopwatch import Stopwatch
from onet_ros.surface import ExtractionSettings, SurfaceError

EYE = (0.0, -0.6, 0.55)
BOX, CUBE = box((0.08, 0.06, 0.1), (-0.12, 0.0, 0.0)), box((0.06, 0.06, 0.06), (0.12, 0.05, 0.0))
SECOND = 1_000_000_000
COARSE = ExtractionSettings(start_resolution=8, doublings=1, max_triangles=200)


def settings(**tracking) -> ReconstructorSettings:
    return ReconstructorSettings(extraction=COARSE, tracking=TrackingSettings(update_period=0.0, **tracking))


@pytest.fixture(scope="module")
def checkpoint(octahedron_checkpoint):
    return Reconstructor.load(octahedron_checkpoint).checkpoint


@pytest.fixture
def live(checkpoint) -> LiveScene:
    return LiveScene(Reconstructor(checkpoint, settings()))


def cloud_of(*meshes: trimesh.Trimesh, eye=EYE, seed: int = 0) -> PointCloud:
    """What a camera sees of them on their table, in the world's frame."""
    view = look([table(), *meshes], eye, seed=seed)
    T = view.T_world_camera.astype(np.float32)
    return PointCloud(view.cloud.points @ T[:3, :3].T + T[:3, 3])


def show(live: LiveScene, seconds: float, *meshes, eye=EYE, **arguments):
    cloud = cloud_of(*meshes, eye=eye, seed=round(100 * seconds))
    return live.update(cloud, round(seconds * SECOND), eye, up=(0.0, 0.0, 1.0), fixed_frame=True, **arguments)


def test_objects_are_completed_once_and_stay_the_same(live):
    first = show(live, 0.0, BOX, CUBE)
    assert first.completed == [0, 1]
    assert [item.number for item in first.objects] == [0, 1]
    second = show(live, 1.0, BOX, CUBE)
    assert (second.completed, second.vanished, second.waiting) == ([], [], 0)
    for before, after in zip(first.objects, second.objects, strict=True):
        assert after.shape is before.shape
        assert (after.first_seen, after.completed, after.last_seen, after.seen_now) == (0, 0, SECOND, True)
        assert after.shape.mesh.is_watertight


def test_shapes_stand_where_the_objects_do_and_follow_them(live):
    show(live, 0.0, BOX, CUBE)
    moved = CUBE.copy().apply_translation((0.03, 0.0, 0.0))
    update = show(live, 1.0, BOX, moved)
    assert update.completed == [1]
    for item, mesh in zip(update.objects, (BOX, moved), strict=True):
        np.testing.assert_allclose(item.shape.T_source_object[:2, 3], mesh.centroid[:2], atol=0.025)
    assert update.objects[1].completed == SECOND


def test_what_vanished_is_told_once(live):
    show(live, 0.0, BOX, CUBE)
    show(live, 1.0, BOX)
    update = show(live, 2.0, BOX)
    assert (update.vanished, [item.number for item in update.objects]) == ([1], [0])
    assert show(live, 3.0, BOX).vanished == []


def test_an_object_out_of_view_stays_known(live):
    show(live, 0.0, BOX, CUBE)
    screen = box((0.2, 0.02, 0.35), (0.12, -0.2, 0.0))
    update = show(live, 1.0, BOX, screen)
    assert {item.number: item.seen_now for item in update.objects} == {0: True, 1: False, 2: True}


def test_views_add_up_as_the_camera_moves(live):
    views = []
    for step, azimuth in enumerate(np.radians([0, 10, 40, 80, 120, 160])):
        update = show(live, float(step), BOX, eye=(0.6 * np.sin(azimuth), -0.6 * np.cos(azimuth), 0.55))
        views.append(update.objects[0].views)
    assert views == [1, 1, 2, 3, 4, 4]


def test_everything_completes_what_is_known_already(live):
    first = show(live, 0.0, BOX, CUBE)
    again = show(live, 1.0, BOX, CUBE, everything=True)
    assert again.completed == [0, 1]
    assert again.objects[0].shape is not first.objects[0].shape


def test_everything_in_a_region_leaves_the_rest_alone(live):
    show(live, 0.0, BOX, CUBE)
    left = RegionOfInterest(minimum=(-1.0, -1.0, -1.0), maximum=(0.0, 1.0, 1.0))
    assert show(live, 1.0, BOX, CUBE, everything=True, region=left).completed == [0]


def test_other_settings_have_the_objects_completed_anew(live, checkpoint):
    show(live, 0.0, BOX, CUBE)
    live.reconstructor = Reconstructor(checkpoint, settings(updates_per_cloud=1))
    assert show(live, 1.0, BOX, CUBE).completed == [0]
    update = show(live, 2.0, BOX, CUBE)
    assert (update.completed, update.waiting) == ([1], 0)
    assert show(live, 3.0, BOX, CUBE).completed == []


def test_no_more_than_the_budget_at_once_and_all_in_the_end(checkpoint):
    live = LiveScene(Reconstructor(checkpoint, settings(updates_per_cloud=1)))
    first = show(live, 0.0, BOX, CUBE)
    assert (first.completed, first.waiting, len(first.objects)) == ([0], 1, 1)
    second = show(live, 1.0, BOX, CUBE)
    assert (second.completed, second.waiting, len(second.objects)) == ([1], 0, 2)


def test_clear_forgets_all_and_starts_with_new_numbers(live):
    show(live, 0.0, BOX, CUBE)
    assert live.clear() == [0, 1]
    assert live.objects() == []
    assert show(live, 0.5, BOX, CUBE).completed == [2, 3]


def test_a_cloud_without_a_table_changes_nothing(live):
    show(live, 0.0, BOX)
    ball = np.random.default_rng(0).normal(size=(3000, 3))
    update = live.update(ball / np.linalg.norm(ball, axis=1, keepdims=True), SECOND, fixed_frame=True)
    assert update.plane is None
    assert "no support plane" in update.failures[0]
    assert [item.number for item in update.objects] == [0]
    assert show(live, 2.0, BOX).completed == []


def test_work_can_be_stopped_between_stages_and_nothing_is_lost(live):
    class Stopped(Exception):  # noqa: N818 - as whoever stops it names it
        pass

    def stop(stage: str) -> None:
        if stage == "encode":
            raise Stopped

    show(live, 0.0, BOX)
    with pytest.raises(Stopped):
        show(live, 1.0, BOX, CUBE, watch=Stopwatch(stop))
    assert [item.number for item in live.objects()] == [0]
    update = show(live, 2.0, BOX, CUBE)
    assert [item.number for item in update.objects] == [0, 1]


def test_one_that_cannot_be_completed_is_told_and_leaves_the_others(checkpoint):
    picky = ReconstructorSettings(extraction=COARSE, completion=CompletionSettings(min_points=900))
    live = LiveScene(Reconstructor(checkpoint, picky))
    update = show(live, 0.0, BOX, CUBE)
    assert len(update.objects) + len(update.failures) == 2
    assert len(update.objects) == 1
    assert "too few" in update.failures[0]


def test_occupancy_of_one_object_of_all_and_of_none(live):
    update = show(live, 0.0, BOX, CUBE)
    points = [item.shape.mesh.center_mass for item in update.objects] + [np.array([0.0, 0.0, 0.4])]
    probability = live.occupancy(points)
    assert probability[0][0] > 0.9 > 0.1 > probability[0][1]
    assert probability[1][1] > 0.9 > 0.1 > probability[1][0]
    assert probability[0][2] < 0.01
    assert list(live.occupancy(points, [1])) == [1]
    with pytest.raises(KeyError, match="7"):
        live.occupancy(points, [1, 7])


def test_a_mask_takes_the_place_of_the_segmentation(live):
    view = look([table(), BOX, CUBE])
    labels = np.where(view.owner == 2, 300, 0).astype(np.uint16)
    update = live.update(view.cloud, 0, labels=labels)
    assert len(update.objects) == 1
    with pytest.raises(CloudError, match="a mask of"):
        live.update(view.cloud, SECOND, labels=labels[:5])
    assert len(live.objects()) == 1


class TestVoxels:
    """A network that observes voxel grids, given clouds: their points, or the cells of a map, are put into grids."""

    @pytest.fixture
    def update(self):
        live = LiveScene(Reconstructor.load(model_path("voxels"), settings()))
        cloud = cloud_of(BOX, CUBE)
        result = live.update(cloud, SECOND, EYE, up=(0.0, 0.0, 1.0), fixed_frame=True)
        return live, cloud, result

    def test_objects_stand_where_their_points_were_seen(self, update):
        _, cloud, result = update
        assert result.failures == []
        for item, mesh in zip(result.objects, (BOX, CUBE), strict=True):
            assert item.shape.mesh.is_watertight
            np.testing.assert_allclose(item.shape.T_source_object[:2, 3], mesh.centroid[:2], atol=0.03)
            np.testing.assert_allclose(item.shape.T_source_object[:3, 2], (0.0, 0.0, 1.0), atol=0.02)
            own = cloud.points.reshape(-1, 3)[item.shape.indices]
            assert surface_distances(own, item.shape.mesh).mean() < 0.012

    def test_its_occupancy_can_be_asked(self, update):
        live, _, _ = update
        inside, outside = BOX.centroid, BOX.centroid + (0.0, 0.0, 0.5)
        probability = live.occupancy(np.stack([inside, outside]))[0]
        assert probability[0] > 0.5 > probability[1] == 0.0

    def test_cells_of_a_map_are_as_large_as_it_says(self):
        cells = replace(cloud_of(BOX, CUBE), cell_size=0.01)
        live = LiveScene(Reconstructor.load(model_path("voxels"), settings()))
        objects = live.update(cells, SECOND, EYE, up=(0.0, 0.0, 1.0)).objects
        assert len(objects) == 2
        assert GriddedObject.from_seen(live._tracks[0].shape.evidence).grid.values.sum() > 500

    def test_an_object_of_too_few_cells_fails_alone(self):
        live = LiveScene(Reconstructor.load(model_path("voxels"), settings()))
        lonely, many = np.full((20, 3), 0.5), np.random.default_rng(0).uniform(size=(500, 3))
        seen = [SeenObject.on_plane(points, None, EYE) for points in (lonely, many)]
        spoilt, good = live.reconstructor.complete_seen(seen)
        assert isinstance(spoilt, SurfaceError)
        assert "voxels are occupied" in str(spoilt)
        assert not isinstance(good, SurfaceError)
