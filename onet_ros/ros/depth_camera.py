"""A depth camera for those who have none at hand: publishes clouds of a simulated table or of a recorded capture.

python -m onet_ros.ros.depth_camera --seed 3 --layout zed
python -m onet_ros.ros.depth_camera --cloud capture.npz
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import rclpy
import rclpy.logging
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, PointCloud2
from std_msgs.msg import Header

from onet_ros.ros.camera_sources import CameraSource, recorded_source, simulated_source
from onet_ros.ros.cloud_layouts import LAYOUTS, CloudLayout, to_point_cloud2_msg


class DepthCameraNode(Node):
    """Publishes `points` and, where the intrinsics are known, `camera_info`, stamped with the time of publication."""

    def __init__(self, source: CameraSource, layout: CloudLayout, rate: float, frame_id: str, reliable: bool) -> None:
        """rate: clouds a second."""
        super().__init__("depth_camera")
        self._source = source
        self._layout = layout
        self._frame_id = frame_id
        self._frames = 0
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        qos = QoSProfile(depth=1, reliability=reliability)
        self._cloud_publisher = self.create_publisher(PointCloud2, "points", qos)
        self._info_publisher = self.create_publisher(CameraInfo, "camera_info", qos)
        self.create_timer(1.0 / rate, self._publish)

    def _publish(self) -> None:
        points, colours = self._source.frame(self._frames)
        self._frames += 1
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame_id)
        self._cloud_publisher.publish(to_point_cloud2_msg(header, points, self._layout, colours))
        if self._source.intrinsics is not None:
            self._info_publisher.publish(to_camera_info_msg(header, self._source.intrinsics, *points.shape[:2]))


def to_camera_info_msg(header: Header, intrinsics: NDArray[np.float64], height: int, width: int) -> CameraInfo:
    """Intrinsics, K (3, 3) in pixels, of an image without distortion."""
    message = CameraInfo(header=header, height=height, width=width, distortion_model="plumb_bob", d=[0.0] * 5)
    message.k = intrinsics.ravel()
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p[[0, 1, 2, 4, 5, 6, 8, 9, 10]] = message.k
    return message


def make_parser() -> argparse.ArgumentParser:
    """Arguments of the command; those of ROS (--ros-args ...) come on top."""
    parser = argparse.ArgumentParser(prog="depth_camera", description="Publish clouds of a depth camera on `points`.")
    parser.add_argument("--cloud", type=Path, help="recorded capture (.npz, .ply, .pcd) instead of the simulated table")
    parser.add_argument("--seed", type=int, default=0, help="which simulated table")
    parser.add_argument("--objects", type=int, default=6, help="how many objects stand on it")
    parser.add_argument("--rate", type=_positive_number, default=5.0, help="clouds a second")
    parser.add_argument("--frame-id", default="camera_depth_optical_frame", help="frame of the clouds")
    parser.add_argument("--layout", choices=LAYOUTS, default="realsense", help="driver whose message layout is used")
    parser.add_argument(
        "--best-effort", action="store_true", help="publish with best effort; many drivers are reliable"
    )
    return parser


def _positive_number(text: str) -> float:
    number = float(text)
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number over 0, got {text}")
    return number


def main(args: list[str] | None = None) -> int:
    """Publish until interrupted; the exit status: 0, or 1 when there is nothing to publish."""
    arguments = make_parser().parse_args(remove_ros_args(args or sys.argv)[1:])
    rclpy.init(args=args)
    logger = rclpy.logging.get_logger("depth_camera")
    try:
        if arguments.cloud:
            source = recorded_source(arguments.cloud)
        else:
            source = simulated_source(arguments.seed, arguments.objects)
        layout = LAYOUTS[arguments.layout]
        node = DepthCameraNode(source, layout, arguments.rate, arguments.frame_id, not arguments.best_effort)
    except (ValueError, OSError) as error:
        logger.fatal(f"cannot start: {error}")
        rclpy.try_shutdown()
        return 1
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
