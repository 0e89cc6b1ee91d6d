"""The account of frames: complete, and told without flooding."""

from __future__ import annotations

import math

import pytest

from onet_ros.ros import statistics
from onet_ros.ros.statistics import (
    INVALID,
    NO_PLANE,
    SUPERSEDED,
    FrameStatistics,
    LimitedWarnings,
)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def account(told) -> FrameStatistics:
    return FrameStatistics(LimitedWarnings(told.append, period=60.0))


def test_a_fault_is_told_once_however_its_numbers_change_and_counted_each_time(account, told):
    for size in range(100):
        account.receive()
        account.drop(INVALID, f"data holds {size} bytes")
    account.receive()
    account.drop(INVALID, "no field 'x'")
    account.receive()
    account.drop(SUPERSEDED)
    assert told == [
        "dropped, invalid input (1 so far): data holds 0 bytes",
        "dropped, invalid input (101 so far): no field 'x'",
    ]
    assert str(account) == "102 dropped: 101 invalid input, 1 superseded by a newer one"
    assert str(FrameStatistics(LimitedWarnings(told.append))) == "nothing dropped"


def test_a_fault_is_told_again_after_a_while(told):
    warnings = LimitedWarnings(told.append, period=0.0)
    warnings.warn("one")
    warnings.warn("one")
    assert told == ["one", "one"]


def test_texts_of_endless_variety_do_not_fill_the_memory(told):
    warnings = LimitedWarnings(told.append, period=60.0)
    for number in range(5000):
        warnings.warn("x" * (number + 1))
    assert len(told) == 5000
    assert len(warnings._silent_until) <= 1001


def test_every_frame_is_accounted_for(account):
    for _ in range(6):
        account.receive()
    account.publish(0.1, 0.05)
    account.drop(NO_PLANE, "too few points")
    account.drop(SUPERSEDED)
    found = account.snapshot()
    assert (found.received, found.published, found.waiting) == (6, 1, 3)
    assert found.dropped == {NO_PLANE: 1, SUPERSEDED: 1}
    assert found.faults == 1  # keeping up is none
    assert account.snapshot().faults == 0  # since the snapshot before
    text, age = found.last_error
    assert text == "dropped, no support plane (1 so far): too few points"
    assert 0.0 <= age < 5.0


def test_latency_is_told_in_percentiles_and_left_out_where_it_is_unknown(account):
    assert all(math.isnan(value) for value in account.snapshot().latency)
    for milliseconds in range(1, 101):
        account.publish(milliseconds / 1000, 0.5)
    account.publish(float("nan"), 0.5)
    median, high = account.snapshot().latency
    assert median == pytest.approx(0.0505)
    assert high == pytest.approx(0.09505)
    assert account.snapshot().processing == (0.5, 0.5)


def test_rates_follow_what_comes_and_fall_when_nothing_does(account, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(statistics.time, "monotonic", lambda: now[0])
    for _ in range(20):
        now[0] += 0.1
        account.receive()
    assert account.snapshot().rate_in == pytest.approx(10.0)
    assert account.snapshot().silence == 0.0
    now[0] += 4.0
    assert account.snapshot().rate_in == pytest.approx(0.25)
    assert account.snapshot().silence == pytest.approx(4.0)
    assert account.snapshot().rate_out == 0.0


def test_what_the_middleware_lost_is_counted_apart(account):
    account.lose(3)
    account.receive()
    found = account.snapshot()
    assert (found.lost, found.received, found.waiting) == (3, 1, 1)


def test_requests_are_counted_by_name(account):
    for name in ("clear", "reconstruct", "clear"):
        account.answer(name)
    assert account.snapshot().requests == {"clear": 2, "reconstruct": 1}
