"""The newest value only, and an account of what was dropped."""

from __future__ import annotations

import threading

from onet_ros.ros.worker import DroppedClouds, LatestValue, LatestValueWorker


def test_slot_holds_the_newest_value_only():
    slot: LatestValue[int] = LatestValue()
    assert slot.put(1) is False
    assert slot.put(2) is True
    assert slot.take() == 2
    assert slot.put(3) is False


def test_closed_slot_gives_nothing():
    slot: LatestValue[int] = LatestValue()
    slot.put(1)
    slot.close()
    assert slot.take() is None


def test_worker_skips_to_the_newest_value_while_it_is_busy():
    started, go_on, worked, superseded = threading.Event(), threading.Event(), [], []

    def work(value: int) -> None:
        worked.append(value)
        started.set()
        go_on.wait(10)

    worker = LatestValueWorker(work, lambda: superseded.append(True))
    worker.submit(1)
    assert started.wait(10)
    for value in (2, 3, 4):
        worker.submit(value)
    go_on.set()
    while len(worked) < 2:
        started.wait(0.01)
    assert worker.stop(10)
    assert worked == [1, 4]
    assert len(superseded) == 2


def test_worker_that_hangs_is_reported():
    started, release = threading.Event(), threading.Event()

    def work(value: int) -> None:
        started.set()
        release.wait(10)

    worker = LatestValueWorker(work, lambda: None)
    worker.submit(1)
    assert started.wait(10)
    assert worker.stop(0.05) is False
    release.set()
    assert worker.stop(10)


def test_a_fault_is_told_once_however_its_numbers_change_and_counted_each_time():
    told: list[str] = []
    dropped = DroppedClouds(told.append, log_period=60.0)
    for size in range(100):
        dropped.add("invalid cloud", f"data holds {size} bytes")
    dropped.add("invalid cloud", "no field 'x'")
    dropped.add("superseded by a newer cloud")
    assert told == [
        "cloud dropped, invalid cloud (1 so far): data holds 0 bytes",
        "cloud dropped, invalid cloud (101 so far): no field 'x'",
    ]
    assert str(dropped) == "102 clouds dropped: 101 invalid cloud, 1 superseded by a newer cloud"


def test_a_fault_is_told_again_after_a_while():
    told: list[str] = []
    dropped = DroppedClouds(told.append, log_period=0.0)
    dropped.warn("one")
    dropped.warn("one")
    assert told == ["one", "one"]
    assert str(dropped) == "no clouds dropped"
