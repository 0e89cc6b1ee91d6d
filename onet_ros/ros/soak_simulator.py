"""The simulator of the soak test: publishes /clock and `points` of the soak test's world, until it is killed."""

from __future__ import annotations

import argparse
import sys
import time

import rclpy
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.soak_world import LOOKS, SCENE_SECONDS, SCENES, SoakWorld

FRAME_ID = "soak_camera"


class SoakSimulator(Node):
    """A world with a clock of its own."""

    def __init__(self, start: int, rate: float) -> None:
        """start: seconds that its clock begins at; rate: clouds a second."""
        super().__init__("simulator")
        header = Header(frame_id=FRAME_ID)
        self._messages = [
            [to_point_cloud2_msg(header, points, LAYOUTS["realsense"]) for points in looks]
            for looks in SoakWorld().looks()
        ]
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10)
        self._cloud_publisher = self.create_publisher(PointCloud2, "points", QoSProfile(depth=1))
        self._start, self._began, self._looks = start, time.monotonic(), 0
        self.create_timer(0.02, lambda: self._clock_publisher.publish(Clock(clock=self._now())))
        self.create_timer(1.0 / rate, self._publish)

    def _now(self) -> Time:
        passed = time.monotonic() - self._began
        return Time(sec=self._start + int(passed), nanosec=int(passed % 1.0 * 1e9))

    def _publish(self) -> None:
        now = self._now()
        message = self._messages[now.sec // SCENE_SECONDS % len(SCENES)][self._looks % LOOKS]
        message.header.stamp = now
        self._looks += 1
        self._cloud_publisher.publish(message)


def main() -> int:
    """Publish until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", type=int, default=1000, help="seconds that the clock begins at")
    parser.add_argument("--rate", type=float, default=15.0, help="clouds a second")
    arguments = parser.parse_args()
    rclpy.init(args=[])
    rclpy.spin(SoakSimulator(arguments.start, arguments.rate))
    return 0


if __name__ == "__main__":
    sys.exit(main())
