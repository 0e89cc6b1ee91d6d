"""Stages add up to the whole."""

from __future__ import annotations

import time

import pytest

from onet_ros.stopwatch import Stopwatch


def test_a_stage_within_a_stage_stops_the_outer_clock():
    watch = Stopwatch()
    began = time.perf_counter()
    with watch.stage("outer"):
        time.sleep(0.02)
        with watch.stage("inner"):
            time.sleep(0.05)
        time.sleep(0.02)
    whole = time.perf_counter() - began
    assert sum(watch.seconds.values()) == pytest.approx(whole, abs=0.005)
    assert watch.seconds["inner"] >= 0.05
    assert 0.04 <= watch.seconds["outer"] <= whole - 0.05


def test_a_stage_entered_again_goes_on():
    watch = Stopwatch()
    for _ in range(3):
        with watch.stage("again"):
            time.sleep(0.01)
        time.sleep(0.01)
    assert watch.seconds["again"] >= 0.03
    assert list(watch.seconds) == ["again"]


def test_a_stage_left_by_an_error_is_left():
    watch = Stopwatch()
    with watch.stage("outer"), pytest.raises(KeyError), watch.stage("inner"):
        raise KeyError("fault")
    before = watch.seconds["inner"]
    with watch.stage("outer"):
        time.sleep(0.01)
    assert watch.seconds["inner"] == before
