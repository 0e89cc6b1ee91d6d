"""The evaluation on a folder of its own: a box and an open tray on a table, whose scores can be told beforehand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluation_folder import write_evaluation_folder

from onet_ros.cli import main
from onet_ros.learning.evaluation import TASKS, evaluate, frame_cases
from onet_ros.learning.evaluation_data import EvaluationData
from onet_ros.learning.evaluation_report import data_digest, failures, summarise, table, write_sheets
from onet_ros.learning.methods import BASELINES, method_labels
from onet_ros.scene import AROUND_POINTS


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> EvaluationData:
    folder = tmp_path_factory.mktemp("evaluation")
    write_evaluation_folder(folder)
    return EvaluationData(folder)


def nothing(points, plane, background):
    raise ValueError("not today")


def test_a_scene_tells_what_was_seen_around_an_object_and_a_view_does_not(data):
    (view, *_) = data.frames("views")
    (case,) = frame_cases("views", view)
    assert len(case.points) == len(view.cloud.valid_points)
    assert case.background is None
    (scene,) = data.frames("scenes")
    for case in frame_cases("scenes", scene):
        assert 100 < len(case.background) <= AROUND_POINTS
        own = {tuple(point) for point in case.points.tolist()}
        assert not own & {tuple(point) for point in case.background.tolist()}
        assert (np.abs(scene.plane.height(case.background)) < 0.105).all()  # the table and the other object


def test_methods_get_the_background_that_their_case_has(data):
    counts = []

    def noting(points, plane, background):
        counts.append(None if background is None else len(background))
        return BASELINES["hull"](points, plane, background)

    evaluate({"noting": noting}, data, ("views", "scenes"), samples=500, progress=False)
    assert counts[:2] == [None, None]
    assert len(counts) == 4
    assert min(counts[2:]) > 100


def test_our_own_segmentation_finds_the_same_objects(data):
    results = evaluate({"table-hull": BASELINES["table-hull"]}, data, ("scenes", "scenes-own"), 2000, progress=False)
    true, own = results[:2], results[2:]
    for a, b in zip(true, own, strict=True):
        assert b.case.truth.name == a.case.truth.name
        assert b.scores.iou == pytest.approx(a.scores.iou, abs=0.06)


def test_a_box_seen_from_three_sides_is_its_table_hull(data):
    (result, _) = evaluate({"table-hull": BASELINES["table-hull"]}, data, ("views",), 5000, progress=False)
    # Seen are the front and the top, to within half a pixel (2 mm) of the edges: with its shadow the whole box.
    assert result.scores.iou > 0.9
    assert result.scores.chamfer_l1 < 0.003


def test_a_method_that_fails_is_listed_and_counts_as_zero(data):
    methods = {"nothing": nothing, "hull": BASELINES["hull"]}
    results = evaluate(methods, data, ("scenes",), 1000, progress=False)
    rows = {(row["objects"], row["method"]): row for row in summarise(results)}
    assert rows["all", "nothing"]["failed"] == rows["all", "nothing"]["n"] == 2
    assert rows["all", "nothing"]["iou"] == 0.0
    edges = [result.case.truth.mesh.extents.max() for result in results if result.method == "nothing"]
    assert rows["all", "nothing"]["chamfer_l1"] == pytest.approx(np.mean(edges))
    assert rows["all", "hull"]["failed"] == 0
    assert failures(results) == [f"nothing: scenes scene_00 {name}: not today" for name in ("box", "tray")]


def test_methods_stand_side_by_side_in_one_table(data):
    methods = {name: BASELINES[name] for name in ("hull", "table-hull")}
    text = table(summarise(evaluate(methods, data, ("views", "scenes"), 500, progress=False))).splitlines()
    assert [line.split(" | ")[0:3] for line in text[2:4]] == [
        ["| views", "all", "hull"],
        ["| views", "all", "table-hull"],
    ]
    assert sum("thin-walled" in line for line in text) == 2  # the tray of the scene, by two methods


def test_the_number_of_scoring_threads_does_not_change_the_figures(data):
    runs = [
        [r.scores for r in evaluate({"hull": BASELINES["hull"]}, data, TASKS, 2000, jobs=jobs, progress=False)]
        for jobs in (1, 3)
    ]
    assert runs[0] == runs[1]


def test_an_unknown_task_is_refused(data):
    with pytest.raises(ValueError, match="'kitchens'"):
        evaluate({}, data, ("kitchens",))


def test_the_digest_is_of_the_data_and_of_nothing_else(data, tmp_path):
    digest = data_digest(data.folder)
    (data.folder / "README.md").write_text("words")
    assert data_digest(data.folder) == digest
    assert data_digest(tmp_path) != digest


def test_labels_of_methods_are_as_short_as_they_can_be():
    assert method_labels(["hull", "models/default"]) == ["hull", "default"]
    assert method_labels(["runs/a/best", "runs/b/best"]) == ["a/best", "b/best"]
    with pytest.raises(ValueError, match="2 times"):
        method_labels(["hull", "hull"])
    with pytest.raises(ValueError, match="same folder"):
        method_labels(["runs/a", "runs/b/../a"])


def test_the_command_writes_where_its_figures_come_from(data, tmp_path, capsys):
    words = ["eval", "--data", str(data.folder), "--method", "hull", "--method", "table-hull", "--task", "views"]
    assert main([*words, "--samples", "500", "--out", str(tmp_path / "out")]) == 0
    assert "| views | all | table-hull |" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["command"].startswith(f"onet eval --data {data.folder}")
    assert report["data"]["digest"] == data_digest(data.folder)
    assert (report["samples"], report["seed"]) == (500, 0)
    assert len(report["objects"]) == 4
    text = (tmp_path / "out" / "report.md").read_text()
    assert report["data"]["digest"] in text
    assert "No failures." in text


@pytest.mark.slow
def test_sheets_show_every_object_and_the_worst_first(data, tmp_path):
    results = evaluate({"a/nothing": nothing, "hull": BASELINES["hull"]}, data, ("scenes",), 500, progress=False)
    paths = write_sheets(tmp_path, results)
    names = [path.relative_to(tmp_path).as_posix() for path in paths]
    assert names == ["a_nothing/scenes_01.png", "a_nothing/worst.png", "hull/scenes_01.png", "hull/worst.png"]
    assert all(path.stat().st_size > 10_000 for path in paths)
