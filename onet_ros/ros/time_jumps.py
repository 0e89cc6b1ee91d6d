"""Clocks that jump back: a simulation that starts again, a bag with /clock that is played in a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node

from onet_ros.scene.stamps import REORDERED

SMALLEST_JUMP = Duration(nanoseconds=-REORDERED)


class ClockJumps:
    """Calls back when the node's clock jumped back, or changed between the wall's and a simulated one."""

    def __init__(self, node: Node, on_jump: Callable[[str], None]) -> None:
        """on_jump: called with a sentence on what happened."""
        self._on_jump = on_jump
        threshold = JumpThreshold(min_forward=None, min_backward=SMALLEST_JUMP, on_clock_change=True)
        self._handle = node.get_clock().create_jump_callback(threshold, post_callback=self._after)

    def close(self) -> None:
        """Call back no more."""
        self._handle.unregister()

    def _after(self, jump: Any) -> None:
        """jump: a dictionary, where rclpy declares an object."""
        nanoseconds = jump["delta"] if isinstance(jump, dict) else jump.delta.nanoseconds
        self._on_jump(f"the clock jumped by {nanoseconds * 1e-9:.1f} s")
