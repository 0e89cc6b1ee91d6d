"""The whole chain in one command: a depth camera and the node as processes of their own, and what came back over DDS.

    onet demo
    onet demo --cloud capture.npz

Writes picture.png, meshes/*.ply, report.json and the logs of both processes, and prints how good each object became.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from tqdm import tqdm

from onet_ros.msg import ReconstructedObjects
from onet_ros.pictures import reconstruction_picture, save_picture
from onet_ros.ros import conversions
from onet_ros.ros.camera_sources import CameraSource, recorded_source, simulated_source
from onet_ros.ros.collector import Collector, ReceivedObject, stamp_of
from onet_ros.ros.comparison import ComparedObject, compare_objects, format_table, rows_as_json
from onet_ros.ros.demo_arguments import add_demo_arguments
from onet_ros.ros.processes import NodeProcess, private_domain
from onet_ros.scene import decode_point_cloud2

SETTLE_TIME = (1.0, 10.0)  # seconds, least and most, until planners were told of the last message


class DemoError(RuntimeError):
    """The demo did not come to a result; the message says what to look at."""


@dataclass(frozen=True)
class DemoResult:
    """What came back: the last message with objects, and the cloud that it was made from."""

    message: ReconstructedObjects
    objects: dict[int, ReceivedObject]
    points: NDArray[np.float32]  # (H, W, 3) metres, NaN where missing
    latencies: list[float]  # seconds, of all messages
    planning_scene: dict[str, Any] | None  # None without moveit_msgs


def run_demo(arguments: argparse.Namespace) -> int:
    """Run the demo; the exit status: 0, or 1 when no reconstruction came back."""
    (arguments.out / "meshes").mkdir(parents=True, exist_ok=True)
    for leftover in (arguments.out / "meshes").glob("*.ply"):
        leftover.unlink()
    try:
        source = _camera_source(arguments)
        result = _run_processes(arguments)
    except (DemoError, ValueError, OSError) as error:
        print(f"demo failed: {error}")
        return 1
    rows = compare_objects(
        {number: item.mesh for number, item in result.objects.items()},
        {number: item.size for number, item in result.objects.items()},
        source.truth,
        source.visible_fractions,
    )
    _write_results(arguments.out, source, result, rows)
    print(format_table(rows, result.message.latency))
    if not source.truth:
        print("no truth is known for this capture: sizes and meshes only")
    if result.planning_scene is None:
        print("collision objects: not checked, moveit_msgs is not installed")
    else:
        print(f"collision objects in the planning scene: {len(result.planning_scene)}")
    print(f"wrote {arguments.out / 'picture.png'}, {arguments.out / 'report.json'} and {len(result.objects)} meshes")
    return 0


def _camera_source(arguments: argparse.Namespace) -> CameraSource:
    if arguments.cloud:
        return recorded_source(arguments.cloud, arguments.truth_meshes)
    return simulated_source(arguments.seed, arguments.objects)


def _run_processes(arguments: argparse.Namespace) -> DemoResult:
    """Start the node and the camera, collect what the node publishes, stop both."""
    camera_arguments = ["--rate", str(arguments.rate)]
    if arguments.cloud:
        camera_arguments += ["--cloud", str(arguments.cloud)]
    else:
        camera_arguments += ["--seed", str(arguments.seed), "--objects", str(arguments.objects)]
    parameters = [f"device:={json.dumps(arguments.device)}"]
    if arguments.model:
        parameters.append(f"model:={json.dumps(str(arguments.model))}")
    node_arguments = ["--ros-args", *(word for parameter in parameters for word in ("-p", parameter))]
    with contextlib.ExitStack() as stack:
        domain = stack.enter_context(private_domain())
        print(f"DDS domain {domain}, this machine only; logs in {arguments.out}")
        node = NodeProcess("onet_ros.ros.node", node_arguments, arguments.out / "node.log")
        stack.callback(node.stop)
        camera = NodeProcess("onet_ros.ros.depth_camera", camera_arguments, arguments.out / "camera.log")
        stack.callback(camera.stop)
        rclpy.init(args=[])
        stack.callback(rclpy.try_shutdown)
        return _collect([node, camera], arguments.results, arguments.timeout)


def _collect(processes: list[NodeProcess], wanted: int, timeout: float) -> DemoResult:
    """Wait for `wanted` messages with objects, telling what is being waited for.

    Raises:
        DemoError: a process ended, or the time was over.
    """
    collector = Collector()
    executor = SingleThreadedExecutor()
    executor.add_node(collector)
    deadline = time.monotonic() + timeout
    filled: list[ReconstructedObjects] = []
    with tqdm(total=wanted, unit="cloud", disable=None) as progress:
        state = ""
        # Topics are discovered one by one: the first objects can be here before the first cloud is.
        while len(filled) < wanted or not collector.clouds:
            executor.spin_once(timeout_sec=0.1)
            filled = [message for message in collector.results if message.objects]
            progress.update(min(len(filled), wanted) - progress.n)
            if state != (state := _state(collector)):
                progress.write(state)
            for process in processes:
                if process.exit_code is not None:
                    raise DemoError(f"a process ended ({process.exit_code}); {process.log_file}:\n{process.log(12)}")
            refusal = _refusal(collector)
            if refusal:
                raise DemoError(f"the node is not running: {refusal}")
            if time.monotonic() > deadline:
                logs = "\n".join(f"{process.log_file}:\n{process.log(6)}" for process in processes)
                raise DemoError(
                    f"only {len(filled)} of {wanted} reconstructions within {timeout:.0f} s. {state}: "
                    f"{len(collector.clouds)} clouds and {len(collector.results)} messages came, "
                    f"{len(filled)} with objects.\n{logs}"
                )
    _settle(executor, collector)
    return _result(collector, filled[:wanted])


def _refusal(collector: Collector) -> str:
    """Why the node could not be configured, as it says itself; empty while nothing is wrong."""
    statuses = [status for status in collector.diagnostics.values() if status.name.endswith("onet: reconstruction")]
    for status in statuses:
        state = {value.key: value.value for value in status.values}.get("state")
        if status.level == DiagnosticStatus.ERROR and state == "unconfigured":
            return str(status.message)
    return ""


def _state(collector: Collector) -> str:
    if collector.results:
        return "reconstructing"
    return "waiting for the first reconstruction" if collector.clouds else "waiting for the node and the camera"


def _settle(executor: SingleThreadedExecutor, collector: Collector) -> None:
    """Take in what was published right after the last message: on a busy machine that needs a while to come."""
    started = time.monotonic()
    while time.monotonic() < started + SETTLE_TIME[0] or (
        conversions.CollisionObject is not None
        and len(collector.planning_scene()) != len(collector.results[-1].objects)
        and time.monotonic() < started + SETTLE_TIME[1]
    ):
        executor.spin_once(timeout_sec=0.1)


def _result(collector: Collector, messages: list[ReconstructedObjects]) -> DemoResult:
    message = messages[-1]
    # The table stands still: should its own cloud have been forgotten, or never come, the newest shows the same.
    cloud = collector.clouds.get(stamp_of(message)) or list(collector.clouds.values())[-1]
    return DemoResult(
        message=message,
        objects={item.id: ReceivedObject.from_msg(item) for item in message.objects},
        points=decode_point_cloud2(cloud).points,
        latencies=[received.latency for received in messages],
        planning_scene=None if conversions.CollisionObject is None else collector.planning_scene(),
    )


def _write_results(folder: Path, source: CameraSource, result: DemoResult, rows: list[ComparedObject]) -> None:
    names = {row.number: row.name for row in rows if row.number is not None}
    for number, item in result.objects.items():
        item.mesh.export(folder / "meshes" / f"{names[number].replace(' ', '_')}.ply")
    colours = source.frame(0).colours
    picture = reconstruction_picture(
        result.points,
        [item.mesh for item in result.objects.values()],
        [item.confidence for item in result.objects.values()],
        truth=list(source.truth.values()) or None,
        plane=np.asarray(result.message.support_plane) if result.message.has_support_plane else None,
        rgb=colours if colours is not None and colours.shape[0] > 1 else None,  # one row is no picture
    )
    save_picture(folder / "picture.png", picture)
    report = {
        "objects": rows_as_json(rows),
        "latency": result.message.latency,
        "latencies": result.latencies,
        "processing_time": result.message.processing_time,
        "frame_id": result.message.header.frame_id,
        "planning_scene": None if result.planning_scene is None else sorted(result.planning_scene),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")


def main() -> int:
    """Run the demo without the command `onet`."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.splitlines()[0] if __doc__ else "")
    add_demo_arguments(parser)
    return run_demo(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
