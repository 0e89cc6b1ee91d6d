"""What others can ask of the node: to reconstruct now, to forget, to save meshes, to say what is where.

Every answer comes, also from a node that is not configured: with `success` false and the reason. Callbacks wait for
the worker in threads of the executor, each kind in a callback group of its own, so that one that takes long holds up no
other.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.node import Node
from std_srvs.srv import Trigger

from onet_ros import action, srv
from onet_ros.object_files import FORMATS, ObjectFileSettings, save_objects
from onet_ros.ros.frames import FrameError
from onet_ros.ros.inputs import CameraFrame, cloud_frame, nanoseconds
from onet_ros.ros.parameters import NodeParameters
from onet_ros.ros.pipeline import Pipeline
from onet_ros.ros.serialization import put_array, take_array
from onet_ros.ros.statistics import FrameStatistics
from onet_ros.ros.worker import WorkerBusyError
from onet_ros.scene import RegionOfInterest
from onet_ros.stopwatch import Stopwatch

DEFAULT_TIMEOUT = 5.0  # seconds to wait for a cloud
REQUEST_TIMEOUT = 120.0  # seconds that the worker has for a request
FEEDBACK_PERIOD = 0.1  # seconds between two messages on how far an action is
GOAL_START_TIMEOUT = 5.0  # seconds from a goal's acceptance to its start, after which it is taken for lost
RESULT_TIMEOUT = 10  # seconds that an action's result, with all its meshes, is kept for who asks late; rclpy: 900


class RequestError(ValueError):
    """A request that cannot be answered as asked; says why."""


class Cancelled(Exception):  # noqa: N818 - it is no error
    """Whoever asked does not want the answer any more."""


class OneAtATime:
    """Who is next, from any thread: a goal holds the place from its acceptance, long before it begins, to its end.

    Args:
        patience: seconds after which an accepted goal that has not begun is taken for lost: one whose client went away
            before it was told of its acceptance is never begun.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._promised_until = float("-inf")
        self._running = 0

    def promise(self) -> bool:
        """Take the place, if it is free."""
        with self._lock:
            now = time.monotonic()
            if self._running or now < self._promised_until:
                return False
            self._promised_until = now + self._patience
            return True

    def begin(self) -> None:
        """The one who was promised the place begins."""
        with self._lock:
            self._promised_until = float("-inf")
            self._running += 1

    def end(self) -> None:
        """The place is free again."""
        with self._lock:
            self._running -= 1


