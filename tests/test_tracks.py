"""When an object is completed anew, how long it is remembered, and that its number stays its own."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from table_scenes import TABLE, box, look, table

from onet_ros.scene import ObjectCluster, PointCloud, SeenObject, SeenRays, TrackingSettings, Tracks
from onet_ros.scene.tracks import MORE_SEEN, MOVED, NEW, NEW_VIEW, REFRESH, spread
from onet_ros.scene.unit_frame import UnitFrame

EYE = (0.0, -0.6, 0.55)
BOX, BALL = box((0.08, 0.06, 0.1), (-0.1, 0.0, 0.0)), box((0.05, 0.05, 0.05), (0.1, 0.05, 0.0))
SECOND = 1_000_000_000


class Player:
    """Shows tracks what a camera sees of some meshes in the world's frame."""

    def __init__(self, fixed_frame: bool = True, complete: bool = True, **settings) -> None:
        self.tracks = Tracks(TrackingSettings(**{"update_period": 0.0, **settings}))
        self.fixed_frame, self.complete = fixed_frame, complete
        self.seed = 0

    def show(self, seconds: float, *meshes: trimesh.Trimesh, eye=EYE, target=(0.0, 0.0, 0.0)) -> dict[int, str]:
        """One cloud; for each object known after it, why it was completed, or "" when it was not."""
        stamp = round(seconds * SECOND)
        self.seed += 1
        view = look([table(), *meshes], eye, target, seed=self.seed)
        T = view.T_world_camera.astype(np.float32)
        cloud = PointCloud(view.cloud.points @ T[:3, :3].T + T[:3, 3])
        flat, owner = cloud.points.reshape(-1, 3), view.owner.ravel()
        clusters = [ObjectCluster(np.flatnonzero(owner == n), flat[owner == n]) for n in range(1, len(meshes) + 1)]
        clusters = [cluster for cluster in clusters if len(cluster.indices) > 60]
        rays, none = SeenRays(cloud, eye), np.empty((0, 3))
        pairs = [
            (SeenObject.on_plane(cluster.points, TABLE, eye, none, cluster.indices), track)
            for cluster, track in self.tracks.assign(clusters, 60)
        ]
        self.tracks.observe(pairs, rays, stamp, self.fixed_frame)
        due = self.tracks.due(stamp)
        reasons = {track.number: track.reason for track in due}
        for track in due if self.complete else []:
            mesh = min(meshes, key=lambda mesh: np.linalg.norm(mesh.centroid - track.shape.centre))
            self.tracks.complete(track, mesh.sample(2000, seed=0), stamp)
        self.gone = self.tracks.expire(rays, stamp, self.fixed_frame)
        return {track.number: reasons.get(track.number, "") for track in self.tracks}


def moved(mesh: trimesh.Trimesh, *by: float) -> trimesh.Trimesh:
    return mesh.copy().apply_translation(by)


