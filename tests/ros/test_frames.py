"""Objects in the robot's frame: transforms through tf2, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")
pytest.importorskip("tf2_ros", reason="tf2_ros is not installed")

from geometry_msgs.msg import TransformStamped, Vector3
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from tf2_ros import StaticTransformBroadcaster

from onet_ros.msg import ReconstructedObjects
from onet_ros.ros import conversions
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.collector import ReceivedObject
from onet_ros.ros.processes import NodeProcess

pytestmark = pytest.mark.ros

# Where the table stands in the base's frame, whose z points up: farther away than region.max_range lets a camera see.
T_BASE_TABLE = trimesh.transformations.euler_matrix(0.0, 0.0, 0.7)
T_BASE_TABLE[:3, 3] = 5.0, -0.1, 0.7


@pytest.fixture(scope="module")
def base_node(client, octahedron_checkpoint, tmp_path_factory):
    """A node of its own namespace whose target frame is base_link."""
    parameters = [f"model:={octahedron_checkpoint}", "target_frame:=base_link", "frame_prefix:=robot1/"]
    parameters += ["transform_timeout:=0.3", "extraction.start_resolution:=16", "extraction.doublings:=1"]
    arguments = ["--ros-args", "-r", "__ns:=/base", "-r", "points:=/points"]
    arguments += [word for parameter in parameters for word in ("-p", parameter)]
    log_file = tmp_path_factory.mktemp("base_node") / "node.log"
    process = NodeProcess("onet_ros.ros.node", arguments, log_file)
    client.wait_until(lambda: "clouds come reliably" in process.log(), process, timeout=60.0)
    yield process
    assert process.stop() == 0


def cloud_of(points: np.ndarray) -> PointCloud2:
    return to_point_cloud2_msg(Header(frame_id="camera"), points, LAYOUTS["realsense"])


def broadcast_camera_pose(T_base_camera: np.ndarray, client) -> StaticTransformBroadcaster:
    """Tell tf2 where the camera is; it is known for as long as the broadcaster lives."""
    pose = conversions.to_pose_msg(T_base_camera)
    message = TransformStamped(header=Header(frame_id="base_link"), child_frame_id="robot1/camera")
    message.transform.rotation = pose.orientation
    message.transform.translation = Vector3(x=pose.position.x, y=pose.position.y, z=pose.position.z)
    broadcaster = StaticTransformBroadcaster(client.collector)
    broadcaster.sendTransform(message)
    return broadcaster


def test_objects_stand_in_the_target_frame_once_tf2_knows_the_camera(base_node, table_scene, table_points, client):
    client.send(cloud_of(table_points))
    refusal = "cloud dropped, no transform (1 so far): no transform from 'robot1/camera' to target_frame 'base_link'"
    client.wait_until(lambda: refusal in base_node.log(), base_node)
    table, camera = table_scene
    broadcaster = broadcast_camera_pose(T_BASE_TABLE @ np.linalg.inv(camera.T_camera_world), client)
    results: list[ReconstructedObjects] = []
    subscription = client.collector.create_subscription(ReconstructedObjects, "/base/onet/objects", results.append, 10)

    def heard() -> bool:
        client.send(cloud_of(table_points))
        return bool(results)

    client.wait_until(heard, base_node)
    assert results[-1].header.frame_id == "base_link"
    np.testing.assert_allclose(results[-1].support_plane[:3], [0.0, 0.0, 1.0], atol=0.02)
    meshes = [ReceivedObject.from_msg(item).mesh for item in results[-1].objects]
    assert len(meshes) == 2
    for true_mesh in table.meshes.values():
        centre = trimesh.transform_points([true_mesh.bounds.mean(axis=0)], T_BASE_TABLE)[0]
        assert min(np.linalg.norm(mesh.center_mass[:2] - centre[:2]) for mesh in meshes) < 0.05
    for mesh in meshes:
        assert mesh.bounds[0, 2] == pytest.approx(0.7, abs=0.005)  # on the table
    client.collector.destroy_subscription(subscription)
    del broadcaster
