"""The metrics, on pairs of bodies whose scores can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from onet_ros.learning.metrics import _nearest, _search_tree, points_inside, score_mesh, volume_iou

# Nearest neighbours among 100,000 samples: two samplings of one surface of area A lie about 0.5 sqrt(A / n) apart.


def test_a_mesh_against_itself_is_perfect():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.05)
    scores = score_mesh(ball, ball)
    assert scores.iou == 1.0
    assert scores.f_score == 1.0
    assert scores.chamfer_l1 < 0.5 * np.sqrt(ball.area / 100_000) * 1.1
    assert scores.normal_consistency > 0.99


def test_iou_of_boxes_shifted_by_a_third_of_their_width_is_a_half():
    box = trimesh.creation.box((0.1, 0.06, 0.04))
    shifted = box.copy()
    shifted.apply_translation((0.0, 0.02, 0.0))  # still inside the box of 1.1 times the longest edge
    assert volume_iou(shifted, box) == pytest.approx(0.5, abs=0.02)


def test_chamfer_of_concentric_spheres_is_the_difference_of_their_radii():
    small = trimesh.creation.icosphere(subdivisions=5, radius=0.05)
    large = trimesh.creation.icosphere(subdivisions=5, radius=0.056)
    scores = score_mesh(large, small, samples=30_000)
    assert scores.accuracy == pytest.approx(0.006, abs=1e-4)
    assert scores.completeness == pytest.approx(0.006, abs=1e-4)
    assert scores.f_score == 0.0  # every point is 6 mm away, the threshold is 5 mm
    assert scores.iou == pytest.approx((0.05 / 0.056) ** 3, abs=0.01)
    assert scores.chamfer_l1_normalised == pytest.approx(0.06, abs=1e-3)


def test_accuracy_and_completeness_tell_what_is_too_much_from_what_is_missing():
    whole = trimesh.creation.box((0.2, 0.02, 0.02))
    half = trimesh.creation.box((0.1, 0.02, 0.02), transform=trimesh.transformations.translation_matrix((0.05, 0, 0)))
    missing = score_mesh(half, whole, samples=20_000)
    assert missing.completeness > 0.02 > 10 * missing.accuracy
    invented = score_mesh(whole, half, samples=20_000)
    assert invented.accuracy == pytest.approx(missing.completeness, rel=0.02)


def test_normals_of_a_turned_box_disagree():
    box = trimesh.creation.box((0.05, 0.05, 0.05))
    turned = box.copy()
    turned.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 4, (0, 0, 1)))
    assert 0.6 < score_mesh(turned, box, samples=20_000).normal_consistency < 0.9


def test_no_reconstruction_counts_as_a_failure_and_not_as_absent():
    box = trimesh.creation.box((0.1, 0.06, 0.04))
    for nothing in (None, trimesh.Trimesh()):
        scores = score_mesh(nothing, box)
        assert scores.failed
        assert (scores.iou, scores.f_score) == (0.0, 0.0)
        assert scores.chamfer_l1 == pytest.approx(0.1)


def test_two_runs_give_the_same_figures():
    a, b = trimesh.creation.icosphere(radius=0.05), trimesh.creation.box((0.08, 0.08, 0.08))
    assert score_mesh(a, b, samples=5_000) == score_mesh(a, b, samples=5_000)


def test_inside_of_a_hollow_body_is_its_wall():
    outer, inner = trimesh.creation.icosphere(radius=0.05), trimesh.creation.icosphere(radius=0.04)
    inner.invert()
    shell = trimesh.util.concatenate([outer, inner])
    points = np.array([[0.0, 0.0, 0.0], [0.045, 0.0, 0.0], [0.06, 0.0, 0.0]])
    assert points_inside(shell, points).tolist() == [False, True, False]


def test_a_truth_without_faces_is_refused():
    with pytest.raises(ValueError, match="no faces"):
        score_mesh(None, trimesh.Trimesh())


def test_nearest_points_are_those_that_trying_all_pairs_finds():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(300, 3)), rng.normal(size=(200, 3)) + 2.0
    distances, indices = _nearest(_search_tree(a), _search_tree(b))
    pairs = np.linalg.norm(a[:, None] - b[None], axis=2)
    np.testing.assert_array_equal(indices, pairs.argmin(axis=1))
    np.testing.assert_allclose(distances, pairs.min(axis=1), rtol=1e-12)


def test_scores_do_not_depend_on_where_the_pair_lies():
    a, b = trimesh.creation.icosphere(radius=0.05), trimesh.creation.box((0.08, 0.08, 0.08))
    here = score_mesh(a, b, samples=5_000)
    for mesh in (a, b):
        mesh.apply_translation((0.3, -0.2, 1.1))
    there = score_mesh(a, b, samples=5_000)
    assert there.chamfer_l1 == pytest.approx(here.chamfer_l1, rel=1e-6)
    assert there.iou == pytest.approx(here.iou, abs=2e-3)  # float32 rays


def test_the_seen_part_and_the_hidden_part_are_judged_apart():
    # Seen is the right half of a box; the reconstruction is right there and 20 mm short on the left.
    box = trimesh.creation.box((0.2, 0.1, 0.1))
    short = trimesh.creation.box((0.18, 0.1, 0.1))
    short.apply_translation((0.01, 0.0, 0.0))
    surface = trimesh.sample.sample_surface(box, 20_000, seed=5)[0]
    scores = score_mesh(short, box, samples=20_000, seen=surface[surface[:, 0] > 0.0])
    assert scores.seen_error < 0.0015  # the distance between samples
    # Of the hidden half, the end (a fifth of its area) is 20 mm away, and a strip of 20 mm beside it 10 mm on average.
    ends, strip, half = 0.01, 4 * 0.1 * 0.02, 0.01 + 4 * 0.1 * 0.1
    assert scores.hidden_error == pytest.approx((ends * 0.02 + strip * 0.01) / half, rel=0.2)


def test_nothing_is_said_of_parts_that_do_not_exist():
    box = trimesh.creation.box((0.1, 0.1, 0.1))
    assert score_mesh(box, box, samples=500).seen_error is None
    everything = trimesh.sample.sample_surface(box, 20_000, seed=5)[0]
    scores = score_mesh(box, box, samples=500, seen=everything)
    assert scores.seen_error is not None
    assert scores.hidden_error is None