class TestWhenToComplete:
    def test_a_new_object_is_completed_and_then_left_alone(self):
        player = Player()
        assert player.show(0.0, BOX, BALL) == {0: NEW, 1: NEW}
        for time in range(1, 6):
            assert player.show(float(time), BOX, BALL) == {0: "", 1: ""}

    def test_one_that_moved_is_completed_again_and_keeps_its_number(self):
        player = Player()
        player.show(0.0, BOX, BALL)
        assert player.show(1.0, moved(BOX, 0.03, 0.0, 0.0), BALL) == {0: MOVED, 1: ""}
        assert player.tracks[0].views == 1
        assert player.show(2.0, moved(BOX, 0.03, 0.0, 0.0), BALL) == {0: "", 1: ""}

    def test_one_that_was_nudged_is_completed_again_from_the_distance_asked(self):
        nudged = moved(BOX, 0.006, 0.0, 0.0)  # less than what single points tell
        for distance, reason in ((0.004, MOVED), (0.02, "")):
            player = Player(moved_distance=distance)
            player.show(0.0, BOX, BALL)
            assert player.show(1.0, nudged, BALL) == {0: reason, 1: ""}

    def test_one_that_something_passes_in_front_of_is_left_alone(self):
        player = Player()
        player.show(0.0, BOX)
        arm = box((0.04, 0.03, 0.3), (-0.09, -0.2, 0.0))
        assert player.show(1.0, BOX, arm)[0] == ""
        assert player.show(2.0, BOX)[0] == ""

    def test_one_that_comes_out_from_behind_something_is_completed_again(self):
        player = Player()
        player.show(0.0, BOX, box((0.05, 0.03, 0.3), (-0.1, -0.2, 0.0)))
        number = min(player.tracks, key=lambda track: abs(track.shape.centre[1])).number
        assert player.show(1.0, BOX)[number] == MORE_SEEN

    def test_another_side_is_put_together_with_those_seen_before(self):
        player = Player(max_views=3)
        player.show(0.0, BOX)
        for count, azimuth in enumerate((0.7, 1.4, 2.1, 2.8), start=2):
            eye = (0.6 * np.sin(azimuth), -0.6 * np.cos(azimuth), 0.55)
            assert player.show(float(count), BOX, eye=eye) == {0: NEW_VIEW}
            assert player.tracks[0].views == min(count, 3)
        eyes = [view.viewpoint for view in player.tracks[0].shape.evidence.views]
        np.testing.assert_allclose(eyes[-1], eye)  # the newest is always among them
        np.testing.assert_allclose(eyes[0], EYE)  # and the one that differs most from it

    def test_in_the_cameras_own_frame_no_views_are_put_together(self):
        player = Player(fixed_frame=False)
        player.show(0.0, BOX)
        player.show(1.0, BOX, eye=(0.5, -0.3, 0.55))
        assert player.tracks[0].views == 1

    def test_one_that_moved_while_the_camera_did_keeps_nothing_of_where_it_was(self):
        player = Player()
        player.show(0.0, BOX)
        assert player.show(1.0, moved(BOX, 0.035, 0.0, 0.0), eye=(0.4, -0.45, 0.55)) == {0: MOVED}
        assert player.tracks[0].views == 1

    def test_one_that_stands_still_is_refreshed_where_that_is_wanted(self):
        player = Player(refresh_period=2.0)
        reasons = [player.show(time, BOX)[0] for time in (0.0, 1.0, 2.0, 3.0, 4.0)]
        assert reasons == [NEW, "", REFRESH, "", REFRESH]
        player = Player()
        player.show(0.0, BOX)
        player.tracks.refresh()
        assert [player.show(time, BOX)[0] for time in (1.0, 2.0)] == [REFRESH, ""]

    def test_one_that_keeps_moving_is_completed_no_more_often_than_asked(self):
        player = Player(update_period=0.25)
        reasons = [player.show(0.1 * step, moved(BOX, 0.02 * step, 0.0, 0.0))[0] for step in range(8)]
        assert reasons == [NEW, "", "", MOVED, "", "", MOVED, ""]

    def test_no_more_at_once_than_the_budget_the_most_urgent_first(self):
        player = Player(updates_per_cloud=1)
        assert player.show(0.0, BOX, BALL) == {0: NEW, 1: ""}
        # A new one comes before a moved one.
        assert player.show(1.0, moved(BOX, 0.03, 0.0, 0.0), BALL) == {0: "", 1: NEW}
        assert player.show(2.0, moved(BOX, 0.03, 0.0, 0.0), BALL) == {0: MOVED, 1: ""}
        assert player.show(3.0, moved(BOX, 0.03, 0.0, 0.0), BALL) == {0: "", 1: ""}

    def test_what_cannot_be_completed_is_not_tried_again_for_every_cloud(self):
        player = Player(complete=False)
        player.show(0.0, BOX)
        player.tracks.complete(player.tracks[0], None, 0)
        assert player.show(1.0, BOX) == {0: ""}
        assert player.show(2.0, moved(BOX, 0.03, 0.0, 0.0)) == {0: MOVED}


