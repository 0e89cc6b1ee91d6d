"""What runs the node's callbacks, and goes on whatever becomes of one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from rclpy.executors import MultiThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation

InvalidHandle = rclpy_implementation.InvalidHandle


START_TIMEOUT = 0.1  # seconds


class NodeExecutor(MultiThreadedExecutor):
    """One in which something may be destroyed while an event of it waits to be told, and which waits for its threads.

    Subscriptions are made anew while the node runs, and may just then have messages to report as lost. rclpy raises
    out of such an event after its callback group has begun to execute it, and never ends that: the group is taken for
    busy, and none of its subscriptions is heard again. What is gone has nothing to tell here.

    A callback that was handed to a thread and has not begun yet is handed over again each time that rclpy's executor
    looks for work, which it then does without a pause. While the interpreter's lock is with others, above all with the
    thread that reconstructs, that is thousands of times a second, and takes the lock from those as well.
    """

    def __init__(self, num_threads: int) -> None:
        super().__init__(num_threads)
        if isinstance(getattr(self, "_executor", None), ThreadPoolExecutor):  # of all distributions so far
            self._executor.shutdown()
            self._executor = _PromptThreads(num_threads)

    def _take_waitable(self, waitable: Any) -> Any:
        try:
            return super()._take_waitable(waitable)
        except InvalidHandle:
            return None


class _PromptThreads(ThreadPoolExecutor):
    """Threads of which one has begun the work when it is handed over, unless none is free for a while."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        begun = threading.Event()

        def begin() -> Any:
            begun.set()
            return work(*arguments, **named)

        future = super().submit(begin)
        begun.wait(START_TIMEOUT)
        return future
