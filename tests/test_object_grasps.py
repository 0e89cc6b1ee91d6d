"""Grasps of objects that stand together: looked for where something changed, none on what is not reliable."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh
from trusted import trust

from onet_ros.completion import ReconstructedObject
from onet_ros.grasping import GraspSettings
from onet_ros.object_grasps import ObjectGrasps, grasp_record

TABLE = (0.0, 0.0, 1.0, 0.0)


def box_at(x: float, *, reliable: bool = True, height: float = 0.06) -> ReconstructedObject:
    """50 mm square."""
    mesh = trimesh.creation.box((0.05, 0.05, height)).subdivide().subdivide().subdivide()
    pose = np.eye(4)
    pose[:3, 3] = x, 0.0, height / 2.0
    mesh.apply_transform(pose)
    ones = np.ones(len(mesh.vertices), dtype=np.float32)
    return ReconstructedObject(
        mesh=mesh,
        confidence=ones,
        error=0.001 * ones,
        collision_mesh=mesh,
        conservative_mesh=mesh,
        T_source_object=pose,
        size=np.array([0.05, 0.05, height]),
        indices=np.arange(100),
        seen_fraction=0.5,
        trust=trust(reliable=reliable),
    )


def test_only_what_changed_or_stands_beside_a_change_is_looked_at_again():
    known = ObjectGrasps(GraspSettings())
    near, beside, far = box_at(0.0), box_at(0.1), box_at(1.0)
    assert known.update({1: near, 2: beside, 3: far}, TABLE) == {1: "", 2: "", 3: ""}
    before = {number: known.of(number) for number in (1, 2, 3)}
    assert all(before.values())
    assert known.update({1: near, 2: beside, 3: far}, TABLE) == {}
    assert set(known.update({1: near, 2: box_at(0.12), 3: far}, TABLE)) == {1, 2}
    assert known.of(3) is before[3]
    assert set(known.update({1: near, 3: far}, TABLE)) == {1}
    with pytest.raises(KeyError):
        known.of(2)
    known.forget()
    assert set(known.update({3: far}, TABLE)) == {3}


def test_neighbours_stand_in_the_way():
    alone, hemmed_in = ObjectGrasps(GraspSettings()), ObjectGrasps(GraspSettings())
    alone.update({1: box_at(0.0)}, TABLE)
    hemmed_in.update({1: box_at(0.0), 2: box_at(0.056, height=0.3), 3: box_at(-0.056, height=0.3)}, TABLE)
    assert any(abs(grasp.T_source_gripper[0, 0]) > 0.9 for grasp in alone.of(1))
    assert not any(abs(grasp.T_source_gripper[0, 0]) > 0.9 for grasp in hemmed_in.of(1))


def test_objects_that_are_not_reliable_have_none():
    known = ObjectGrasps(GraspSettings())
    assert known.update({1: box_at(0.0, reliable=False)}, TABLE) == {1: ""}
    assert known.of(1) == []


def test_the_best_of_all_come_first_and_can_be_written():
    known = ObjectGrasps(GraspSettings(candidates=5))
    known.update({1: box_at(0.0), 2: box_at(0.5, height=0.1)}, TABLE)
    found = known.best_first()
    assert {number for number, _ in found} == {1, 2}
    assert [grasp.quality for _, grasp in found] == sorted((grasp.quality for _, grasp in found), reverse=True)
    record = json.loads(json.dumps(grasp_record(found[0][1])))
    np.testing.assert_allclose(record["T_frame_gripper"], found[0][1].T_source_gripper)
    assert np.shape(record["contacts"]) == np.shape(record["normals"]) == (2, 3)
    assert record["quality"] == pytest.approx(np.prod(list(record["parts"].values())), abs=1e-3)


def test_why_there_can_be_none_is_said():
    known = ObjectGrasps(GraspSettings())
    assert "table must be a unit normal" in known.update({1: box_at(0.0)}, (0.0, 0.0, 0.0, 1.0))[1]
    assert known.of(1) == []
