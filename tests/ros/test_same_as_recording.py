"""A recording of clouds and the node that was fed with them give the same meshes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import trimesh

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")
rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="rosbags is not installed")

from rclpy.serialization import serialize_message  # noqa: E402
from rosbags.typesys import Stores, get_typestore  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from onet_ros.cli import main  # noqa: E402
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg  # noqa: E402
from onet_ros.ros.collector import ReceivedObject, stamp_of  # noqa: E402
from onet_ros.simulation import DepthCamera, DepthCameraSettings, SimulatedTable  # noqa: E402

pytestmark = pytest.mark.ros

# As the managed node of the tests runs, but with the network that comes with the package.
PARAMETERS = {
    "extraction.start_resolution": 16,
    "extraction.max_triangles": 600,
    "tracking.keep_missing": 0.0,
    "tracking.update_period": 0.0,
}


def clouds():
    """Six clouds: two objects, one of which moves and then is taken away, while a third one comes."""
    sizes = {"box": (0.12, 0.08, 0.10), "block": (0.06, 0.06, 0.06), "late": (0.05, 0.09, 0.12)}
    where = {
        "box": [(-0.15, 0.05)] * 6,
        "block": [(0.12, -0.05), (0.12, -0.05), (0.15, -0.05), None, None, None],
        "late": [None, None, None, None, (0.05, 0.1), (0.05, 0.1)],
    }
    for number in range(6):
        poses, objects = {}, {}
        for name, places in where.items():
            if places[number] is not None:
                objects[name] = trimesh.creation.box(sizes[name]).apply_translation((0, 0, sizes[name][2] / 2))
                poses[name] = trimesh.transformations.translation_matrix((*places[number], 0.0))
        table = SimulatedTable(objects, poses)
        settings = DepthCameraSettings(width=320, height=240, focal_length_px=300.0)
        camera = DepthCamera(table.meshes, table.camera_pose(), table.surroundings(), settings=settings)
        cloud = to_point_cloud2_msg(Header(frame_id="camera"), camera.capture(number).points, LAYOUTS["realsense"])
        cloud.header.stamp.sec = 100 + number
        yield cloud


def record(path, messages) -> None:
    """Write the messages as ROS itself serialises them."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    with rosbag2.Writer(path, version=9, storage_plugin=rosbag2.StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/points", "sensor_msgs/msg/PointCloud2", typestore=store)
        for number, message in enumerate(messages):
            writer.write(connection, number * 10**9, serialize_message(message))


@pytest.fixture
def one_thread():
    """As the node of the tests: the order of a sum must not depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_onet_reconstruct_gives_the_meshes_of_the_node(unconfigured, one_thread, tmp_path):
    process, client = unconfigured
    assert client.set_parameters(process, model="") == []
    client.activate(process)
    client.wait_until(lambda: client.clouds_heard_by() == 2, process)
    messages = list(clouds())
    told = []
    for cloud in messages:
        client._publisher.publish(cloud)
        told.append(client.result_of(stamp_of(cloud), process, timeout=60.0))

    record(tmp_path / "bag", messages)
    out = tmp_path / "out"
    settings = {**PARAMETERS, "completion.carve": "false"}  # as the node of the tests has it
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    (recorded,) = (tmp_path / "bag").glob("*.mcap")
    assert main(["reconstruct", str(recorded), "--out", str(out), "--no-picture", *words]) == 0
    report = json.loads((out / "report.json").read_text())
    assert [frame["objects"] for frame in report["timeline"]] == [[item.id for item in m.objects] for m in told]
    last = {item.id: item for message in told for item in message.objects}
    assert {record["id"] for record in report["objects"]} == set(last)
    assert len(last) == 3
    for record_of_one in report["objects"]:
        item, path = last[record_of_one["id"]], out / record_of_one["file"]
        assert record_of_one["completed"] == item.completed.sec * 10**9 + item.completed.nanosec
        mesh, of_the_node = trimesh.load_mesh(path, process=False), ReceivedObject.from_msg(item).mesh
        np.testing.assert_array_equal(mesh.faces, of_the_node.faces)
        np.testing.assert_allclose(mesh.vertices, of_the_node.vertices, atol=2e-6)
