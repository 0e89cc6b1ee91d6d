"""Numbers that follow their objects."""

from __future__ import annotations

import numpy as np

from onet_ros.ros.object_ids import ObjectIds

A, B, C = [0.0, 0.0, 1.0], [0.3, 0.0, 1.0], [0.0, 0.4, 1.0]


def test_objects_keep_their_numbers_when_their_order_changes():
    ids = ObjectIds()
    assert ids.update(np.array([A, B, C]), "camera", 0.05) == ([0, 1, 2], [])
    moved = np.array([C, A, B]) + 0.02
    assert ids.update(moved, "camera", 0.05) == ([2, 0, 1], [])


def test_an_object_that_went_gives_its_number_to_no_other():
    ids = ObjectIds()
    ids.update(np.array([A, B]), "camera", 0.05)
    assert ids.update(np.array([A]), "camera", 0.05) == ([0], [1])
    assert ids.update(np.array([B, A]), "camera", 0.05) == ([2, 0], [])


def test_an_object_too_far_away_is_a_new_one_and_does_not_disturb_the_others():
    ids = ObjectIds()
    ids.update(np.array([A, B]), "camera", 0.05)
    far_from_a, near_b = [0.25, 0.0, 1.0], [0.32, 0.0, 1.0]
    assert ids.update(np.array([far_from_a, near_b]), "camera", 0.05) == ([2, 1], [0])


def test_another_frame_makes_all_objects_new():
    ids = ObjectIds()
    ids.update(np.array([A, B]), "left_camera", 0.05)
    assert ids.update(np.array([A, B]), "right_camera", 0.05) == ([2, 3], [0, 1])


def test_nothing_and_clear():
    ids = ObjectIds()
    assert ids.update(np.empty((0, 3)), "camera", 0.05) == ([], [])
    ids.update(np.array([A, B]), "camera", 0.05)
    assert ids.clear() == [0, 1]
    assert ids.clear() == []