class Requests:
    """The services `~/reconstruct`, `~/clear`, `~/save_meshes` and `~/query_occupancy`, and the action `~/reconstruct`.

    Args:
        node: that offers them.
        parameters: as they are now.
        statistics: told of each request.
        pipeline: function that gives the pipeline, or raises RequestError with the reason why there is none.
    """

    def __init__(
        self, node: Node, parameters: NodeParameters, statistics: FrameStatistics, pipeline: Callable[[], Pipeline]
    ) -> None:
        self._node, self._parameters, self._statistics, self._pipeline = node, parameters, statistics, pipeline
        self._goals = OneAtATime(GOAL_START_TIMEOUT)
        for name, service_type, answer in (
            ("reconstruct", srv.Reconstruct, self._reconstruct),
            ("clear", Trigger, self._clear),
            ("save_meshes", srv.SaveMeshes, self._save_meshes),
            ("query_occupancy", srv.QueryOccupancy, self._query_occupancy),
        ):
            node.create_service(
                service_type,
                f"~/{name}",
                self._answering(name, answer),
                callback_group=MutuallyExclusiveCallbackGroup(),
            )
        self._action = ActionServer(
            node,
            action.Reconstruct,
            "~/reconstruct",
            execute_callback=self._execute,
            goal_callback=self._accept_goal,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
            result_timeout=RESULT_TIMEOUT,
        )

    def close(self) -> None:
        """Take no more goals. The services end with the node."""
        self._action.destroy()

    def _answering(self, name: str, answer: Callable[[Any, Any], None]) -> Callable[[Any, Any], Any]:
        """The callback of a service: counts the request, and says why where it cannot be answered."""

        def callback(request: Any, response: Any) -> Any:
            self._statistics.answer(name)
            try:
                answer(request, response)
            except Exception as error:  # noqa: BLE001 - whoever asked has to get an answer, whatever went wrong
                response.success, response.message = False, self._reason(name, error)
            return response

        return callback

    def _reason(self, name: str, error: BaseException) -> str:
        """A sentence for the one who asked; faults of ours are logged as well."""
        if isinstance(error, concurrent.futures.CancelledError):
            return "the node is stopping"
        if isinstance(error, concurrent.futures.TimeoutError | TimeoutError):
            return f"no answer within {REQUEST_TIMEOUT:g} s"
        if isinstance(error, (ValueError, FrameError, OSError, WorkerBusyError)):
            return str(error)
        self._statistics.error(f"internal error in ~/{name}: {error!r}", kind=f"internal error in ~/{name}")
        return f"internal error: {error!r}"

    # -- reconstruct --------------------------------------------------------------------------------------------------

    def _reconstruct(self, request: srv.Reconstruct.Request, response: srv.Reconstruct.Response) -> None:
        response.result, failures = self._reconstructed(request, Stopwatch(), lambda: False)
        response.success, response.message = True, "; ".join(failures)

    def _reconstructed(self, request: Any, watch: Stopwatch, is_cancelled: Callable[[], bool]) -> Any:
        """The message, and what could not be completed; the request is that of the service, or the action's goal."""
        pipeline, region = self._pipeline(), _region(request)
        timeout = request.timeout or DEFAULT_TIMEOUT
        if not 0.0 < timeout < 3600.0:
            raise RequestError(f"timeout must be between 0 and 3600 s, got {timeout}")
        mask = request.mask if request.mask.height * request.mask.width else None
        if request.cloud.height * request.cloud.width:
            frame = cloud_frame(request.cloud, self._parameters.node.max_points, mask)
            job = pipeline.call(lambda: pipeline.reconstruct_apart(frame, region, watch))
        else:
            newest = self._newest_frame(pipeline, request.not_before, timeout, is_cancelled)
            frame = newest if mask is None else newest.with_mask(lambda: mask)
            job = pipeline.call(lambda: pipeline.reconstruct_now(frame, region, watch))
        return job.result(REQUEST_TIMEOUT)

    def _newest_frame(
        self, pipeline: Pipeline, not_before: Time, timeout: float, is_cancelled: Callable[[], bool]
    ) -> CameraFrame:
        if not pipeline.active:
            raise RequestError("the node is inactive and has no input: activate it, or send a cloud with the request")
        frame = pipeline.newest_frame(nanoseconds(not_before), timeout, is_cancelled)
        if frame is not None:
            return frame
        if is_cancelled():
            raise Cancelled
        wanted = f" stamped {not_before.sec}.{not_before.nanosec:09d} or later" if nanoseconds(not_before) else ""
        raise RequestError(f"no input{wanted} came within {timeout:g} s")

    def _accept_goal(self, goal: action.Reconstruct.Goal) -> GoalResponse:
        if not self._goals.promise():
            self._node.get_logger().warning("a goal of ~/reconstruct is refused: another one is being worked on")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _execute(self, goal: Any) -> action.Reconstruct.Result:
        """The action: the same as the service, with feedback, and cancelled between two stages."""
        self._statistics.answer("reconstruct (action)")
        self._goals.begin()
        started, told = time.monotonic(), 0.0

        def on_stage(stage: str) -> None:
            nonlocal told
            if goal.is_cancel_requested:
                raise Cancelled
            elapsed = time.monotonic() - started
            if elapsed - told >= FEEDBACK_PERIOD or not told:
                told = elapsed
                goal.publish_feedback(action.Reconstruct.Feedback(stage=stage, elapsed=elapsed))

        result = action.Reconstruct.Result()
        try:
            on_stage("waiting for a cloud")
            result.result, failures = self._reconstructed(
                goal.request, Stopwatch(on_stage), lambda: bool(goal.is_cancel_requested)
            )
            result.success, result.message = True, "; ".join(failures)
            goal.succeed()
        except Cancelled:
            result.message = "cancelled"
            goal.canceled()
        except Exception as error:  # noqa: BLE001 - as for the services
            result.message = self._reason("reconstruct", error)
            goal.abort()
        finally:
            self._goals.end()
        return result

    # -- the others ---------------------------------------------------------------------------------------------------

    def _clear(self, _: Trigger.Request, response: Trigger.Response) -> None:
        pipeline = self._pipeline()
        count = pipeline.call(pipeline.clear).result(REQUEST_TIMEOUT)
        response.success, response.message = True, f"{count} objects forgotten"

    def _save_meshes(self, request: srv.SaveMeshes.Request, response: srv.SaveMeshes.Response) -> None:
        pipeline, settings = self._pipeline(), self._parameters.node
        files = ObjectFileSettings(
            format=_one_of(request.format or settings.files.format, FORMATS),
            urdf=settings.files.urdf,
            density=request.density or settings.files.density,
        )
        frame_id, objects = pipeline.call(pipeline.known_objects).result(REQUEST_TIMEOUT)
        shapes = {item.number: item.shape for item in objects}
        _check_known(request.ids, shapes)
        if not shapes:
            raise RequestError("no objects are known")
        folder = self._folder(request.directory)
        chosen = {number: shapes[number] for number in (request.ids or shapes)}
        stamp = max(item.last_seen for item in objects if item.number in chosen)
        response.files = [str(path) for path in save_objects(folder, chosen, frame_id, stamp, files)]
        response.success, response.message = True, f"{len(chosen)} objects in {folder}"

    def _folder(self, directory: str) -> Path:
        if directory:
            folder = Path(directory).expanduser()
            if not folder.is_absolute():
                raise RequestError(f"directory must be an absolute path on the node's machine, got {directory!r}")
            return folder
        return Path(self._parameters.node.save_directory).expanduser().absolute() / time.strftime("%Y-%m-%d_%H-%M-%S")

    def _query_occupancy(self, request: srv.QueryOccupancy.Request, response: srv.QueryOccupancy.Response) -> None:
        pipeline, settings = self._pipeline(), self._parameters.node
        flat = take_array(request, "points")
        if len(flat) % 3:
            raise RequestError(f"points are x, y, z one after the other, got {len(flat)} numbers")
        points = flat.reshape(-1, 3).astype(np.float64)
        if len(points) > settings.max_points:
            raise RequestError(f"{len(points)} points exceed the limit of {settings.max_points} (parameter max_points)")
        if not np.isfinite(points).all():
            raise RequestError(
                f"{int((~np.isfinite(points).all(axis=1)).sum())} of {len(points)} points are not finite"
            )
        results_frame, _ = pipeline.call(pipeline.known_objects).result(REQUEST_TIMEOUT)
        points = _brought(pipeline, points, request.frame_id, results_frame, settings.transform_timeout)

        def job() -> dict[int, np.ndarray]:
            known = [item.number for item in pipeline.scene.objects()]
            _check_known(request.ids, known)
            return pipeline.scene.occupancy(points, list(request.ids) or None)

        answers = pipeline.call(job).result(REQUEST_TIMEOUT)
        probability, most_probable = _most_probable(answers, len(points))
        put_array(response, "probability", probability)
        put_array(response, "most_probable", most_probable)
        response.success = True


