"""The scores of trust: what they say of a mesh that is right and of one that is wrong; and their command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import trimesh

from onet_ros.learning import trust_scores
from onet_ros.learning.evaluation_data import Frame, Truth
from onet_ros.learning.trust_scores import Seen, logistic_weights, score, seen_free
from onet_ros.networks import load_checkpoint
from onet_ros.ray_casting import RayScene, pixel_rays
from onet_ros.resources import model_path
from onet_ros.scene import PointCloud, SeenObject, SupportPlane, UnitFrame, depth_to_points
from onet_ros.trust import Subject, VertexEvidence

K = np.array([[300.0, 0.0, 159.5], [0.0, 300.0, 119.5], [0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def box_on_a_table() -> Seen:
    """A box of 60 mm whose front stands 0.5 m away, the table 0.1 m below the camera, a wall behind."""
    truth = trimesh.creation.box((0.06, 0.06, 0.06))
    truth.apply_translation([0.0, 0.07, 0.53])
    table, wall = trimesh.creation.box((4.0, 0.1, 4.0)), trimesh.creation.box((4.0, 4.0, 0.1))
    table.apply_translation([0.0, 0.15, 1.0])
    wall.apply_translation([0.0, 0.0, 0.95])
    directions = pixel_rays(K, 320, 240)  # as long as the depth is
    hits = RayScene([truth, table, wall]).cast(np.concatenate([0.0 * directions, directions], axis=2))
    cloud = PointCloud.from_points(depth_to_points(hits.distance, K))
    front = hits.mesh == 0
    indices = np.flatnonzero(front)
    plane = SupportPlane(np.array([0.0, -1.0, 0.0]), 0.1)
    flat = cloud.points.reshape(-1, 3)
    seen = SeenObject.on_plane(flat[indices], plane, (0, 0, 0), flat[np.flatnonzero(~front)])
    frame = Frame("procedural", "box", cloud, plane, [Truth("box", truth, False, indices)], K=K)
    return Seen("box", frame, seen, truth, False)


def subject(seen: Seen, mesh: trimesh.Trimesh) -> Subject:
    count = np.ones(len(mesh.vertices))
    return Subject(
        mesh=mesh,
        coarse_mesh=mesh,
        conservative_mesh=mesh,
        seen=seen.seen.points,
        free=[seen.seen.free],
        frame=UnitFrame(np.eye(3), np.zeros(3), 0.1),
        vertices=VertexEvidence(0.01 * count, 0.001 * count, 0.001 * count, count, 0.1),
        confidence=count.astype(np.float32),
    )


def moved(seen: Seen, *by: float) -> trimesh.Trimesh:
    mesh = seen.truth.subdivide()
    mesh.apply_translation(by)
    return mesh


def test_a_mesh_that_is_right_has_nothing_against_it(box_on_a_table):
    scores = score(box_on_a_table, subject(box_on_a_table, moved(box_on_a_table, 0, 0, 0)), None, 0.95, 4000)
    assert scores.iou > 0.98
    assert scores.free < 0.005  # what lies within half a pixel of the outline
    assert scores.under_table == 0.0
    assert scores.seen_distance < 1e-4
    assert scores.contained > 0.99
    assert scores.extra < 0.02
    assert scores.hull_extra < 0.05  # of what was seen of a box, and its shadow


def test_what_stands_in_free_space_or_under_the_table_is_counted(box_on_a_table):
    forward = score(box_on_a_table, subject(box_on_a_table, moved(box_on_a_table, 0, 0, -0.03)), None, 0.95, 4000)
    assert forward.free == pytest.approx((0.03 - 0.006) / 0.06, abs=0.06)  # less what the sensor's noise might be
    assert forward.contained == pytest.approx(0.5, abs=0.03)
    assert forward.extra == pytest.approx(0.5, abs=0.03)
    below = score(box_on_a_table, subject(box_on_a_table, moved(box_on_a_table, 0, 0.03, 0)), None, 0.95, 4000)
    assert below.under_table == pytest.approx(0.5, abs=0.03)


def test_pixels_say_what_is_free(box_on_a_table):
    places = np.array([[0.0, 0.07, 0.4], [0.0, 0.07, 0.52], [0.06, 0.07, 0.5], [0.0, -0.01, 0.95], [5.0, 0.0, 0.5]])
    assert seen_free(box_on_a_table, places).tolist() == [True, False, True, False, False]


def test_errors_are_learnt_from_procedural_objects(tmp_path, monkeypatch):
    monkeypatch.setattr(trust_scores, "COVERAGE_OBJECTS", 1)
    monkeypatch.setattr(trust_scores, "COVERAGES", (0.8, 0.95))
    with torch.no_grad():
        model = trust_scores.fit(load_checkpoint(model_path("points")), 3)
    assert 0.0 < model.limit < 1.0
    assert np.isfinite(model.vertex).all()
    shares = np.array(model.coverage)
    assert shares.shape == (2, 2)
    assert (shares[:, 1] > 0.5).all()


def test_the_chance_of_being_bad_is_learnt():
    rng = np.random.default_rng(0)
    rows = np.column_stack([np.ones(4000), rng.normal(5.0, 2.0, 4000), rng.normal(size=4000)])
    bad = rng.random(4000) < 1.0 / (1.0 + np.exp(-(2.0 * rows[:, 1] - 14.0)))
    weights = logistic_weights(rows, bad.astype(float))
    np.testing.assert_allclose(weights, [-14.0, 2.0, 0.0], atol=1.0)


@pytest.mark.slow
def test_the_command_prints_a_summary_and_keeps_the_figures(tmp_path, capsys):
    trust_scores.main(["--objects", "2", "--samples", "2000", "--out", str(tmp_path / "scores.json")])
    printed = capsys.readouterr().out
    assert "2 objects, 0 could not be completed" in printed
    assert "not reliable: " in printed
    figures = json.loads((tmp_path / "scores.json").read_text())
    assert len(figures["procedural"]["objects"]) == 2


def test_wrong_arguments_are_told(capsys):
    with pytest.raises(SystemExit, match="no checkpoint"):
        trust_scores.main(["--model", "/nowhere"])
