"""Fixtures of the tests over DDS: a domain of their own, one node for all, and a client on the other end.

The node runs an analytic network, so that the tests know what has to come back: whatever was seen, it completes to an
octahedron that stands on the table, |x| + |y| + |z - RADIUS| <= RADIUS in the object's unit frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onet_ros.networks import Checkpoint, OccupancyNetwork, save_checkpoint

RADIUS = 0.4  # of the octahedron, in units of the unit frame


@pytest.fixture(scope="session")
def octahedron_checkpoint(tmp_path_factory) -> Path:
    """Checkpoint of a network that answers with the same octahedron for every object."""
    sizes = {"hidden_size": 6, "code_size": 4}
    network = OccupancyNetwork("pointnet_cbn", encoder=dict(sizes), decoder=dict(sizes))
    decoder = network.decoder
    with torch.no_grad():
        # Features +-x, +-y, +-(z - RADIUS). The blocks start as identities, so the last ReLU takes absolute values.
        decoder.fc_query.weight.copy_(torch.cat([torch.eye(3), -torch.eye(3)]))
        decoder.fc_query.bias.copy_(torch.tensor([0.0, 0.0, -RADIUS, 0.0, 0.0, RADIUS]))
        for block in decoder.blocks:
            block.fc_1.bias.zero_()
        decoder.fc_out.weight.fill_(-20.0)
        decoder.fc_out.bias.fill_(20.0 * RADIUS)
    folder = tmp_path_factory.mktemp("octahedron")
    save_checkpoint(folder, Checkpoint(network.eval(), observation_points=32, threshold=0.5))
    return folder


@pytest.fixture(scope="session")
def ros_domain() -> Iterator[int]:
    """A DDS domain that only this test session and its children are in."""
    pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
    pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")
    from onet_ros.ros.processes import private_domain

    with private_domain() as domain:
        yield domain


@pytest.fixture(scope="session")
def client(ros_domain) -> Iterator[Client]:
    """The other end of the node's topics."""
    import rclpy

    rclpy.init(args=[])
    client = Client()
    yield client
    client.close()
    rclpy.try_shutdown()


@pytest.fixture(scope="session")
def node(ros_domain, octahedron_checkpoint, client, tmp_path_factory) -> Iterator[Any]:
    """The reconstruction node as a process of its own, ready for clouds; shared by all tests."""
    from onet_ros.ros.processes import NodeProcess

    parameters = {
        "model": octahedron_checkpoint,
        "num_threads": 1,
        "extraction.start_resolution": 16,
        "extraction.doublings": 1,
        "extraction.max_triangles": 600,
        "segmentation.min_pts": 5,  # no such parameter: the node is to say so
    }
    arguments = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    log_file = tmp_path_factory.mktemp("node") / "node.log"
    process = NodeProcess("onet_ros.ros.node", ["--ros-args", *arguments], log_file)
    client.wait_until(lambda: "ready: waiting for clouds" in process.log(), process, timeout=60.0)
    client.wait_until(lambda: "clouds come reliably" in process.log(), process)
    client.wait_until(lambda: client.clouds_heard_by() == 2, process)  # the collector and the node
    yield process
    assert process.stop() == 0, process.log()
    assert "Traceback" not in process.log(), process.log()
    # A node that ends leaves no ghosts behind.
    client.wait_until(lambda: not client.collector.shown_markers() and not client.collector.planning_scene())


class Client:
    """Sends clouds, and sees what the node sends."""

    def __init__(self, node_namespace: str = "") -> None:
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import PointCloud2

        from onet_ros.ros.collector import Collector

        self.collector = Collector(node_namespace)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.collector)
        self._publisher = self.collector.create_publisher(PointCloud2, "points", QoSProfile(depth=1))

    def close(self) -> None:
        """Leave the domain."""
        self.executor.shutdown()
        self.collector.destroy_node()

    def clouds_heard_by(self) -> int:
        """Subscriptions that match the publisher of clouds."""
        return self._publisher.get_subscription_count()

    def send(self, cloud: Any) -> tuple[int, int]:
        """Publish a cloud with the time of now; its stamp."""
        from onet_ros.ros.collector import stamp_of

        cloud.header.stamp = self.collector.get_clock().now().to_msg()
        self._publisher.publish(cloud)
        return stamp_of(cloud)

    def result_of(self, stamp: tuple[int, int], process: Any, timeout: float = 20.0) -> Any:
        """The message with the objects of the cloud of that stamp."""
        from onet_ros.ros.collector import stamp_of

        def found() -> list[Any]:
            return [message for message in self.collector.results if stamp_of(message) == stamp]

        self.wait_until(lambda: bool(found()), process, timeout)
        return found()[0]

    def wait_until(self, condition: Callable[[], bool], process: Any = None, timeout: float = 20.0) -> None:
        """Spin until the condition holds; fail with the process's log when it ends or the time is over."""
        deadline = time.monotonic() + timeout
        while not condition():
            self.executor.spin_once(timeout_sec=0.05)
            log = process.log() if process is not None else ""
            assert process is None or process.exit_code is None, f"the process ended with {process.exit_code}:\n{log}"
            assert time.monotonic() < deadline, f"not within {timeout} s; the process says:\n{log}"


@pytest.fixture(scope="session")
def table_scene() -> Any:
    """A box and a cylinder on a table, and the camera that looks at them; as (SimulatedTable, DepthCamera)."""
    import trimesh

    from onet_ros.simulation import DepthCamera, DepthCameraSettings, SimulatedTable

    objects = {
        "box": trimesh.creation.box((0.12, 0.08, 0.10)).apply_translation((0, 0, 0.05)),
        "cylinder": trimesh.creation.cylinder(0.04, 0.15).apply_translation((0, 0, 0.075)),
    }
    poses = {name: np.eye(4) for name in objects}
    poses["box"][:3, 3] = -0.15, 0.05, 0.0
    poses["cylinder"][:3, 3] = 0.15, -0.05, 0.0
    table = SimulatedTable(objects, poses)
    settings = DepthCameraSettings(width=320, height=240, focal_length_px=300.0, noise_floor=0.0005)
    return table, DepthCamera(table.meshes, table.camera_pose(), table.surroundings(), settings=settings)


@pytest.fixture(scope="session")
def table_points(table_scene) -> np.ndarray:
    """(240, 320, 3) float32, metres, optical frame: what the camera sees; missing points are NaN."""
    _, camera = table_scene
    return camera.capture(0).points
