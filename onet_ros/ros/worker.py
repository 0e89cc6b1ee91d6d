"""A thread that works on the newest camera frame only, and on what others ask of it in between. Needs no ROS."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")
Result = TypeVar("Result")

MAX_WAITING_JOBS = 16


class WorkerBusyError(RuntimeError):
    """Too many jobs wait already, or the worker is stopping."""


class LatestValueWorker(Generic[Value]):
    """A thread that calls `work` with the newest value, one at a time, so that no queue builds up.

    Jobs of others, which need what the work needs, run in the same thread, before the next value.

    Args:
        work: takes a value; must not raise.
        on_superseded: called with a value that nobody had begun to work on when a newer one came.
    """

    def __init__(self, work: Callable[[Value], None], on_superseded: Callable[[Value], None]) -> None:
        self._work, self._on_superseded = work, on_superseded
        self._condition = threading.Condition()
        self._value: Value | None = None
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="reconstruction", daemon=True)
        self._thread.start()

    def submit(self, value: Value) -> None:
        """Hand over a value without waiting; a value that was still waiting is dropped for it."""
        with self._condition:
            if self._stopping:
                superseded: Value | None = value
            else:
                superseded, self._value = self._value, value
                self._condition.notify()
        if superseded is not None:
            self._on_superseded(superseded)

    def take_back(self) -> Value | None:
        """Take the value that nobody has begun to work on, if there is one."""
        with self._condition:
            value, self._value = self._value, None
            return value

    def call(self, job: Callable[[], Result]) -> Future[Result]:
        """Have a job done in the worker's thread; its result, or what it raised, comes with the future.

        Raises:
            WorkerBusyError: it cannot be taken on.
        """
        future: Future[Result] = Future()
        with self._condition:
            if self._stopping:
                raise WorkerBusyError("the node is stopping")
            if len(self._jobs) >= MAX_WAITING_JOBS:
                raise WorkerBusyError(f"{len(self._jobs)} requests are waiting already")
            self._jobs.append((job, future))
            self._condition.notify()
        return future

    def stop(self, timeout: float) -> bool:
        """End after what is in work now; False when that takes longer than `timeout` seconds.

        Waiting jobs are cancelled, a waiting value is dropped.
        """
        with self._condition:
            self._stopping = True
            jobs, value = list(self._jobs), self._value
            self._jobs.clear()
            self._value = None
            self._condition.notify()
        for _, future in jobs:
            future.cancel()
        if value is not None:
            self._on_superseded(value)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._stopping or self._jobs or self._value is not None)
                if self._stopping:
                    return
                job = self._jobs.popleft() if self._jobs else None
                value = None
                if job is None:
                    value, self._value = self._value, None
            if job is not None:
                _do(*job)
            elif value is not None:
                self._work(value)


def _do(job: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job())
    except BaseException as error:  # noqa: BLE001 - whoever asked is told, the thread goes on
        future.set_exception(error)