class TestHowLongItIsRemembered:
    def test_one_that_was_taken_away_goes_after_a_moment(self):
        player = Player(keep_missing=0.5)
        player.show(0.0, BOX, BALL)
        assert player.show(1.0, BOX) == {0: "", 1: ""}
        assert player.show(1.4, BOX) == {0: "", 1: ""}
        assert player.show(1.5, BOX) == {0: ""}
        assert player.gone == [1]

    def test_one_that_was_missed_in_a_cloud_is_still_the_same(self):
        player = Player(keep_missing=0.5)
        player.show(0.0, BOX, BALL)
        for time in range(1, 8):
            shown = (BOX, BALL) if time % 2 else (BOX,)
            assert player.show(0.3 * time, *shown) == {0: "", 1: ""}

    @pytest.mark.parametrize(("fixed_frame", "kept"), [(True, True), (False, False)])
    def test_one_behind_something_is_kept_in_a_fixed_frame(self, fixed_frame, kept):
        player = Player(fixed_frame, keep_missing=0.5, keep_hidden=10.0)
        player.show(0.0, BOX)
        screen = box((0.4, 0.02, 0.4), (0.0, -0.25, 0.0))
        for time in range(1, 11):
            known = player.show(float(time), screen)
        assert (0 in known) == kept
        assert 0 not in player.show(11.0, screen)

    def test_one_out_of_view_is_kept_in_a_fixed_frame(self):
        player = Player(keep_hidden=10.0)
        player.show(0.0, BOX)
        beside = box((0.08, 0.06, 0.1), (1.0, 0.0, 0.0))
        for time in range(1, 9):
            assert 0 in player.show(float(time), beside, eye=(1.0, -0.6, 0.55), target=(1.0, 0.0, 0.0))
        assert player.show(9.0, BOX) == {0: "", 1: ""}  # and is known again

    def test_numbers_are_never_given_again(self):
        player = Player(keep_missing=0.0)
        player.show(0.0, BOX, BALL)
        player.show(1.0, BOX)
        assert player.show(2.0, BOX, BALL) == {0: "", 2: NEW}
        assert player.tracks.clear() == [0, 2]
        assert player.show(3.0, BOX, BALL) == {3: NEW, 4: NEW}

    def test_clouds_that_say_nothing_only_let_time_pass(self):
        player = Player(keep_hidden=10.0, keep_missing=0.0)
        player.show(0.0, BOX)
        assert player.tracks.expire(None, 5 * SECOND, True) == []
        assert player.tracks.expire(None, 11 * SECOND, True) == [0]
        player = Player(fixed_frame=False, keep_hidden=10.0, keep_missing=0.0)
        player.show(0.0, BOX)
        assert player.tracks.expire(None, 5 * SECOND, False) == []


def test_a_small_thing_at_the_limit_of_what_counts_is_no_new_object_beside_known_ones():
    player = Player()
    flat = np.column_stack([np.linspace(0.0, 0.02, 70), np.zeros(70), np.full(70, 0.01)]).astype(np.float32)
    cluster = ObjectCluster(np.arange(70), flat)
    assert len(player.tracks.assign([cluster], 60)) == 1
    player.show(0.0, BOX)
    assert player.tracks.assign([ObjectCluster(np.arange(70), flat + 0.5)], 60) == []
    assert len(player.tracks.assign([ObjectCluster(np.arange(70), flat + 0.5)], 40)) == 1


def test_views_that_are_kept_differ_most():
    def view(azimuth: float) -> SeenObject:
        unit = UnitFrame(np.eye(3), np.zeros(3), 1.0)
        eye = np.array([np.cos(azimuth), np.sin(azimuth), 0.5])
        return SeenObject(np.zeros((1, 3)), np.empty((0, 3)), eye, unit, np.arange(1))

    views = [view(np.radians(degrees)) for degrees in (0, 10, 90, 100, 170)]
    kept = spread(views, view(np.radians(180)), np.zeros(3), 2)
    np.testing.assert_array_equal([one.viewpoint for one in kept], [views[0].viewpoint, views[2].viewpoint])
    assert spread(views, views[0], np.zeros(3), 0) == ()
    assert len(spread(views, views[0], np.zeros(3), 9)) == 5
