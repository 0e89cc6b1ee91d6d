"""A depth camera for those who have none at hand: a simulated table, or a recorded capture.

python -m onet_ros.ros.depth_camera --seed 3 --layout zed
python -m onet_ros.ros.depth_camera --cloud capture.npz
python -m onet_ros.ros.depth_camera --output depth --mask
python -m onet_ros.ros.depth_camera --orbit 20 --fixed-frame table
python -m onet_ros.ros.depth_camera --rate 30 --prepare 30
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import rclpy.logging
from geometry_msgs.msg import TransformStamped, Vector3
from numpy.typing import NDArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from onet_ros.ros.camera_sources import CameraSource, recorded_source, simulated_source
from onet_ros.ros.cloud_layouts import LAYOUTS, CloudLayout, to_point_cloud2_msg
from onet_ros.ros.conversions import to_pose_msg
from onet_ros.ros.image_messages import to_camera_info_msg, to_depth_image_msg, to_mask_msg
from onet_ros.ros.large_messages import make_room_for_large_messages

try:
    from tf2_msgs.msg import TFMessage
except ImportError:  # ROS 2 from PyPI has no tf2
    TFMessage = None


@dataclass(frozen=True)
class _Shot:
    """What is published of one frame: messages by topic, without stamps; where the camera stood, if that is known."""

    messages: dict[str, Any]
    T_table_camera: NDArray[np.float64] | None


class DepthCameraNode(Node):
    """Publishes `points`, or `depth_image`; and, where they are known and wanted, `camera_info`, `mask` and /tf.

    Everything is stamped with the time of publication.
    """

    def __init__(self, source: CameraSource, layout: CloudLayout, arguments: argparse.Namespace) -> None:
        """arguments: those of `make_parser`.

        Raises:
            ValueError: something is to be published that the source does not know, or that this ROS cannot send.
        """
        super().__init__("depth_camera")
        self._source, self._layout, self._arguments = source, layout, arguments
        self._frames = 0
        self._prepared: list[_Shot] = []
        first = source.frame(0)
        if arguments.output == "depth" and source.intrinsics is None:
            raise ValueError("a depth image needs intrinsics, and the capture has none")
        if arguments.mask and first.labels is None:
            raise ValueError("the capture has no mask")
        if arguments.fixed_frame and first.T_table_camera is None:
            raise ValueError("nobody knows where the camera stood that took the capture")
        if arguments.fixed_frame and TFMessage is None:
            raise ValueError(
                "--fixed-frame needs tf2_msgs, which is not installed: apt install ros-$ROS_DISTRO-tf2-msgs"
            )
        reliability = ReliabilityPolicy.BEST_EFFORT if arguments.best_effort else ReliabilityPolicy.RELIABLE
        qos = QoSProfile(depth=1, reliability=reliability)
        self._outputs: dict[str, Any] = {}
        if arguments.output == "depth":
            self._outputs["depth_image"] = self.create_publisher(Image, "depth_image", qos)
        else:
            self._outputs["points"] = self.create_publisher(PointCloud2, "points", qos)
        self._outputs["camera_info"] = self.create_publisher(CameraInfo, "camera_info", qos)
        if arguments.mask:
            self._outputs["mask"] = self.create_publisher(Image, "mask", qos)
        if arguments.fixed_frame:
            self._outputs["/tf"] = self.create_publisher(TFMessage, "/tf", 100)
        self._prepared = [self._shot(number) for number in range(arguments.prepare)]
        self.create_timer(1.0 / arguments.rate, self._publish)

    def _publish(self) -> None:
        number = self._frames
        self._frames += 1
        shot = self._prepared[number % len(self._prepared)] if self._prepared else self._shot(number)
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._arguments.frame_id)
        messages = dict(shot.messages)
        for message in messages.values():
            message.header = header
        if shot.T_table_camera is not None and "/tf" in self._outputs:
            messages["/tf"] = TFMessage(transforms=[self._transform(header, shot.T_table_camera)])
        for name, message in messages.items():
            self._outputs[name].publish(message)

    def _shot(self, number: int) -> _Shot:
        frame, header = self._source.frame(number), Header()
        messages: dict[str, Any] = {}
        if self._source.intrinsics is not None:
            size = frame.points.shape[:2]
            messages["camera_info"] = to_camera_info_msg(header, self._source.intrinsics, *size)
        if "depth_image" in self._outputs:
            messages["depth_image"] = to_depth_image_msg(header, frame.points, self._arguments.encoding)
        else:
            messages["points"] = to_point_cloud2_msg(header, frame.points, self._layout, frame.colours)
        if "mask" in self._outputs and frame.labels is not None:
            messages["mask"] = to_mask_msg(header, frame.labels)
        return _Shot(messages, frame.T_table_camera)

    def _transform(self, header: Header, T_table_camera: NDArray[np.float64]) -> TransformStamped:
        pose = to_pose_msg(T_table_camera)
        message = TransformStamped(child_frame_id=header.frame_id)
        message.header = Header(stamp=header.stamp, frame_id=self._arguments.fixed_frame)
        message.transform.translation = Vector3(x=pose.position.x, y=pose.position.y, z=pose.position.z)
        message.transform.rotation = pose.orientation
        return message


def make_parser() -> argparse.ArgumentParser:
    """Arguments of the command; those of ROS (--ros-args ...) come on top."""
    parser = argparse.ArgumentParser(
        prog="depth_camera", description="Publish what a depth camera sees: of a simulated table, or recorded."
    )
    parser.add_argument("--cloud", type=Path, help="recorded capture (.npz, .ply, .pcd) instead of the simulated table")
    parser.add_argument("--seed", type=int, default=0, help="which simulated table (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=6, help="how many objects stand on it (default: %(default)s)")
    parser.add_argument("--rate", type=_positive_number, default=5.0, help="frames a second (default: %(default)s)")
    parser.add_argument(
        "--frame-id", default="camera_depth_optical_frame", help="frame of the camera (default: %(default)s)"
    )
    parser.add_argument(
        "--output",
        choices=("cloud", "depth"),
        default="cloud",
        help="clouds on `points`, or images on `depth_image` (default: %(default)s)",
    )
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        default="realsense",
        help="driver whose clouds these are like (default: %(default)s)",
    )
    parser.add_argument(
        "--encoding",
        choices=("16UC1", "32FC1"),
        default="16UC1",
        help="of depth images: millimetres or metres (default: %(default)s)",
    )
    parser.add_argument("--mask", action="store_true", help="publish the true objects as an instance mask on `mask`")
    parser.add_argument(
        "--orbit",
        type=float,
        default=0.0,
        metavar="DEGREES",
        help="go around the simulated table by so much a second (default: stand still)",
    )
    parser.add_argument(
        "--fixed-frame", default="", metavar="FRAME", help="tell /tf where the camera stands in this frame of the table"
    )
    parser.add_argument(
        "--prepare",
        type=_natural_number,
        default=0,
        metavar="FRAMES",
        help="make so many frames in advance and show them again and again, which leaves the processor to others, as a "
        "camera's driver does (default: make each when it is due)",
    )
    parser.add_argument(
        "--best-effort", action="store_true", help="publish with best effort; many drivers are reliable"
    )
    return parser


def _natural_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 on, got {text}")
    return int(text)


def _positive_number(text: str) -> float:
    number = float(text)
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number over 0, got {text}")
    return number


def main(args: list[str] | None = None) -> int:
    """Publish until interrupted; the exit status: 0, or 1 when there is nothing to publish."""
    arguments = make_parser().parse_args(remove_ros_args(args or sys.argv)[1:])
    make_room_for_large_messages()
    rclpy.init(args=args)
    logger = rclpy.logging.get_logger("depth_camera")
    try:
        if arguments.cloud:
            source = recorded_source(arguments.cloud)
        else:
            source = simulated_source(arguments.seed, arguments.objects, np.radians(arguments.orbit) / arguments.rate)
        node = DepthCameraNode(source, LAYOUTS[arguments.layout], arguments)
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
