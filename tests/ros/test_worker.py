"""The newest value only, and jobs in between."""

from __future__ import annotations

import threading
import time

import pytest

from onet_ros.ros.worker import MAX_WAITING_JOBS, LatestValueWorker, WorkerBusyError


class Gate:
    """Work that takes until it is let through."""

    def __init__(self) -> None:
        self.started, self.go_on = threading.Event(), threading.Event()
        self.worked: list[int] = []

    def __call__(self, value: int) -> None:
        self.worked.append(value)
        self.started.set()
        assert self.go_on.wait(10)


@pytest.fixture
def gate() -> Gate:
    return Gate()


def wait_for(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_worker_skips_to_the_newest_value_while_it_is_busy(gate):
    superseded: list[int] = []
    worker = LatestValueWorker(gate, superseded.append)
    worker.submit(1)
    assert gate.started.wait(10)
    for value in (2, 3, 4):
        worker.submit(value)
    gate.go_on.set()
    wait_for(lambda: len(gate.worked) == 2)
    assert worker.stop(10)
    assert gate.worked == [1, 4]
    assert superseded == [2, 3]


def test_every_value_is_worked_on_or_superseded_also_at_the_end(gate):
    superseded: list[int] = []
    worker = LatestValueWorker(gate, superseded.append)
    worker.submit(1)
    assert gate.started.wait(10)
    worker.submit(2)
    assert worker.stop(0.05) is False  # it hangs
    worker.submit(3)
    gate.go_on.set()
    assert worker.stop(10)
    assert (gate.worked, superseded) == ([1], [2, 3])


def test_a_waiting_value_can_be_taken_back(gate):
    worker = LatestValueWorker(gate, lambda _: None)
    assert worker.take_back() is None
    worker.submit(1)
    assert gate.started.wait(10)
    worker.submit(2)
    assert worker.take_back() == 2
    gate.go_on.set()
    assert worker.stop(10)
    assert gate.worked == [1]


def test_jobs_run_in_the_same_thread_before_the_next_value_and_give_back_what_they_found(gate):
    order: list[str] = []
    worker = LatestValueWorker(lambda value: (gate(value), order.append(f"value {value}")), lambda _: None)
    worker.submit(1)
    assert gate.started.wait(10)
    worker.submit(2)
    names = [worker.call(lambda: (order.append("job"), threading.current_thread().name)[1]) for _ in range(2)]
    failing = worker.call(lambda: [][1])
    gate.go_on.set()
    assert [future.result(10) for future in names] == ["reconstruction"] * 2
    with pytest.raises(IndexError):
        failing.result(10)
    wait_for(lambda: len(order) == 4)
    assert worker.stop(10)
    assert order == ["value 1", "job", "job", "value 2"]


def test_no_more_jobs_wait_than_can_be_worked_on_in_a_while(gate):
    worker = LatestValueWorker(gate, lambda _: None)
    worker.submit(1)
    assert gate.started.wait(10)
    futures = [worker.call(lambda: None) for _ in range(MAX_WAITING_JOBS)]
    with pytest.raises(WorkerBusyError, match=f"{MAX_WAITING_JOBS} requests are waiting already"):
        worker.call(lambda: None)
    stopper = threading.Thread(target=worker.stop, args=(10,))
    stopper.start()
    wait_for(lambda: all(future.cancelled() for future in futures))
    with pytest.raises(WorkerBusyError, match="stopping"):
        worker.call(lambda: None)
    gate.go_on.set()
    stopper.join()
