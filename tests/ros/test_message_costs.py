"""What publishing costs is told stage by stage, for `onet bench`."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

import numpy as np
import trimesh
from trusted import trust

from onet_ros.reconstructor import ReconstructedObject
from onet_ros.ros.message_costs import MessageCosts
from onet_ros.stopwatch import Stopwatch

pytestmark = pytest.mark.ros


def test_serialising_and_publishing_are_told_apart():
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.05)
    item = ReconstructedObject(
        mesh=ball,
        confidence=np.ones(len(ball.vertices), dtype=np.float32),
        error=np.full(len(ball.vertices), 0.002, dtype=np.float32),
        collision_mesh=ball,
        conservative_mesh=ball,
        T_source_object=np.eye(4),
        size=ball.extents,
        indices=np.arange(3),
        seen_fraction=1.0,
        trust=trust(),
    )
    watch = Stopwatch()
    with MessageCosts.opened() as costs:
        costs.publish([item, item], watch)
    assert set(watch.seconds) == {"serialise", "publish"}
    assert all(0 < seconds < 1 for seconds in watch.seconds.values())
