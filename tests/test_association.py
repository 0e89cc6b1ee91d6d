"""Which cluster is which of the known objects."""

from __future__ import annotations

import numpy as np
import trimesh

from onet_ros.scene import ObjectCluster, SeenObject
from onet_ros.scene.association import assign
from onet_ros.scene.evidence import KnownShape
from onet_ros.scene.unit_frame import UnitFrame

LIMIT = 0.05
SMALL, TALL = (0.06, 0.06, 0.06), (0.05, 0.05, 0.2)


def surface(size: tuple[float, float, float], at: tuple[float, float, float], seed: int = 0) -> np.ndarray:
    """(1500, 3) points all over a box."""
    return trimesh.creation.box(size).apply_translation(at).sample(1500, seed=seed)


def shape(size, at) -> KnownShape:
    points = surface(size, at)
    unit = UnitFrame(np.eye(3), np.zeros(3), 1.0)
    return KnownShape(SeenObject(points, np.empty((0, 3)), np.array([0.0, -1.0, 1.0]), unit, np.arange(len(points))))


def clusters(*points: np.ndarray) -> list[ObjectCluster]:
    """Clusters of these points, which lie one after the other in their cloud."""
    starts = np.cumsum([0, *map(len, points)])
    return [
        ObjectCluster(np.arange(start, start + len(own)), own.astype(np.float32))
        for start, own in zip(starts, points, strict=False)
    ]


def numbers(pairs) -> list[int | None]:
    """The shapes, in the order of the clusters' first points."""
    return [number for _, number in sorted(pairs, key=lambda pair: pair[0].indices[0])]


def test_objects_keep_their_numbers_when_their_order_changes_and_they_move_a_little():
    shapes = [shape(SMALL, (0, 0, 0)), shape(SMALL, (0.2, 0, 0)), shape(TALL, (0, 0.3, 0))]
    seen = clusters(
        surface(TALL, (0.02, 0.3, 0.0), 1), surface(SMALL, (0.01, 0.02, 0.0), 2), surface(SMALL, (0.18, 0, 0), 3)
    )
    assert numbers(assign(seen, shapes, LIMIT)) == [2, 0, 1]


def test_what_is_too_far_away_is_new_and_does_not_disturb_the_others():
    shapes = [shape(SMALL, (0, 0, 0)), shape(SMALL, (0.3, 0, 0))]
    seen = clusters(surface(SMALL, (0.15, 0, 0), 1), surface(SMALL, (0.32, 0, 0), 2))
    assert numbers(assign(seen, shapes, LIMIT)) == [None, 1]


def test_of_two_that_could_be_it_the_one_of_its_size_is():
    shapes = [shape(TALL, (0, 0, 0.1))]
    seen = clusters(surface((0.02, 0.02, 0.02), (0.05, 0, 0.02), 1), surface(TALL, (0, 0.02, 0.1), 2))
    assert numbers(assign(seen, shapes, LIMIT)) == [None, 0]


def test_a_much_larger_thing_in_the_same_place_is_another_object():
    shapes = [shape((0.03, 0.03, 0.03), (0, 0, 0.015))]
    assert numbers(assign(clusters(surface((0.12, 0.12, 0.2), (0, 0, 0.1), 1)), shapes, LIMIT)) == [None]


def test_what_is_hidden_in_part_is_the_same_object():
    shapes = [shape(TALL, (0, 0, 0.1))]
    top = surface(TALL, (0, 0, 0.1), 1)
    assert numbers(assign(clusters(top[top[:, 2] > 0.15]), shapes, LIMIT)) == [0]


def test_the_pieces_that_something_in_front_leaves_of_an_object_are_one():
    long = (0.3, 0.05, 0.05)
    shapes = [shape(long, (0, 0, 0.025))]
    points = surface(long, (0, 0, 0.025), 1)
    left, right = points[points[:, 0] < -0.05], points[points[:, 0] > 0.02]
    arm = surface((0.04, 0.04, 0.3), (-0.01, -0.1, 0.15), 2)
    pairs = assign(clusters(left, arm, right), shapes, LIMIT)
    assert sorted(number for _, number in pairs if number is not None) == [0]
    whole = next(cluster for cluster, number in pairs if number == 0)
    assert len(whole.indices) == len(left) + len(right)
    assert (np.diff(whole.indices) > 0).all()
    assert set(whole.indices) == {*range(len(left)), *range(len(left) + len(arm), len(left) + len(arm) + len(right))}
    assert [number for _, number in pairs].count(None) == 1


def test_known_objects_that_come_as_one_cluster_are_told_apart():
    shapes = [shape(SMALL, (0, 0, 0)), shape(SMALL, (0.065, 0, 0))]
    left, right = surface(SMALL, (0, 0, 0), 1), surface(SMALL, (0.065, 0, 0), 2)
    pairs = assign(clusters(np.concatenate([left, right])), shapes, LIMIT)
    assert numbers(pairs) == [0, 1]
    for cluster, number in pairs:
        side = cluster.points[:, 0] > 0.0325
        assert (side == (number == 1)).mean() > 0.99


def test_one_that_moved_against_another_is_not_told_apart():
    """Where it was is not where it is now, so that nothing says which points are whose."""
    shapes = [shape(SMALL, (0, 0, 0)), shape(SMALL, (0.13, 0.06, 0))]
    both = np.concatenate([surface(SMALL, (0, 0, 0), 1), surface(SMALL, (0.065, 0, 0), 2)])
    assert len(assign(clusters(both), shapes, LIMIT)) == 1


def test_no_clusters_and_no_shapes():
    assert assign([], [shape(SMALL, (0, 0, 0))], LIMIT) == []
    assert numbers(assign(clusters(surface(SMALL, (0, 0, 0))), [], LIMIT)) == [None]


def test_those_with_most_points_come_first():
    seen = clusters(surface(SMALL, (0, 0, 0))[:500], surface(SMALL, (0.3, 0, 0)))
    assert [len(cluster.indices) for cluster, _ in assign(seen, [], LIMIT)] == [1500, 500]
