"""Evaluation from pictures and voxel grids: cases whose scores can be told beforehand, and procedural objects."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluation_folder import write_evaluation_folder

from onet_ros.cli import main
from onet_ros.learning.evaluation import OBSERVES, TASKS, default_tasks, evaluate, frame_cases
from onet_ros.learning.evaluation_data import EvaluationData
from onet_ros.learning.methods import BASELINES, make_method
from onet_ros.learning.metrics import score_mesh
from onet_ros.learning.observed_cases import whole_grid
from onet_ros.learning.other_methods import InputGrid, MeanShape, SmoothedGrid
from onet_ros.learning.procedural_data import ProceduralData, held_out_frame
from onet_ros.ray_casting import RayScene, pixel_rays


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> EvaluationData:
    folder = tmp_path_factory.mktemp("evaluation")
    write_evaluation_folder(folder)
    return EvaluationData(folder)


@pytest.fixture(scope="module")
def frame():
    return held_out_frame(0, 1)


class TestProceduralObjects:
    def test_cloud_picture_and_truth_show_the_same_object(self, frame):
        (truth,) = frame.truths
        K, labels = frame.picture.K, frame.picture.labels
        rays = pixel_rays(K, labels.shape[1], labels.shape[0])
        hits = RayScene([truth.mesh]).cast(np.concatenate([np.zeros_like(rays), rays], axis=-1).astype(np.float32))
        assert (hits.hit != (labels == 1)).mean() < 0.01
        own = frame.cloud.points.reshape(-1, 3)[truth.indices]
        depth = hits.distance.ravel()[truth.indices]
        assert np.median(np.abs(own[:, 2] - depth)) < 0.006  # what sensors err by

    def test_it_stands_on_its_table(self, frame):
        heights = frame.plane.height(np.asarray(frame.truths[0].mesh.vertices))
        assert heights.min() == pytest.approx(0.0, abs=0.003)
        table = np.delete(frame.cloud.points.reshape(-1, 3), frame.truths[0].indices, axis=0)
        table = table[np.isfinite(table).all(axis=1)]
        assert np.median(np.abs(frame.plane.height(table))) < 0.006

    def test_the_nth_is_the_same_however_many_there_are(self, frame):
        again = list(ProceduralData(2).frames())[1]
        np.testing.assert_array_equal(again.picture.image, frame.picture.image)
        np.testing.assert_array_equal(again.truths[0].mesh.vertices, frame.truths[0].mesh.vertices)

    @pytest.mark.slow
    def test_every_kind_of_observation_is_evaluated_on_it(self):
        methods = {"hull": BASELINES["hull"], "mean": _mean(), "grid": InputGrid()}
        tasks = ("procedural", "procedural-image", "procedural-voxels", "procedural-map")
        results = evaluate(methods, None, tasks, 1000, progress=False, objects=1)
        assert [(r.method, r.case.task) for r in results] == [
            ("hull", "procedural"),
            ("mean", "procedural-image"),
            ("grid", "procedural-voxels"),
            ("grid", "procedural-map"),
        ]
        assert len({r.case.truth.name for r in results}) == 1
        assert not any(r.scores.failed for r in results)
        by_task = {r.case.task: r.scores for r in results}
        assert by_task["procedural-voxels"].iou > by_task["procedural-map"].iou  # the map saw one side only


def _mean(cache=[]):  # noqa: B006 - made once for all tests
    if not cache:
        cache.append(MeanShape(samples=64, progress=False))
    return cache[0]


class TestCases:
    def test_a_view_is_drawn_where_its_points_were_seen(self, data):
        (view, *_) = data.frames("views")
        (case,) = frame_cases("views-image", view)
        assert case.picture.image.shape == (120, 160, 3)
        projected = view.cloud.valid_points @ case.picture.K.T
        u, v = np.rint(projected[:, :2] / projected[:, 2:]).astype(int).T
        assert case.picture.mask[v, u].mean() > 0.99
        assert case.picture.mask.sum() == pytest.approx(len(u), rel=0.02)
        own, table = case.picture.image[case.picture.mask], case.picture.image[~case.picture.mask]
        assert np.abs(own.mean(axis=0) - table.mean(axis=0)).max() > 5

    def test_the_grid_of_a_box_is_the_box_and_the_cells_about_its_surface(self, data):
        (view, *_) = data.frames("views")
        (case,) = frame_cases("views-voxels", view)
        truth = view.truths[0].mesh
        boxes = InputGrid()(case.grid).apply_transform(case.T_cam_grid)
        cell = case.grid.cell_size
        assert case.grid.values.shape == (32, 32, 32)
        lower, upper = truth.volume, np.prod(np.array([0.06, 0.08, 0.10]) + 2.0 * cell)
        assert lower < boxes.volume < upper * 1.3  # turned by the plane's own axes, a box touches a few cells more
        scores = score_mesh(boxes, truth, 20_000)
        assert 0.5 < scores.iou < 0.95
        assert 0.1 * cell < scores.chamfer_l1 < cell

    def test_a_map_holds_the_seen_points_and_no_more(self, data):
        (view, *_) = data.frames("views")
        (case,) = frame_cases("views-map", view)
        points = view.cloud.valid_points
        boxes = InputGrid()(case.grid).apply_transform(case.T_cam_grid)
        assert (boxes.bounds[0] <= points.min(axis=0) + 1e-6).all()
        assert (boxes.bounds[1] >= points.max(axis=0) - 1e-6).all()
        assert boxes.volume < 0.5 * view.truths[0].mesh.volume

    def test_smoothing_a_grid_closes_it(self, frame):
        grid, _ = whole_grid(frame.truths[0].mesh, frame.plane)
        smooth, rough = SmoothedGrid()(grid), InputGrid()(grid)
        assert smooth.is_watertight
        assert smooth.volume == pytest.approx(rough.volume, rel=0.1)
        assert smooth.area < rough.area


class TestMeanShape:
    def test_it_is_one_shape_scaled_and_placed(self, data, frame):
        mean = _mean()
        picture = frame_cases("procedural-image", frame)[0].picture
        mesh = mean(picture, frame.plane)
        assert mesh.is_watertight
        extent = frame.truths[0].mesh.extents.max()
        assert np.linalg.norm(mesh.bounds.mean(axis=0) - frame.truths[0].mesh.bounds.mean(axis=0)) < extent

    def test_its_level_is_that_which_suits_the_training_objects(self):
        assert 0.05 <= _mean().threshold <= 0.6


class TestWhichTasks:
    def test_a_task_that_no_method_observes_is_refused(self, data):
        with pytest.raises(ValueError, match="task views-image gives image, and no method observes that: hull observe"):
            evaluate({"hull": BASELINES["hull"]}, data, ("views-image",))

    def test_a_task_without_data_is_refused(self):
        with pytest.raises(ValueError, match="tasks views need a folder"):
            evaluate({"hull": BASELINES["hull"]}, None, ("views",))

    def test_by_default_all_that_fits_the_methods(self, data):
        assert default_tasks({"hull": BASELINES["hull"]}, data) == list(TASKS)
        assert default_tasks({"grid": InputGrid()}, None) == ["procedural-voxels", "procedural-map"]
        assert set(OBSERVES.values()) == {"points", "image", "voxels"}

    def test_baselines_are_known_by_name(self):
        assert isinstance(make_method("smoothed-grid"), SmoothedGrid)
        with pytest.raises(ValueError, match=r"'nothing' is neither .* mean-shape, grid, smoothed-grid"):
            make_method("nothing")


def test_the_command_writes_a_report_without_a_folder(tmp_path, capsys):
    words = ["eval", "--task", "procedural-voxels", "--method", "grid", "--objects", "1", "--samples", "500"]
    assert main([*words, "--out", str(tmp_path), "--jobs", "1"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["summary"][0]["task"] == "procedural-voxels"
    assert report["data"]["folder"] == "procedural objects only"
    assert "| procedural-voxels | all | grid | 1 | 0 |" in capsys.readouterr().out