def _region(request: Any) -> RegionOfInterest | None:
    if not request.use_region:
        return None
    low, high = ((point.x, point.y, point.z) for point in (request.region_min, request.region_max))
    try:
        return RegionOfInterest(minimum=low, maximum=high)
    except ValueError as error:
        raise RequestError(f"region_min and region_max are no box: {error}") from error


def _one_of(value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise RequestError(f"format must be one of {', '.join(choices)}, got {value!r}")
    return value


def _check_known(asked: Iterable[int], known: Collection[int]) -> None:
    unknown = [number for number in asked if number not in known]
    if unknown:
        there = ", ".join(map(str, sorted(known))) or "none"
        raise RequestError(f"no object {unknown[0]}: there are {there}")


def _brought(pipeline: Pipeline, points: np.ndarray, frame_id: str, results_frame: str, timeout: float) -> np.ndarray:
    """Points (N, 3) of a frame in the frame of the results, by the newest transform."""
    if frame_id in ("", results_frame):
        return points
    if not pipeline.target_frame.frame_id:
        raise RequestError(
            f"points are in {frame_id!r}, objects in {results_frame!r}, and without parameter target_frame there are "
            "no transforms"
        )
    T_target_points = pipeline.target_frame.lookup(frame_id, Time(), timeout)
    return points @ T_target_points[:3, :3].T + T_target_points[:3, 3]


def _most_probable(answers: dict[int, np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) float32 the highest probability of any object, (N,) int64 that object; -1 where none was looked for."""
    if not answers:
        return np.zeros(count, np.float32), np.full(count, -1, np.int64)
    numbers, table = np.array(list(answers), dtype=np.int64), np.stack(list(answers.values()))
    best = table.argmax(axis=0)
    probability = table[best, np.arange(count)]
    return probability, np.where(probability > 0.0, numbers[best], -1)
