"""Transforms of clouds into the frame that the objects are wanted in, through tf2 where it is installed."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.time import Time as RosTime

from onet_ros.ros.conversions import from_transform_msg
from onet_ros.scene import PointCloud

try:
    import tf2_ros
except ImportError:  # ROS 2 from PyPI has no tf2
    tf2_ros = None

POLL_PERIOD = 0.01  # seconds between two looks whether a transform has come


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
        self._listener = None
        self._interrupted = threading.Event()
        if not frame_id:
            return
        if tf2_ros is None:
            raise FrameError(
                f"parameter target_frame is {frame_id!r}, which needs tf2_ros, and tf2_ros is not installed: "
                "install it (apt install ros-$ROS_DISTRO-tf2-ros-py) or leave target_frame empty to get everything "
                "in the camera's frame"
            )
        self._buffer = tf2_ros.Buffer()  # without the node, whose service of debugging would outlive this
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def lookup(self, frame_id: str, stamp: Time, timeout: float) -> NDArray[np.float64]:
        """T_target_frame, (4, 4), at a stamp; waits at most `timeout` seconds, by the wall clock, for it.

        To be called from another thread than the executor's, which has to bring the transforms in meanwhile.

        Raises:
            FrameError: tf2 does not know it in time; says why.
        """
        if self.frame_id in ("", frame_id):
            return np.eye(4)
        if not frame_id:
            raise FrameError(f"input without a frame_id cannot be brought into target_frame {self.frame_id!r}")
        at, deadline = RosTime.from_msg(stamp), time.monotonic() + timeout
        # Not with tf2's own timeout: it goes by a clock that can be set back, and does not end when the node does.
        while True:
            try:
                return from_transform_msg(self._buffer.lookup_transform(self.frame_id, frame_id, at).transform)
            except tf2_ros.TransformException as error:
                if time.monotonic() >= deadline or self._interrupted.wait(POLL_PERIOD):
                    raise FrameError(
                        f"no transform from {frame_id!r} to target_frame {self.frame_id!r} at the input's stamp within "
                        f"{timeout} s: {error}"
                    ) from error

    def clear(self) -> None:
        """Forget all transforms but static ones: time jumped back, and those of the future would stand in the way."""
        if self._listener is not None:
            self._buffer.clear()

    def close(self) -> None:
        """Listen no more, and let nobody wait."""
        self._interrupted.set()
        if self._listener is not None:
            self._listener.unregister()
            self._listener = None


def transform_cloud(cloud: PointCloud, T_target_cloud: NDArray[np.float64]) -> PointCloud:
    """The cloud in another frame; missing points stay missing, an image's rows and columns stay."""
    if np.array_equal(T_target_cloud, np.eye(4)):
        return cloud
    rotation, translation = T_target_cloud[:3, :3].astype(np.float32), T_target_cloud[:3, 3].astype(np.float32)
    return replace(cloud, points=cloud.points @ rotation.T + translation)
