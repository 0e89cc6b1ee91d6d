"""What runs the node's callbacks."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.waitable import NumberOfEntities, Waitable
from std_msgs.msg import String

from onet_ros.ros.executor import InvalidHandle, NodeExecutor

pytestmark = pytest.mark.ros


class Gone(Waitable):
    """An event of something that is destroyed before the event is taken."""

    def __init__(self, group: MutuallyExclusiveCallbackGroup) -> None:
        super().__init__(group)
        self.taken = False

    def is_ready(self, wait_set: object) -> bool:
        return not self.taken

    def take_data(self) -> None:
        self.taken = True
        raise InvalidHandle("cannot use Destroyable because destruction was requested")

    async def execute(self, taken_data: object) -> None:
        raise AssertionError("there was nothing to tell")

    def get_num_entities(self) -> NumberOfEntities:
        return NumberOfEntities()

    def add_to_wait_set(self, wait_set: object) -> None:
        pass

    def __enter__(self) -> None: ...

    def __exit__(self, *exception: object) -> None: ...


def test_what_shares_a_group_with_something_destroyed_is_still_heard(client):
    import rclpy

    node, group, calls = rclpy.create_node("destroying"), MutuallyExclusiveCallbackGroup(), []
    event = Gone(group)
    node.add_waitable(event)
    node.create_timer(0.02, lambda: calls.append(event.taken), group)
    executor = NodeExecutor(2)
    executor.add_node(node)
    for _ in range(500):
        executor.spin_once(0.1)
        if calls.count(True) >= 3:
            break
    executor.shutdown()
    node.destroy_node()
    assert calls.count(True) >= 3


def test_work_that_waits_for_the_interpreter_is_not_looked_at_again_and_again(client):
    import rclpy

    node, looks, calls = rclpy.create_node("busy"), 0, []

    def compute() -> None:
        calls.append(None)
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            sum(range(1000))

    for _ in range(3):
        node.create_timer(0.03, compute, MutuallyExclusiveCallbackGroup())
    publisher = node.create_publisher(String, "busy", 1)
    node.create_timer(0.005, lambda: publisher.publish(String()), MutuallyExclusiveCallbackGroup())
    group = MutuallyExclusiveCallbackGroup()
    node.create_subscription(String, "busy", calls.append, 1, callback_group=group)
    executor = NodeExecutor(8)
    executor.add_node(node)
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        executor.spin_once(0.1)
        looks += 1
    executor.shutdown()
    node.destroy_node()
    assert len(calls) > 10
    assert looks < 10 * len(calls)  # with rclpy's own it is a hundred times as many
