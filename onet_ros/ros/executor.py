"""What runs the node's callbacks, and goes on whatever becomes of one."""

from __future__ import annotations

from typing import Any

from rclpy.executors import MultiThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation

InvalidHandle = rclpy_implementation.InvalidHandle


class NodeExecutor(MultiThreadedExecutor):
    """One in which something may be destroyed while an event of it waits to be told.

    Subscriptions are made anew while the node runs, and may just then have messages to report as lost. rclpy raises
    out of such an event after its callback group has begun to execute it, and never ends that: the group is taken for
    busy, and none of its subscriptions is heard again. What is gone has nothing to tell here.
    """

    def _take_waitable(self, waitable: Any) -> Any:
        try:
            return super()._take_waitable(waitable)
        except InvalidHandle:
            return None
