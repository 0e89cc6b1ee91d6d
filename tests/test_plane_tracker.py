"""The support plane of a stream: kept while it is supported, looked for again when it is not."""

from __future__ import annotations

import numpy as np
import pytest
from table_scenes import TABLE, box, cup, look, table
from test_plane import FLOOR, OBJECTS, errors

import onet_ros.scene.plane_tracker as plane_tracker
from onet_ros.scene import PlaneSettings, PlaneTracker, find_support_plane


@pytest.fixture
def searches(monkeypatch) -> list[int]:
    """How often the plane was looked for among all, one entry a search."""
    calls: list[int] = []

    def counted(points, *arguments):
        calls.append(len(points))
        return find_support_plane(points, *arguments)

    monkeypatch.setattr(plane_tracker, "find_support_plane", counted)
    return calls


def assert_found(fit, view) -> None:
    assert fit.plane is not None, fit.reason
    angle, distance = errors(fit.plane, view.in_camera(TABLE), view.cloud.valid_points)
    assert angle < 0.15
    assert distance < 2.0


def test_one_search_serves_a_table_that_stays(searches):
    tracker = PlaneTracker()
    for seed in range(5):
        view = look([table(), *OBJECTS], seed=seed)
        assert_found(tracker.find(view.cloud.valid_points), view)
    assert len(searches) == 1


def test_objects_that_come_and_go_do_not_matter(searches):
    tracker = PlaneTracker()
    for objects in ([], OBJECTS, [*OBJECTS, box((0.1, 0.1, 0.2), (-0.2, 0.0, 0.0)), cup(0.05, 0.1, (0.0, 0.2, 0.0))]):
        view = look([table(), *objects])
        assert_found(tracker.find(view.cloud.valid_points), view)
    assert len(searches) == 1


def test_a_slow_drift_is_followed(searches):
    """2 mm a cloud, as of a camera that sags."""
    tracker = PlaneTracker()
    for step in range(8):
        view = look([table(), *OBJECTS], eye=(0.0, -0.6, 0.55 - 0.002 * step), seed=step)
        assert_found(tracker.find(view.cloud.valid_points), view)
    assert len(searches) == 1


def test_a_camera_that_was_moved_finds_its_table_again(searches):
    tracker = PlaneTracker()
    for eye in ((0.0, -0.6, 0.55), (0.3, -0.5, 0.8)):
        view = look([table(), *OBJECTS], eye=eye)
        assert_found(tracker.find(view.cloud.valid_points), view)
    assert len(searches) == 2


def test_a_table_that_is_put_into_the_view_wins_within_the_number_of_clouds_that_a_plane_is_kept():
    """The floor around it stays well supported: only looking again can tell."""
    tracker, settings = PlaneTracker(), PlaneSettings(reuse=3)
    empty = look([FLOOR])
    assert tracker.find(empty.cloud.valid_points, settings=settings).plane is not None
    view = look([FLOOR, table(0.8, 0.8), *OBJECTS])
    fits = [tracker.find(view.cloud.valid_points, settings=settings) for _ in range(4)]
    assert_found(fits[-1], view)


def test_reuse_zero_looks_every_time(searches):
    tracker, settings = PlaneTracker(), PlaneSettings(reuse=0)
    view = look([table(), *OBJECTS])
    plain = find_support_plane(view.cloud.valid_points, (0, 0, 0), settings)
    for _ in range(2):
        fit = tracker.find(view.cloud.valid_points, settings=settings)
        np.testing.assert_array_equal(fit.plane.coefficients, plain.plane.coefficients)
    assert len(searches) == 2


def test_a_cloud_without_a_table_gives_no_plane_and_the_next_is_searched(searches):
    tracker = PlaneTracker()
    view = look([table(), *OBJECTS])
    noise = np.random.default_rng(0).uniform(-1, 1, (4000, 3)) + [0, 0, 2]
    assert tracker.find(view.cloud.valid_points).plane is not None
    assert tracker.find(noise).plane is None
    assert_found(tracker.find(view.cloud.valid_points), view)
    assert len(searches) == 3


def test_a_plane_that_has_come_to_stand_upright_is_not_kept(searches):
    """The same points, with another up."""
    tracker = PlaneTracker()
    view = look([table(), *OBJECTS])
    assert tracker.find(view.cloud.valid_points, up=view.up).plane is not None
    sideways = np.cross(view.up, [1.0, 0.0, 0.0])
    assert tracker.find(view.cloud.valid_points, up=sideways).plane is None
    assert len(searches) == 2
