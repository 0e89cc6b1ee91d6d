"""Which reconstruction is which true object, and the table of the demo."""

from __future__ import annotations

import pytest
import trimesh

from onet_ros.ros.comparison import compare_objects, format_table, match_objects, rows_as_json


def box_at(x: float, size: float = 0.1) -> trimesh.Trimesh:
    return trimesh.creation.box((size, size, size)).apply_translation((x, 0.0, 1.0))


TRUTH = {"left": box_at(-0.3), "middle": box_at(0.0), "right": box_at(0.3)}


def test_objects_are_matched_by_place_whatever_their_order():
    reconstructed = {7: box_at(0.31), 3: box_at(-0.28), 5: box_at(0.01)}
    assert match_objects(reconstructed, TRUTH) == {"left": 3, "middle": 5, "right": 7}


def test_missed_and_invented_objects_are_matched_with_nothing():
    reconstructed = {1: box_at(0.02), 2: box_at(0.9)}
    assert match_objects(reconstructed, TRUTH) == {"left": None, "middle": 1, "right": None}
    assert match_objects({}, TRUTH) == {"left": None, "middle": None, "right": None}
    assert match_objects(reconstructed, {}) == {}


def test_of_two_candidates_the_nearer_is_taken_once():
    reconstructed = {1: box_at(0.06), 2: box_at(0.02)}
    assert match_objects(reconstructed, {"middle": box_at(0.0)}) == {"middle": 2}
    # A chain of overlaps: each gets one, though both are nearest to the same.
    assert match_objects(reconstructed, {"a": box_at(0.03), "b": box_at(0.13)}) == {"a": 2, "b": 1}


def test_rows_hold_scores_sizes_and_what_is_missing():
    meshes = {4: box_at(0.0), 9: box_at(2.0)}
    sizes = {4: (0.1, 0.1, 0.1), 9: (0.1, 0.1, 0.1)}
    truth = {"middle": box_at(0.0), "left": box_at(-0.3)}
    middle, left, invented = compare_objects(meshes, sizes, truth, {"middle": 1.0, "left": 0.25})
    assert (middle.name, middle.number, middle.visible_fraction, middle.watertight) == ("middle", 4, 1.0, True)
    assert middle.scores.iou > 0.99
    assert middle.scores.chamfer_l1 == pytest.approx(0.0, abs=0.001)
    assert (left.name, left.number, left.size, left.scores) == ("left", None, None, None)
    assert (invented.name, invented.number, invented.scores) == ("object 9", 9, None)
    assert rows_as_json([left])[0]["visible_fraction"] == 0.25
    assert rows_as_json([middle])[0]["scores"]["iou"] == middle.scores.iou


def test_table_tells_size_scores_latency_and_what_is_missing():
    rows = compare_objects({4: box_at(0.0)}, {4: (0.1, 0.0996, 0.1)}, TRUTH, {"left": 0.25})
    header, rule, *lines = format_table(rows, latency=0.1234).splitlines()
    assert header.split() == ["object", "size", "(mm)", "IoU", "Chamfer-L1", "(mm)", "latency", "(ms)"]
    assert len({len(line) for line in (header, rule, *lines)}) == 1
    assert lines[0].split() == ["left", "(25", "%", "visible)", "missing", "-", "-", "-"]
    assert lines[1].startswith("middle ")
    assert "100 x 100 x 100" in lines[1]
    assert lines[1].endswith(" 123")
    assert lines[2].split() == ["right", "missing", "-", "-", "-"]
    assert lines[3].startswith("mean of 1, 2 missing")
