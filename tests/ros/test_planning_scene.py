"""A planner in a process of its own is told of objects and table, on the topic and by the service, and believes all."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")
pytest.importorskip("moveit_msgs", reason="moveit_msgs is not installed")

from moveit_msgs.msg import AttachedCollisionObject, CollisionObject
from rclpy.qos import QoSProfile
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from onet_ros.msg import CollisionPieces
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.processes import NodeProcess

pytestmark = pytest.mark.ros

FRAME = "camera_depth_optical_frame"


class Planner:
    """`planner.py` in a process, and what it says."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._log = folder / f"planner{len(list(folder.glob('planner*')))}.jsonl"
        command = [sys.executable, str(Path(__file__).with_name("planner.py")), "--frames", FRAME, *arguments]
        self._process = subprocess.Popen(command, stdout=self._log.open("w"))

    @property
    def said(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.endswith("}")]

    def did(self, operation: str) -> list[str]:
        """Names, in order."""
        return [line["id"] for line in self.said if line.get("op") == operation]

    @property
    def faults(self) -> list[dict[str, Any]]:
        return [line for line in self.said if "fault" in line]

    def stop(self) -> None:
        """Let it end by itself: one that is killed may hold a lock of Fast DDS in shared memory, for which other nodes
        of the domain wait for good."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(20.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise


@contextlib.contextmanager
def running(
    namespace: str, session: Any, checkpoint: Path, folder: Path, planner: list[str], **parameters: Any
) -> Iterator[tuple[NodeProcess, Any, Planner]]:
    """A node, somebody who sends clouds to it, and a planner."""
    parameters = {
        "model": checkpoint,
        "completion.carve": "false",
        "num_threads": 1,
        "extraction.start_resolution": 16,
        "extraction.max_triangles": 600,
        "tracking.keep_missing": 0.0,
        **{name.replace("__", "."): value for name, value in parameters.items()},
    }
    arguments = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    client, listener = type(session)(namespace), Planner(folder, "--ns", namespace, *planner)
    process = NodeProcess("onet_ros.ros.node", ["--ros-args", "-r", f"__ns:={namespace}", *arguments], folder / "node")
    try:
        client.wait_until(lambda: "ready: waiting for input" in process.log(), process, timeout=60.0)
        client.wait_until(lambda: "messages on" in process.log() and "come reliably" in process.log(), process)
        client.meet(process)
        client.wait_until(lambda: bool(listener.said), process, timeout=30.0)
        yield process, client, listener
    finally:
        exit_code = process.stop()
        listener.stop()
        client.close()
    assert exit_code == 0, process.log()
    assert "Traceback" not in process.log(), process.log()
    assert not listener.faults


def cloud(points: np.ndarray) -> Any:
    return to_point_cloud2_msg(Header(frame_id=FRAME), points, LAYOUTS["realsense"])


@pytest.mark.nodes
def test_hulls_come_first_and_pieces_later_and_all_is_removed(octahedron_checkpoint, table_points, client, tmp_path):
    settings = {"collision__shape": "pieces", "collision__table": "true"}
    with running("/pieces", client, octahedron_checkpoint, tmp_path, ["--topic"], **settings) as (node, own, planner):
        told: list[CollisionPieces] = []
        own.collector.create_subscription(CollisionPieces, "onet/collision_pieces", told.append, QoSProfile(depth=10))
        own.meet(node)
        own.wait_until(lambda: own.collector.count_subscribers("collision_object") == 2, node)
        message = own.result_of(own.send(cloud(table_points)), node)
        names = [f"onet_{item.id}" for item in message.objects]
        own.wait_until(lambda: set(planner.did("ADD")) == {*names, "onet_table"}, node)
        first = {line["id"]: line for line in planner.said if line.get("op") == "ADD"}
        assert all(first[name]["meshes"] == 1 for name in names)
        (box,) = first["onet_table"]["boxes"]
        assert box[2] == pytest.approx(0.05)
        assert 0.1 < min(box[:2]) <= max(box[:2]) < 3.0
        # Pieces, without another cloud: both are told of, and each object is replaced once.
        own.wait_until(lambda: len(told) >= 2, node, timeout=180.0)
        own.wait_until(lambda: len(planner.did("ADD")) >= 5, node)
        for pieces in told:
            assert f"onet_{pieces.id}" in names
            assert 1 <= len(pieces.pieces) <= pieces.max_pieces == 32
            assert 0.0 < pieces.deviation < 0.05
            assert pieces.uncovered < 0.3
        # The same cloud again changes nothing, and costs the planner nothing.
        count = len(planner.said)
        own.result_of(own.send(cloud(table_points)), node)
        one_object = table_points.copy()
        one_object[:, 160:] = np.nan
        (left,) = own.result_of(own.send(cloud(one_object)), node).objects
        own.wait_until(lambda: len(planner.did("REMOVE")) == 1, node)
        assert planner.did("REMOVE") == [name for name in names if name != f"onet_{left.id}"]
        changed = [line["id"] for line in planner.said[count:]]
        assert not set(changed) - {*planner.did("REMOVE"), "onet_table"}
        assert own.call(Trigger, "~/clear", node).success
        own.wait_until(lambda: set(planner.did("REMOVE")) == {*names, "onet_table"}, node)


@pytest.mark.nodes
def test_by_the_service_what_was_refused_is_sent_again(octahedron_checkpoint, table_points, client, tmp_path):
    planner = ["--service", "--refuse", "1"]
    with running("/service", client, octahedron_checkpoint, tmp_path, planner, collision__via="service") as parts:
        node, own, listener = parts
        message = own.result_of(own.send(cloud(table_points)), node)
        names = {f"onet_{item.id}" for item in message.objects}
        own.wait_until(lambda: set(listener.did("ADD")) == names, node, timeout=20.0)
        (refused,) = [line["refused"] for line in listener.said if "refused" in line]
        assert set(refused) <= names
        assert "apply_planning_scene refused" in node.log()
        assert own.call(Trigger, "~/clear", node).success
        own.wait_until(lambda: set(listener.did("REMOVE")) == names, node)


@pytest.mark.nodes
def test_a_service_that_is_not_there_yet_is_told_all_when_it_comes(
    octahedron_checkpoint, table_points, client, tmp_path
):
    with running("/late", client, octahedron_checkpoint, tmp_path, [], collision__via="service") as (node, own, _):
        message = own.result_of(own.send(cloud(table_points)), node)
        names = {f"onet_{item.id}" for item in message.objects}
        own.wait_until(lambda: "apply_planning_scene is not there" in node.log(), node)
        late = Planner(tmp_path, "--ns", "/late", "--service")
        own.wait_until(lambda: set(late.did("ADD")) == names, node, timeout=30.0)
        assert not late.faults
        late.stop()


@pytest.mark.nodes
def test_what_a_robot_holds_is_left_alone_until_it_lets_go(octahedron_checkpoint, table_points, client, tmp_path):
    with running("/held", client, octahedron_checkpoint, tmp_path, ["--topic"]) as (node, own, planner):
        holds = own.collector.create_publisher(AttachedCollisionObject, "attached_collision_object", 10)
        own.wait_until(lambda: holds.get_subscription_count() == 1, node)
        message = own.result_of(own.send(cloud(table_points)), node)
        names = {f"onet_{item.id}" for item in message.objects}
        own.wait_until(lambda: set(planner.did("ADD")) == names, node)
        one_object = table_points.copy()
        one_object[:, 160:] = np.nan
        (left,) = own.result_of(own.send(cloud(one_object)), node).objects
        own.wait_until(lambda: len(planner.did("REMOVE")) == 1, node)
        held = AttachedCollisionObject(link_name="hand")
        held.object.id, held.object.operation = f"onet_{left.id}", CollisionObject.ADD
        holds.publish(held)
        # Lifted out of the picture: gone for the node, but the planner is not told while the robot holds it.
        other = table_points.copy()
        other[:, :160] = np.nan
        (seen,) = own.result_of(own.send(cloud(other)), node).objects
        assert seen.id != left.id
        own.wait_until(lambda: f"onet_{seen.id}" in planner.did("ADD"), node)
        assert f"onet_{left.id}" not in planner.did("REMOVE")
        held.object.operation = CollisionObject.REMOVE
        holds.publish(held)

        def removed() -> bool:
            own.result_of(own.send(cloud(other)), node)
            return f"onet_{left.id}" in planner.did("REMOVE")

        own.wait_until(removed, node)
