"""What the node tells on /diagnostics, for a robot's monitors and for people who look for a fault."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from onet_ros.ros.memory import resident_memory, return_unused_memory
from onet_ros.ros.qos import DIAGNOSTICS_QOS
from onet_ros.ros.statistics import REASONS, FrameStatistics, Snapshot

SILENT = 5.0  # seconds without input that are worth a warning
TRIM_PERIOD = 5.0  # seconds between two times that unused memory is given back
RECENT = 30.0  # seconds for which an error is the state of things


class Diagnostics:
    """Publishes the node's state on /diagnostics, for as long as the node lives.

    Args:
        node: whose name and clock are used.
        statistics: the account of its frames.
        period: seconds between two messages.
        state: function that gives the name of the lifecycle state, the reason for which the last transition failed
            (empty: it did not), and what else there is to know, as texts by name.
    """

    def __init__(
        self,
        node: Node,
        statistics: FrameStatistics,
        period: float,
        state: Callable[[], tuple[str, str, dict[str, str]]],
    ) -> None:
        self._node, self._statistics, self._state = node, statistics, state
        self._trimmed = time.monotonic()
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", DIAGNOSTICS_QOS)
        # Real time: when a simulation stands still, that is what a monitor wants to know.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(period, self.publish, MutuallyExclusiveCallbackGroup(), clock=clock)

    def publish(self) -> None:
        """Tell how things stand now, and look after the memory."""
        if time.monotonic() - self._trimmed > TRIM_PERIOD:
            return_unused_memory()
            self._trimmed = time.monotonic()
        stamp = self._node.get_clock().now().to_msg()  # nothing in the message is older
        state, failure, facts = self._state()
        found = self._statistics.snapshot()
        level, text = judge(state, failure, found)
        status = DiagnosticStatus(
            name=f"{self._node.get_fully_qualified_name().lstrip('/')}: reconstruction",
            hardware_id=facts.get("device", ""),
            level=level,
            message=text,
            values=[
                KeyValue(key=key, value=value) for key, value in {"state": state, **facts, **values(found)}.items()
            ],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = stamp
        self._publisher.publish(message)


def judge(state: str, failure: str, found: Snapshot) -> tuple[Any, str]:
    """Level and summary of a state of things."""
    if failure:
        return DiagnosticStatus.ERROR, failure
    if state != "active":
        return DiagnosticStatus.OK, state
    if found.last_error and found.last_error[0].startswith("internal error") and found.last_error[1] < RECENT:
        return DiagnosticStatus.ERROR, found.last_error[0].splitlines()[0]
    if found.silence is None or found.silence > SILENT:
        since = "yet" if found.silence is None else f"for {found.silence:.0f} s"
        return DiagnosticStatus.WARN, f"no input {since}"
    if found.faults and found.last_error:
        return DiagnosticStatus.WARN, found.last_error[0].splitlines()[0]
    return DiagnosticStatus.OK, f"{found.rate_out:.1f} of {found.rate_in:.1f} frames a second"


def values(found: Snapshot) -> dict[str, str]:
    """The account as texts by name; times in milliseconds, memory in megabytes."""
    memory = resident_memory() / 1e6
    texts = {
        "input rate (Hz)": f"{found.rate_in:.2f}",
        "output rate (Hz)": f"{found.rate_out:.2f}",
        "latency p50 (ms)": _milliseconds(found.latency[0]),
        "latency p95 (ms)": _milliseconds(found.latency[1]),
        "processing p50 (ms)": _milliseconds(found.processing[0]),
        "processing p95 (ms)": _milliseconds(found.processing[1]),
        "lost on the way": str(found.lost),
        "received": str(found.received),
        "published": str(found.published),
        "waiting": str(found.waiting),
        **{f"dropped: {reason}": str(found.dropped.get(reason, 0)) for reason in REASONS},
        **{f"requests: {name}": str(count) for name, count in sorted(found.requests.items())},
        "last error": found.last_error[0].splitlines()[0] if found.last_error else "",
        "last error age (s)": f"{found.last_error[1]:.0f}" if found.last_error else "",
        "memory (MB)": f"{memory:.1f}",
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        texts["device memory (MB)"] = f"{torch.cuda.memory_reserved() / 1e6:.1f}"
    return texts


def read_accounts(message: DiagnosticArray) -> Iterator[dict[str, str]]:
    """The other way round: what `values` gave, of each node of ours that a message is about."""
    for status in message.status:
        texts = {item.key: item.value for item in status.values}
        if "received" in texts:
            yield texts


def _milliseconds(seconds: float) -> str:
    return "" if math.isnan(seconds) else f"{1000.0 * seconds:.1f}"
