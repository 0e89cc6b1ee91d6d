"""The soak test itself: its judgement, and (slow; CI runs it as `make soak`) three minutes of it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from onet_ros.ros.soak import memory_growth, soak
from onet_ros.ros.soak_world import COMING_AND_GOING, SCENE_SECONDS, SCENES, STAYING, SoakWorld

pytestmark = pytest.mark.ros


def test_growth_of_memory_is_counted_after_the_warm_up():
    times = np.arange(0.0, 600.0)
    warming_up = np.where(times < 100.0, 400.0 + times, 500.0)
    assert memory_growth(list(zip(times, warming_up, strict=True))) == 0.0
    leaking = 500.0 + 0.1 * times
    assert memory_growth(list(zip(times, leaking, strict=True))) > 0.05
    spikes = np.where(times % 50 == 0, 900.0, 500.0)
    assert memory_growth(list(zip(times, spikes, strict=True))) == 0.0
    busy = np.where(times % 3 == 0, 500.0, 900.0)  # work under way two thirds of the time
    assert memory_growth(list(zip(times, busy, strict=True))) == 0.0
    assert memory_growth(list(zip(times, busy + 0.1 * times, strict=True))) > 0.05
    by_chance = 500.0 + 10.0 * (times // 30 % 2)  # from part to part, but nowhere over the whole
    assert abs(memory_growth(list(zip(times, by_chance, strict=True)))) < 0.01
    assert memory_growth(list(zip(times, by_chance + 0.1 * times, strict=True))) > 0.05
    assert memory_growth([]) == 0.0


def test_what_stands_on_the_table_follows_from_the_stamp():
    world = SoakWorld()
    shown = [world.objects_at(seconds * 10**9) for seconds in range(0, SCENE_SECONDS * len(SCENES), SCENE_SECONDS)]
    assert all(set(STAYING) <= set(names) for names in shown)
    assert set().union(*shown) == {*STAYING, *COMING_AND_GOING} == set(world.truth)
    looks = world.looks()
    assert [len(scene) for scene in looks] == [len(looks[0])] * len(SCENES)
    assert np.isfinite(looks[2][0]).mean() > 0.5


@pytest.mark.slow
def test_three_minutes_of_everything_at_once(tmp_path):
    report = soak(3.0, 15.0, 1, tmp_path, [])
    assert report["faults"] == [], report
    assert report["messages"] > 50
    assert report["simulator_deaths"] > 1
    assert len(report["requests"]) > 6
