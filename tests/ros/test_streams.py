"""Streams as the field has them: looping bags, clocks that are set back, cameras side by side."""

from __future__ import annotations

import gc
import weakref

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from builtin_interfaces.msg import Time
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Header

from onet_ros.ros.camera_sources import simulated_source
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.collector import ReceivedObject, stamp_of
from onet_ros.ros.comparison import match_objects
from onet_ros.ros.processes import NodeProcess

pytestmark = pytest.mark.ros


def send_stamped(client, table_points, seconds: float) -> tuple[int, int]:
    """Publish the table's cloud with a stamp of our own."""
    cloud = to_point_cloud2_msg(Header(frame_id="camera"), table_points, LAYOUTS["realsense"])
    cloud.header.stamp = Time(sec=int(seconds), nanosec=round(seconds % 1 * 1e9))
    client._publisher.publish(cloud)
    return stamp_of(cloud)


def test_a_bag_that_loops_starts_anew_without_a_clock(unconfigured, table_points):
    process, client = unconfigured

    def result(seconds: float):
        return client.result_of(send_stamped(client, table_points, seconds), process)

    client.activate(process)
    client.wait_until(lambda: client.clouds_heard_by() == 2, process)
    first = result(2001.0)
    assert [item.id for item in result(2002.0).objects] == [item.id for item in first.objects]
    again = result(2000.5)
    assert not {item.id for item in again.objects} & {item.id for item in first.objects}
    assert "the stamps of the input jumped back: 2 objects and all transforms are forgotten" in process.log()
    ids = {item.id for item in again.objects}
    client.wait_until(lambda: {number for _, number in client.collector.shown_markers()} == ids, process)


def test_a_cloud_that_was_overtaken_is_dropped_and_changes_nothing(table_points, client, node):
    # Whatever was before is long after: the first one after a jump back counts, too.
    first = client.result_of(send_stamped(client, table_points, 5000.5), node)
    dropped = int(client.diagnosis(node)[2]["dropped: older than the one before"])
    send_stamped(client, table_points, 5000.2)
    client.wait_until(lambda: int(client.diagnosis(node)[2]["dropped: older than the one before"]) == dropped + 1, node)
    after = client.result_of(send_stamped(client, table_points, 5000.7), node)
    assert [item.id for item in after.objects] == [item.id for item in first.objects]


def test_a_simulation_that_starts_again_is_forgotten_by_its_clock(unconfigured, table_points):
    process, client = unconfigured
    assert client.set_parameters(process, use_sim_time=True) == []
    client.activate(process)
    client.wait_until(lambda: client.clouds_heard_by() == 2, process)
    clock = client.collector.create_publisher(Clock, "/clock", 10)
    # The node may hear the clock later than the clock knows of the node.
    client.repeat_until(
        lambda: clock.publish(Clock(clock=Time(sec=7000))), lambda: client.node_time() == 7000.0, process
    )
    result = client.result_of(send_stamped(client, table_points, 6999.5), process)
    client.wait_until(lambda: "ready" in process.log(), process)
    assert result.latency == pytest.approx(0.5, abs=0.01)  # time stands still in this simulation
    clock.publish(Clock(clock=Time(sec=10)))
    client.wait_until(
        lambda: "the clock jumped by -6990.0 s: 2 objects and all transforms are forgotten" in process.log(), process
    )
    client.wait_until(lambda: client.collector.results[-1].objects == [], process)
    after = client.result_of(send_stamped(client, table_points, 9.5), process)
    assert not {item.id for item in after.objects} & {item.id for item in result.objects}
    client.collector.destroy_publisher(clock)


@pytest.mark.nodes
def test_two_nodes_with_two_cameras_do_not_mix(client, octahedron_checkpoint, tmp_path):
    seeds, counts = {"left": 3, "right": 2}, {"left": 2, "right": 3}
    nodes, cameras, clients = {}, {}, {}
    parameters = ["-p", f"model:={octahedron_checkpoint}", "-p", "extraction.start_resolution:=16"]
    parameters += ["-p", "num_threads:=1", "-p", "extraction.doublings:=0"]
    for name, seed in seeds.items():
        in_namespace = ["--ros-args", "-r", f"__ns:=/{name}"]
        nodes[name] = NodeProcess("onet_ros.ros.node", [*in_namespace, *parameters], tmp_path / f"{name}_node.log")
        camera = ["--seed", str(seed), "--objects", str(counts[name]), "--rate", "2", "--frame-id", f"{name}_camera"]
        cameras[name] = NodeProcess(
            "onet_ros.ros.depth_camera", [*camera, *in_namespace], tmp_path / f"{name}_camera.log"
        )
        clients[name] = type(client)(f"/{name}")
    try:
        for name, own in clients.items():
            own.wait_until(lambda own=own: len(own.collector.results) > 3, nodes[name], timeout=120.0)
        for name, own in clients.items():
            source = simulated_source(seeds[name], counts[name])
            assert {message.header.frame_id for message in own.collector.results} == {f"{name}_camera"}
            meshes = {item.id: ReceivedObject.from_msg(item).mesh for item in own.collector.results[-1].objects}
            assert len(meshes) == counts[name]
            assert None not in match_objects(meshes, source.truth).values()
            own.wait_until(lambda own=own: bool(own.collector.shown_markers()), nodes[name])
            shown = own.collector.shown_markers()
            assert {marker.header.frame_id for marker in shown.values()} == {f"{name}_camera"}
            assert own.diagnosis(nodes[name])[2]["state"] == "active"
        # The camera of one dies: that one says so, the other goes on.
        cameras["left"].stop()
        count = len(clients["right"].collector.results)
        clients["left"].wait_until(
            lambda: clients["left"].diagnosis(nodes["left"])[1].startswith("no input for"), nodes["left"], timeout=60.0
        )
        clients["right"].wait_until(lambda: len(clients["right"].collector.results) > count, nodes["right"])
        assert clients["right"].diagnosis(nodes["right"])[2]["state"] == "active"
    finally:
        for process in (*cameras.values(), *nodes.values()):
            process.stop()
        for own in clients.values():
            own.close()
    for process in nodes.values():
        assert "Traceback" not in process.log(), process.log()


def test_cleaning_up_gives_the_model_back(client, octahedron_checkpoint):
    from rclpy.lifecycle import TransitionCallbackReturn
    from rclpy.parameter import Parameter

    from onet_ros.ros.node import OnetNode

    overrides = [Parameter("model", value=str(octahedron_checkpoint))]
    node = OnetNode("in_process", parameter_overrides=overrides)
    for _ in range(2):
        assert node.start()
        network = weakref.ref(node._pipeline.scene.reconstructor.checkpoint.network)
        assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
        assert network() is not None
        assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
        gc.collect()
        assert network() is None
    node.close()
    node.destroy_node()
