"""All that exists while the node is configured: model, transforms, publishers, and the worker that uses them.

The executor's threads bring frames and requests; the worker takes the newest frame, so that the latency is bounded by
one frame and never grows with a queue, and what is asked in between. Only the worker touches the scene.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Header

from onet_ros.live_scene import LiveObject, LiveScene, SceneUpdate
from onet_ros.msg import ReconstructedObjects
from onet_ros.picture_scene import PictureScene
from onet_ros.reconstructor import Reconstructor
from onet_ros.resources import model_path
from onet_ros.ros import conversions
from onet_ros.ros.frames import FrameError, TargetFrame, transform_cloud
from onet_ros.ros.inputs import CameraFrame, Input, make_input
from onet_ros.ros.memory import look_at_all_again, spare_what_is_there
from onet_ros.ros.node_settings import NodeSettings, ParameterError
from onet_ros.ros.parameters import NodeParameters
from onet_ros.ros.publishers import ResultPublisher
from onet_ros.ros.statistics import (
    INTERNAL_ERROR,
    INVALID,
    NO_PLANE,
    NO_TRANSFORM,
    NOT_ASKED_FOR,
    NOT_RECONSTRUCTED,
    OUT_OF_ORDER,
    STOPPED,
    SUPERSEDED,
    TIME_JUMPED,
    FrameStatistics,
)
from onet_ros.ros.worker import LatestValueWorker, WorkerBusyError
from onet_ros.scene import CloudError, PictureError, PointCloud, RegionOfInterest, StampOrder, SupportPlane
from onet_ros.stopwatch import Stopwatch

Result = TypeVar("Result")

UP_IN_TARGET_FRAME = (0.0, 0.0, 1.0)  # of a robot's base, odometry or map, REP 103
MAP_VIEW_HEIGHT = 1.0  # metres over the highest cell of a map, in its middle: region.max_range counts from there
LOG_PERIOD = 10.0  # seconds between lines that say that all is well


class NoPlaneError(ValueError):
    """A cloud that shows no support plane."""


class Pipeline:
    """From frames to messages.

    Args:
        node: whose topics, clock and logger are used.
        parameters: as they are now; settings that can change are read anew for each frame.
        statistics: told what became of each frame.

    Raises:
        ParameterError, CheckpointError, FrameError, FileNotFoundError: the node cannot run as configured.
    """

    def __init__(self, node: Node, parameters: NodeParameters, statistics: FrameStatistics) -> None:
        self._node, self._parameters, self._statistics = node, parameters, statistics
        settings = parameters.node
        self.model = Path(settings.model).expanduser() if settings.model else model_path(settings.mode)
        self._worker: LatestValueWorker[CameraFrame] = LatestValueWorker(
            self._process, lambda _: statistics.drop(STOPPED if self._input is None else SUPERSEDED)
        )
        try:
            # By the one thread that works with it: OpenMP keeps a team for each thread that uses torch, and lets those
            # of more threads than there are cores sleep between any two operations (a tenth of the time of a cloud).
            reconstructor = self._worker.call(lambda: self._load(settings)).result()
        except BaseException:
            self._worker.stop(0.0)
            raise
        self._scene: LiveScene | PictureScene = (
            PictureScene(reconstructor) if settings.mode == "image" else LiveScene(reconstructor)
        )
        self._order = StampOrder()
        self._frame_id = ""
        self._newest: CameraFrame | None = None
        self._newest_came = threading.Condition()
        self._input: Input | None = None
        self.target_frame = TargetFrame(node, settings.target_frame)
        self._results = ResultPublisher(node, settings, statistics.warnings.warn)
        spare_what_is_there()

    def _load(self, settings: NodeSettings) -> Reconstructor:
        if settings.num_threads:
            torch.set_num_threads(settings.num_threads)
        started = time.perf_counter()
        try:
            reconstructor = Reconstructor.load(self.model, self._parameters.reconstructor, settings.device)
        except (RuntimeError, AssertionError) as error:  # torch's two ways to say that it has no such device
            raise ParameterError(f"parameter device is {settings.device!r}: {error}") from error
        if reconstructor.observes != settings.mode:
            raise ParameterError(
                f"parameter mode is {settings.mode!r}, but the network in {self.model} observes "
                f"{reconstructor.observes}"
            )
        seconds = time.perf_counter() - started
        self._node.get_logger().info(
            f"loaded {self.model} on {settings.device} in {seconds:.1f} s; warming up, which takes about a minute the "
            "first time on a machine"
        )
        reconstructor.warm_up()
        return reconstructor

    # -- states -------------------------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether it listens to its input."""
        return self._input is not None

    def activate(self) -> None:
        """Start to listen."""
        self._input = make_input(self._node, self._parameters.node, self._statistics, self._on_frame)
        self._node.get_logger().info(f"ready: waiting for input on {self._input.describe()}")

    def deactivate(self) -> None:
        """Listen no more. What is known stays known, and what is published stays out there."""
        closing, self._input = self._input, None
        if closing is not None:
            closing.close()
        if self._worker.take_back() is not None:
            self._statistics.drop(STOPPED)
        with self._newest_came:
            self._newest = None
            self._newest_came.notify_all()

    def close(self, timeout: float) -> bool:
        """Finish what is in work, take published objects back, release the model; False if it took too long."""
        self.deactivate()
        self.target_frame.close()
        finished = self._worker.stop(timeout)
        self._results.close()
        if finished:
            del self._scene
            look_at_all_again()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return finished

    # -- frames -------------------------------------------------------------------------------------------------------

    def _on_frame(self, frame: CameraFrame) -> None:
        with self._newest_came:
            self._newest = frame
            self._newest_came.notify_all()
        if self._parameters.node.continuous:
            self._worker.submit(frame)
        else:
            self._statistics.drop(NOT_ASKED_FOR)

    def _process(self, frame: CameraFrame) -> None:
        """Work on one frame; one that cannot be used is dropped, and the node goes on."""
        jumped, in_order = self._order.check(self._stamp(frame))
        if jumped:
            self._forget("the stamps of the input jumped back")
        if not in_order:
            self._statistics.drop(OUT_OF_ORDER, "a cloud came after one that was taken later")
            return
        try:
            self._publish(frame, Stopwatch())
        except (CloudError, PictureError) as error:
            self._statistics.drop(INVALID, str(error))
        except FrameError as error:
            self._statistics.drop(NO_TRANSFORM, str(error))
        except NoPlaneError as error:
            self._statistics.drop(NO_PLANE, str(error))
        except ValueError as error:
            self._statistics.drop(NOT_RECONSTRUCTED, str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours: one cloud is lost, the robot keeps its node
            self._statistics.drop(INTERNAL_ERROR, f"{error!r}\n{traceback.format_exc()}")

    def _publish(self, frame: CameraFrame, watch: Stopwatch) -> None:
        started = time.perf_counter()
        header, update = self._update(frame, watch)
        if update.plane is None and not isinstance(self._scene, PictureScene):
            if update.vanished:  # of old age: a cloud without a table takes no object away by itself
                self._results.publish(header, update, self._parameters.node, time.perf_counter() - started)
            raise NoPlaneError("; ".join(update.failures))
        for failure in update.failures:
            self._statistics.error(f"not reconstructed: {failure}", kind="not reconstructed")
        seconds = time.perf_counter() - started
        message = self._results.publish(header, update, self._parameters.node, seconds)
        self._statistics.publish(message.latency, seconds)
        self._node.get_logger().info(
            f"{len(update.objects)} objects, {len(update.completed)} completed anew, "
            f"{1000.0 * message.latency:.0f} ms after the cloud's stamp",
            throttle_duration_sec=LOG_PERIOD,
        )

    def _update(
        self, frame: CameraFrame, watch: Stopwatch, everything: bool = False, region: RegionOfInterest | None = None
    ) -> tuple[Header, SceneUpdate]:
        """The scene after a frame, in the target frame, where the camera stands at the origin of the frame's own."""
        settings = self._parameters.node
        self._adopt_settings()
        if isinstance(self._scene, PictureScene):
            return self._pictured(self._scene, frame, watch, everything, region)
        with watch.stage("decode"):
            cloud = frame.cloud()
            labels = None if frame.labels is None else frame.labels()
        with watch.stage("transform"):
            T_target_camera, header = self._placed(frame)
            cloud = transform_cloud(cloud, T_target_camera)
        self._notice_frame(header.frame_id)
        viewpoint, up = self._viewed(frame, cloud, T_target_camera)
        update = self._scene.update(
            cloud,
            self._stamp(frame),
            viewpoint=viewpoint,
            up=up,
            labels=labels,
            fixed_frame=frame.of_map or bool(settings.target_frame) or settings.static_camera,
            everything=everything,
            region=region,
            watch=watch,
        )
        return header, update

    def _viewed(
        self, frame: CameraFrame, cloud: PointCloud, T_target_camera: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], tuple[float, float, float] | None]:
        """From where a cloud was seen, (3,) target frame, and what is up in it, where that is known."""
        if frame.of_map:  # by nobody: it is looked down at
            points = cloud.valid_points.astype(np.float64)
            return np.append(points[:, :2].mean(axis=0), points[:, 2].max() + MAP_VIEW_HEIGHT), UP_IN_TARGET_FRAME
        return T_target_camera[:3, 3], UP_IN_TARGET_FRAME if self._parameters.node.target_frame else None

    def _pictured(
        self,
        scene: PictureScene,
        frame: CameraFrame,
        watch: Stopwatch,
        everything: bool,
        region: RegionOfInterest | None,
    ) -> tuple[Header, SceneUpdate]:
        """The same for a picture."""
        settings = self._parameters.node
        if frame.picture is None:
            raise CloudError("mode image works on pictures with their masks, and not on clouds")
        with watch.stage("decode"):
            picture = frame.picture()
        with watch.stage("transform"):
            T_target_camera, header = self._placed(frame)
        self._notice_frame(header.frame_id)
        table = None
        if settings.target_frame:
            floor = SupportPlane(np.array(UP_IN_TARGET_FRAME), -settings.table_height)
            table = floor.transformed(np.linalg.inv(T_target_camera))
        update = scene.update(
            picture,
            self._stamp(frame),
            T_target_camera if settings.target_frame else None,
            table,
            everything=everything,
            region=region,
            watch=watch,
        )
        return header, update

    def _placed(self, frame: CameraFrame) -> tuple[NDArray[np.float64], Header]:
        """T_target_camera (4, 4) of a frame, and the header of what comes of it.

        Raises:
            FrameError: tf2 does not know it in time.
        """
        settings = self._parameters.node
        camera = f"{settings.frame_prefix}{frame.frame_id}" if frame.frame_id else ""
        T_target_camera = self.target_frame.lookup(camera, frame.stamp, settings.transform_timeout)
        return T_target_camera, Header(stamp=frame.stamp, frame_id=settings.target_frame or camera)

    def _adopt_settings(self) -> None:
        reconstructor = self._scene.reconstructor
        if reconstructor.settings is not self._parameters.reconstructor:
            self._scene.reconstructor = Reconstructor(reconstructor.checkpoint, self._parameters.reconstructor)

    def _notice_frame(self, frame_id: str) -> None:
        if not frame_id:
            self._statistics.warnings.warn(
                "the input has no frame_id: displays and planners cannot place the objects in any frame"
            )
        if self._frame_id != frame_id:
            if self._frame_id:
                self._forget(f"the frame of the input changed from {self._frame_id!r} to {frame_id!r}")
            self._frame_id = frame_id

    def _stamp(self, frame: CameraFrame) -> int:
        """Nanoseconds; of now where the camera gives none."""
        return frame.nanoseconds or int(self._node.get_clock().now().nanoseconds)

    # -- requests, from other threads than the worker's ----------------------------------------------------------------

    def newest_frame(self, not_before: int, timeout: float, is_cancelled: Callable[[], bool]) -> CameraFrame | None:
        """The newest frame, if it is not older than a stamp (nanoseconds); otherwise the first one that is not.

        None when there is none within `timeout` seconds, or the node is deactivated or the request cancelled meanwhile.
        """
        deadline = time.monotonic() + timeout
        with self._newest_came:
            while self.active and not is_cancelled():
                if self._newest is not None and self._newest.nanoseconds >= not_before:
                    return self._newest
                left = deadline - time.monotonic()
                if left <= 0.0:
                    return None
                self._newest_came.wait(min(left, 0.05))
        return None

    def call(self, job: Callable[[], Result]) -> Future[Result]:
        """Have a job done by the worker; see `LatestValueWorker.call`."""
        return self._worker.call(job)

    def reconstruct_now(
        self, frame: CameraFrame, region: RegionOfInterest | None, watch: Stopwatch
    ) -> tuple[ReconstructedObjects, list[str]]:
        """A job: complete all that a frame of the node's own input shows, and publish it.

        Returns:
            The message, with what the frame shows in the region only; and what could not be completed.

        Raises:
            NoPlaneError, CloudError, FrameError: the frame cannot be used.
        """
        started = time.perf_counter()
        header, update = self._update(frame, watch, everything=True, region=region)
        if update.plane is None and not isinstance(self._scene, PictureScene):
            raise NoPlaneError("; ".join(update.failures))
        seconds = time.perf_counter() - started
        message = self._results.publish(header, update, self._parameters.node, seconds)
        answer = conversions.to_objects_msg(
            header,
            update.plane,
            [item for item in message.objects if item.id in update.completed],
            message.latency,
            seconds,
            update.timings,
        )
        return answer, update.failures

    def reconstruct_apart(
        self, frame: CameraFrame, region: RegionOfInterest | None, watch: Stopwatch
    ) -> tuple[ReconstructedObjects, list[str]]:
        """A job: the same for a frame that is not of the node's input; nothing is remembered or published."""
        started = time.perf_counter()
        self._adopt_settings()
        cloud, labels = frame.cloud(), None if frame.labels is None else frame.labels()
        T_target_camera, header = self._placed(frame)
        found = self._scene.reconstructor.reconstruct(
            transform_cloud(cloud, T_target_camera),
            viewpoint=T_target_camera[:3, 3],
            up=UP_IN_TARGET_FRAME if self.target_frame.frame_id else None,
            labels=labels,
            watch=watch,
        )
        if found.plane is None:
            raise NoPlaneError("; ".join(found.failures))
        stamp = frame.nanoseconds
        inside = [item for item in found.objects if region is None or region.contains(item.T_source_object[:3, 3])]
        objects = [LiveObject(number, item, stamp, stamp, stamp, True, 1, "") for number, item in enumerate(inside)]
        latency = conversions.seconds_since(frame.stamp, self._node.get_clock().now())
        message = conversions.to_objects_msg(
            header,
            found.plane,
            [conversions.to_object_msg(item, self._parameters.node.publish_unreliable_meshes) for item in objects],
            latency,
            time.perf_counter() - started,
            found.timings,
        )
        return message, found.failures

    def known_objects(self) -> tuple[str, list[LiveObject]]:
        """A job: the frame of the objects, and the objects."""
        return self._frame_id, self._scene.objects()

    @property
    def scene(self) -> LiveScene | PictureScene:
        """For jobs: what is known."""
        return self._scene

    def clear(self) -> int:
        """A job: forget all objects and take them back from displays and planners; how many there were."""
        count = len(self._scene.clear())
        self._results.clear()
        return count

    # -- time ---------------------------------------------------------------------------------------------------------

    def time_jumped(self, reason: str) -> None:
        """Time jumped back: nothing from before it counts."""
        if self._input is not None:
            self._input.forget(TIME_JUMPED)
        if self._worker.take_back() is not None:
            self._statistics.drop(TIME_JUMPED)
        try:
            self._worker.call(lambda: self._start_anew(reason))
        except WorkerBusyError:  # the order of the stamps will tell
            self._statistics.warnings.warn(f"{reason}, and the worker is too busy to forget what it knows")

    def _start_anew(self, reason: str) -> None:
        self._order.forget()
        self._forget(reason)

    def _forget(self, reason: str) -> None:
        count = self.clear()
        self.target_frame.clear()
        self._statistics.warnings.warn(f"{reason}: {count} objects and all transforms are forgotten")
