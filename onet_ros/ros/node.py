"""The ROS node: depth clouds in, completed meshes out.

It only receives, converts, calls the `Reconstructor` and publishes. The executor's thread takes clouds, parameters and
transforms; one worker takes the newest cloud, so that the latency is bounded by one frame and never grows with a queue.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import numpy as np
import rclpy
import rclpy.logging
import torch
from numpy.typing import NDArray
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from onet_ros.reconstructor import Reconstruction, Reconstructor
from onet_ros.resources import default_model_path
from onet_ros.ros.cloud_subscription import CloudSubscription
from onet_ros.ros.frames import FrameError, TargetFrame, transform_cloud
from onet_ros.ros.node_settings import NodeSettings, ParameterError
from onet_ros.ros.parameters import NodeParameters
from onet_ros.ros.publishers import ResultPublisher
from onet_ros.ros.worker import SUPERSEDED, DroppedClouds, LatestValueWorker
from onet_ros.scene import CloudError, PlaneTracker, PointCloud, decode_point_cloud2

UP_IN_TARGET_FRAME = (0.0, 0.0, 1.0)  # of a robot's base, odometry or map, REP 103
SPIN_TIMEOUT = 0.1  # seconds until a signal is noticed
LOG_PERIOD = 10.0  # seconds between lines that say that all is well
STOP_TIMEOUT = 3.0  # seconds that a cloud in work is given at shutdown; launch gets impatient after 5


class OnetNode(Node):
    """Subscribes to `points`; publishes `~/objects`, `~/markers` and `collision_object`."""

    def __init__(self, node_name: str = "onet") -> None:
        """Declare the parameters, load the model, start to listen.

        Raises:
            ParameterError, CheckpointError, FrameError: the node cannot run as configured.
        """
        super().__init__(node_name)
        self.settings = NodeParameters(self)
        settings = self.settings.node
        self.dropped = DroppedClouds(self.get_logger().warning)
        self._published_clouds = 0
        self._reconstructor = self._load_reconstructor(settings)
        self._plane_tracker = PlaneTracker()
        self._target_frame = TargetFrame(self, settings.target_frame)
        self._results = ResultPublisher(self, settings, self.dropped.warn)
        self._worker = LatestValueWorker(self._process, lambda: self.dropped.add(SUPERSEDED))
        self._cloud_subscription = CloudSubscription(self, "points", self._worker.submit)
        self.get_logger().info(f"ready: waiting for clouds on {self.resolve_topic_name('points')}")

    def close(self) -> bool:
        """Finish the cloud in work, take published objects back, say what was done; False if it took too long."""
        finished = self._worker.stop(STOP_TIMEOUT)
        if not finished:
            self.dropped.add("unfinished at the end")
        self._results.close()
        self.get_logger().info(f"stopped: {self._published_clouds} clouds reconstructed, {self.dropped}")
        return finished

    def _load_reconstructor(self, settings: NodeSettings) -> Reconstructor:
        if settings.num_threads:
            torch.set_num_threads(settings.num_threads)
        model = Path(settings.model) if settings.model else default_model_path()
        started = time.perf_counter()
        try:
            reconstructor = Reconstructor.load(model, self.settings.reconstructor, settings.device)
        except (RuntimeError, AssertionError) as error:  # torch's two ways to say that it has no such device
            raise ParameterError(f"parameter device is {settings.device!r}: {error}") from error
        seconds = time.perf_counter() - started
        self.get_logger().info(f"loaded {model} on {settings.device} in {seconds:.1f} s")
        return reconstructor

    def _process(self, message: PointCloud2) -> None:
        """Reconstruct one cloud and publish it; a cloud that cannot be used is dropped, and the node goes on."""
        try:
            self._reconstruct_and_publish(message)
        except CloudError as error:
            self.dropped.add("invalid cloud", str(error))
        except FrameError as error:
            self.dropped.add("no transform", str(error))
        except ValueError as error:
            self.dropped.add("not reconstructed", str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours: one cloud is lost, the robot keeps its node
            self.dropped.add("internal error", f"{error!r}\n{traceback.format_exc()}")

    def _reconstruct_and_publish(self, message: PointCloud2) -> None:
        started = time.perf_counter()
        settings = self.settings.node
        cloud = decode_point_cloud2(message, settings.max_points)
        cloud_frame = f"{settings.frame_prefix}{message.header.frame_id}"
        T_target_cloud = self._target_frame.lookup(cloud_frame, message.header.stamp, settings.transform_timeout)
        header = Header(stamp=message.header.stamp, frame_id=self._target_frame.frame_id or cloud_frame)
        if not header.frame_id:
            self.dropped.warn("the clouds have no frame_id: displays and planners cannot place the objects")
        reconstruction = self._reconstruct(cloud, T_target_cloud)
        if reconstruction.plane is None:  # says nothing about the objects: what is published stays
            self.dropped.add("no support plane", "; ".join(reconstruction.failures))
            return
        for failure in reconstruction.failures:
            self.dropped.warn(f"not reconstructed: {failure}")
        latency = self._results.publish(header, reconstruction, settings, time.perf_counter() - started)
        self._published_clouds += 1
        self.get_logger().info(
            f"{len(reconstruction.objects)} objects, {1000.0 * latency:.0f} ms after the cloud's stamp",
            throttle_duration_sec=LOG_PERIOD,
        )

    def _reconstruct(self, cloud: PointCloud, T_target_cloud: NDArray[np.float64]) -> Reconstruction:
        """Reconstruct in the target frame, where the camera stands at the origin of the cloud's frame."""
        if self._reconstructor.settings is not self.settings.reconstructor:
            self._reconstructor = Reconstructor(self._reconstructor.checkpoint, self.settings.reconstructor)
        up = UP_IN_TARGET_FRAME if self._target_frame.frame_id else None
        return self._reconstructor.reconstruct(
            transform_cloud(cloud, T_target_cloud),
            viewpoint=T_target_cloud[:3, 3],
            up=up,
            tracker=self._plane_tracker,
        )


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; the exit status: 0, or 1 when it could not start."""
    stop = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop.set())
    try:
        # Our own handlers: with rclpy's the context is gone before the last messages can be sent.
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = OnetNode()
    except (ValueError, RuntimeError, OSError, ParameterException) as error:
        rclpy.logging.get_logger("onet").fatal(f"cannot start: {error}")
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stop.is_set():
        executor.spin_once(SPIN_TIMEOUT)
    finished = node.close()
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    if not finished:  # the worker cannot be ended, and tearing the interpreter down around it would crash
        sys.stderr.flush()
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
