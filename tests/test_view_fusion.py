"""The measurement of what several views are worth."""

from __future__ import annotations

import numpy as np
import pytest

from onet_ros import Reconstructor
from onet_ros.learning import view_fusion
from onet_ros.learning.view_fusion import ALL, ALONE, MERGED, SOME, report, score_ways, seen_on_the_way, ways_together
from onet_ros.reconstructor import ReconstructorSettings
from onet_ros.resources import default_model_path
from onet_ros.surface import ExtractionSettings


@pytest.fixture(scope="module")
def table():
    return seen_on_the_way(0, 1, 0.0)


def test_every_view_shows_the_object_where_it_stands(table):
    ((name, views),) = table.views.items()
    assert len(views) == len(view_fusion.AZIMUTHS)
    low, high = table.truth[name].bounds
    for view in views:
        assert ((view.points > low - 0.02) & (view.points < high + 0.02)).all(axis=1).mean() > 0.99
    eyes = np.array([view.viewpoint for view in views])
    assert eyes[0] @ eyes[-1] < 0.8 * np.linalg.norm(eyes[0]) ** 2  # from the other side in the end


def test_the_ways_differ_in_what_they_are_given(table):
    (views,) = table.views.values()
    ways = dict(ways_together(views, 3))
    assert [len(one.views) for one in ways.values()] == [1, 3, 6, 1]
    assert len(ways[MERGED].points) == sum(len(view.points) for view in views)


@pytest.mark.slow
def test_fields_put_together_beat_the_newest_view_and_points_put_together(monkeypatch):
    monkeypatch.setattr(view_fusion, "AZIMUTHS", (0.0, 90.0, 180.0))
    coarse = ReconstructorSettings(extraction=ExtractionSettings(start_resolution=16, doublings=1))
    scores = score_ways(Reconstructor.load(default_model_path(), coarse), 1, 2, 0.0, 2000, 3)
    means = {way: np.mean([one.iou for one in scores[way, 3]]) for way in (ALONE, SOME.format(3), ALL, MERGED)}
    assert means[SOME.format(3)] > means[ALONE] > means[MERGED]
    page = report(scores, "Title")
    assert page.count("|---") == 4
    assert f"| {ALL} | " in page
