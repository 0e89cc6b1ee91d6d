"""The whole node is timed over DDS."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from onet_ros.ros import node_latency
from onet_ros.ros.node_latency import measure_node


@pytest.mark.nodes
def test_latency_is_from_the_stamp_to_the_last_message_and_every_cloud_is_accounted_for(monkeypatch, tmp_path):
    monkeypatch.setattr(node_latency, "WARM_UP", 0.5)
    told: list[float] = []
    found = measure_node(5.0, rate=4.0, objects=1, folder=tmp_path, on_progress=told.append)
    assert 0.0 < found.p50 <= found.p95 < 10.0
    assert 1 <= found.answered <= found.received + 1  # one may have come before the first account
    assert found.received < 4.0 * 5.0 * 1.5
    assert found.most_waiting <= 2
    assert all(megabytes > 100.0 for megabytes in found.memory)
    assert told[0] == 0.0
    assert told[-1] == 5.0
    assert "ready: waiting for input" in (tmp_path / "node.log").read_text()


@pytest.mark.nodes
def test_a_node_that_ends_is_told_of_with_its_last_words(monkeypatch):
    monkeypatch.setattr(node_latency, "ANEW", ("tracking.refresh_period:=-1.0",))
    with pytest.raises(RuntimeError, match="refresh_period"):
        measure_node(1.0, anew=True)
