"""Transforms of clouds into the frame that the objects are wanted in, through tf2 where it is installed."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time as RosTime

from onet_ros.ros.conversions import from_transform_msg
from onet_ros.scene import PointCloud

try:
    import tf2_ros
except ImportError:  # ROS 2 from PyPI has no tf2
    tf2_ros = None


class FrameError(RuntimeError):
    """A transform that cannot be had."""


class TargetFrame:
    """The frame that everything published stands in: one that tf2 knows, or the cloud's own."""

    def __init__(self, node: Node, frame_id: str) -> None:
        """frame_id: empty for the cloud's own frame.

        Raises:
            FrameError: a frame is asked for and tf2_ros is not installed.
        """
        self.frame_id = frame_id
        if not frame_id:
            return
        if tf2_ros is None:
            raise FrameError(
                f"parameter target_frame is {frame_id!r}, which needs tf2_ros, and tf2_ros is not installed: "
                "install it (apt install ros-$ROS_DISTRO-tf2-ros-py) or leave target_frame empty to get everything "
                "in the camera's frame"
            )
        self._buffer = tf2_ros.Buffer(node=node)
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def lookup(self, cloud_frame_id: str, stamp: Time, timeout: float) -> NDArray[np.float64]:
        """T_target_cloud, (4, 4), at the stamp of the cloud; waits at most `timeout` seconds for it.

        To be called from another thread than the executor's, which has to bring the transforms in meanwhile.

        Raises:
            FrameError: tf2 does not know it in time; says why.
        """
        if self.frame_id in ("", cloud_frame_id):
            return np.eye(4)
        try:
            found = self._buffer.lookup_transform(
                self.frame_id, cloud_frame_id, RosTime.from_msg(stamp), Duration(seconds=timeout)
            )
        except tf2_ros.TransformException as error:
            raise FrameError(
                f"no transform from {cloud_frame_id!r} to target_frame {self.frame_id!r} within {timeout} s: {error}"
            ) from error
        return from_transform_msg(found.transform)


def transform_cloud(cloud: PointCloud, T_target_cloud: NDArray[np.float64]) -> PointCloud:
    """The cloud in another frame; missing points stay missing, an image's rows and columns stay."""
    if np.array_equal(T_target_cloud, np.eye(4)):
        return cloud
    rotation, translation = T_target_cloud[:3, :3].astype(np.float32), T_target_cloud[:3, 3].astype(np.float32)
    return PointCloud(cloud.points @ rotation.T + translation)
