"""Fixtures of the tests over DDS: a domain of their own, one node for all, and a client on the other end.

The node runs an analytic network (`octahedron_checkpoint`), so that the tests know what has to come back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest


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
        "completion.carve": "false",  # the analytic shape is expected back whole, whatever the camera saw
        "num_threads": 1,
        "extraction.start_resolution": 16,
        "extraction.doublings": 1,
        "extraction.max_triangles": 600,
        "tracking.keep_missing": 0.0,
        "segmentation.min_pts": 5,  # no such parameter: the node is to say so
    }
    arguments = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    log_file = tmp_path_factory.mktemp("node") / "node.log"
    process = NodeProcess("onet_ros.ros.node", ["--ros-args", *arguments], log_file)
    client.wait_until(lambda: "ready: waiting for input" in process.log(), process, timeout=60.0)
    client.wait_until(lambda: "messages on /points come reliably" in process.log(), process)
    client.meet(process)
    yield process
    assert process.stop() == 0, process.log()
    assert "Traceback" not in process.log(), process.log()
    # A node that ends leaves no ghosts behind.
    client.wait_until(lambda: not client.collector.shown_markers() and not client.collector.planning_scene())


@pytest.fixture(scope="session")
def managed(client, octahedron_checkpoint, tmp_path_factory) -> Iterator[tuple[Any, Client]]:
    """A node that waits to be configured, in a namespace of its own, and a client there."""
    from onet_ros.ros.processes import NodeProcess

    arguments = ["-r", "__ns:=/managed"]
    parameters = {
        "autostart": "false",
        "model": octahedron_checkpoint,
        "completion.carve": "false",  # the analytic shape is expected back whole, whatever the camera saw
        "num_threads": 1,
        "extraction.start_resolution": 16,
        "extraction.max_triangles": 600,
        "tracking.keep_missing": 0.0,
        "tracking.update_period": 0.0,
        "diagnostics_period": 0.2,
    }
    arguments += [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    process = NodeProcess(
        "onet_ros.ros.node", ["--ros-args", *arguments], tmp_path_factory.mktemp("managed") / "node.log"
    )
    namespaced = Client("/managed")
    yield process, namespaced
    assert process.stop() == 0, process.log()
    assert "Traceback" not in process.log(), process.log()
    namespaced.close()


@pytest.fixture
def unconfigured(managed):
    """Process and client; the node is unconfigured before and after, and has the same parameters again."""
    process, client = managed
    assert client.state(process) == "unconfigured"
    yield process, client
    state = client.state(process)
    if state == "active":
        assert client.change_state("deactivate", process)
    if state in ("active", "inactive"):
        assert client.change_state("cleanup", process)
    assert client.state(process) == "unconfigured"
    client.restore_parameters(process)


class Client:
    """Sends clouds, and sees what the node sends."""

    def __init__(self, node_namespace: str = "") -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import PointCloud2

        from onet_ros.ros.collector import Collector

        self.collector = Collector(node_namespace)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.collector)
        self._publisher = self.collector.create_publisher(PointCloud2, "points", QoSProfile(depth=1))
        self._clients: dict[str, Any] = {}
        self._parameters_before: dict[str, Any] = {}
        self._diagnosed = f"{node_namespace}/onet: reconstruction".lstrip("/")
        self._diagnosis: tuple[int, Any] = (0, None)  # when it was made in ns, and its status
        self.collector.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def close(self) -> None:
        """Leave the domain."""
        self.executor.shutdown()
        self.collector.destroy_node()

    def call(self, service_type: Any, name: str, process: Any, **request: Any) -> Any:
        """Ask a service of the node, as "~/clear"; its response."""
        if name not in self._clients:
            self._clients[name] = self.collector.create_client(service_type, name.replace("~", "onet"))
            self.be_known(process)
        asked = self._clients[name]
        self.wait_until(asked.service_is_ready, process)
        future = asked.call_async(service_type.Request(**request))
        self.wait_until(future.done, process, timeout=60.0)
        return future.result()

    def change_state(self, label: str, process: Any) -> bool:
        """Have a managed node make a transition; whether it did."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        return self.call(ChangeState, "~/change_state", process, transition=Transition(label=label)).success

    def activate(self, process: Any) -> None:
        """Have a managed node configured and activated."""
        assert self.change_state("configure", process), process.log()
        assert self.change_state("activate", process), process.log()

    def state(self, process: Any) -> str:
        """Lifecycle state of a managed node."""
        from lifecycle_msgs.srv import GetState

        return self.call(GetState, "~/get_state", process).current_state.label

    def set_parameters(self, process: Any, **values: Any) -> list[str]:
        """Set parameters (a dot in a name is written __) one by one; the reasons of those that were refused."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        wanted = {name.replace("__", "."): value for name, value in values.items()}
        for name, value in self.parameters(process, *wanted).items():
            self._parameters_before.setdefault(name, value)
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in wanted.items()]
        results = self.call(SetParameters, "~/set_parameters", process, parameters=parameters).results
        return [result.reason for result in results if not result.successful]

    def restore_parameters(self, process: Any) -> None:
        """Set what was set back to what it was at first."""
        before = {name.replace(".", "__"): value for name, value in self._parameters_before.items()}
        assert not before or self.set_parameters(process, **before) == []

    def parameters(self, process: Any, *names: str) -> dict[str, Any]:
        """Values of parameters, by name."""
        from rcl_interfaces.srv import GetParameters
        from rclpy.parameter import parameter_value_to_python

        values = self.call(GetParameters, "~/get_parameters", process, names=list(names)).values
        return {name: parameter_value_to_python(value) for name, value in zip(names, values, strict=True)}

    def diagnosis(self, process: Any) -> Any:
        """What the node says of itself from now on: level, message, and a dictionary of its values."""
        asked = time.time_ns()  # what is on its way was said before
        self.wait_until(lambda: self._diagnosis[0] > asked, process)
        status = self._diagnosis[1]
        return status.level, status.message, {item.key: item.value for item in status.values}

    def node_time(self) -> float:
        """Seconds of the node's own clock when it last said something of itself."""
        return self._diagnosis[0] * 1e-9

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            if status.name == self._diagnosed:
                self._diagnosis = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec, status

    def be_known(self, process: Any) -> None:
        """Wait until the node knows all that was made here before, and this client hears the node.

        What is sent to those of whom one has not heard is dropped: a cloud to a subscription, a response to the
        client of a service (which may well have heard of the service). Subscriptions, and the readers of responses
        with them, are announced in the order in which they are made: once something comes by one that is made here,
        the node knows all that were made before.
        """
        from diagnostic_msgs.msg import DiagnosticArray

        names: set[str] = set()
        subscription = self.collector.create_subscription(
            DiagnosticArray, "/diagnostics", lambda message: names.update(one.name for one in message.status), 10
        )
        self.wait_until(lambda: self._diagnosed in names, process)
        self.collector.destroy_subscription(subscription)

    def meet(self, process: Any) -> None:
        """Wait until the node and this client hear each other, clouds with the rest."""
        self.be_known(process)
        self.wait_until(lambda: self.clouds_heard_by() == 2, process)  # by the collector and the node

    def clouds_heard_by(self) -> int:
        """Subscriptions that match the publisher of clouds."""
        return self._publisher.get_subscription_count()

    def send(self, cloud: Any) -> tuple[int, int]:
        """Publish a cloud with the time of now; its stamp."""
        from onet_ros.ros.collector import stamp_of

        cloud.header.stamp = self.collector.get_clock().now().to_msg()
        self._publisher.publish(cloud)
        return stamp_of(cloud)

    def send_bytes(self, data: bytes) -> None:
        """Publish as a cloud what may be none."""
        self._publisher.publish(data)

    def result_of(self, stamp: tuple[int, int], process: Any, timeout: float = 60.0) -> Any:
        """The message with the objects of the cloud of that stamp."""
        from onet_ros.ros.collector import stamp_of

        def found() -> list[Any]:
            return [message for message in self.collector.results if stamp_of(message) == stamp]

        self.wait_until(lambda: bool(found()), process, timeout)
        return found()[0]

    def repeat_until(
        self, send: Callable[[], Any], condition: Callable[[], bool], process: Any, timeout: float = 60.0
    ) -> None:
        """Send again and again, with best effort some are lost, until the condition holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout} s; the process says:\n{process.log()}"
            send()
            waits_until = time.monotonic() + 0.5
            self.wait_until(lambda end=waits_until: condition() or time.monotonic() > end, process, timeout)

    def wait_until(self, condition: Callable[[], bool], process: Any = None, timeout: float = 60.0) -> None:
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
