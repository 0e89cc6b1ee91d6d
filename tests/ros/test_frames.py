"""Objects in the robot's frame: transforms through tf2, where it is installed."""

from __future__ import annotations

import time

import numpy as np
import pytest
import trimesh

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")
pytest.importorskip("tf2_ros", reason="tf2_ros is not installed")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped, Vector3
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster

from onet_ros import srv
from onet_ros.msg import ReconstructedObjects
from onet_ros.ros import conversions
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.collector import ReceivedObject, stamp_of
from onet_ros.ros.processes import NodeProcess
from onet_ros.ros.serialization import take_array
from onet_ros.simulation import DepthCamera

pytestmark = pytest.mark.ros

# Where the table stands in the base's frame, whose z points up: farther away than region.max_range lets a camera see.
T_BASE_TABLE = trimesh.transformations.euler_matrix(0.0, 0.0, 0.7)
T_BASE_TABLE[:3, 3] = 5.0, -0.1, 0.7


@pytest.fixture(scope="module")
def base_node(client, octahedron_checkpoint, tmp_path_factory):
    """A node of its own namespace whose target frame is base_link."""
    parameters = [f"model:={octahedron_checkpoint}", "target_frame:=base_link", "frame_prefix:=robot1/"]
    parameters += [
        "transform_timeout:=0.3",
        "tracking.update_period:=0.0",
        "extraction.start_resolution:=16",
        "extraction.doublings:=1",
    ]
    arguments = ["--ros-args", "-r", "__ns:=/base", "-r", "points:=/points"]
    arguments += [word for parameter in parameters for word in ("-p", parameter)]
    log_file = tmp_path_factory.mktemp("base_node") / "node.log"
    process = NodeProcess("onet_ros.ros.node", arguments, log_file)
    client.wait_until(lambda: "messages on /points come reliably" in process.log(), process, timeout=60.0)
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="module")
def base_client(base_node, client):
    """A client in the namespace of that node, which sends clouds where the node listens."""
    namespaced = type(client)("/base")
    namespaced.be_known(base_node)  # it hears those of the other one
    yield namespaced
    namespaced.close()


def cloud_of(points: np.ndarray, frame_id: str = "camera") -> PointCloud2:
    return to_point_cloud2_msg(Header(frame_id=frame_id), points, LAYOUTS["realsense"])


def transform_msg(T: np.ndarray, stamp, child: str, parent: str = "base_link") -> TransformStamped:
    pose = conversions.to_pose_msg(T)
    message = TransformStamped(header=Header(frame_id=parent, stamp=stamp), child_frame_id=child)
    message.transform.rotation = pose.orientation
    message.transform.translation = Vector3(x=pose.position.x, y=pose.position.y, z=pose.position.z)
    return message


def broadcast_camera_pose(T_base_camera: np.ndarray, client) -> StaticTransformBroadcaster:
    """Tell tf2 where the camera is; it is known for as long as the broadcaster lives."""
    broadcaster = StaticTransformBroadcaster(client.collector)
    broadcaster.sendTransform(transform_msg(T_base_camera, Time(), "robot1/camera"))
    return broadcaster


def test_objects_stand_in_the_target_frame_once_tf2_knows_the_camera(base_node, table_scene, table_points, client):
    refusal = "dropped, no transform (1 so far): no transform from 'robot1/camera' to target_frame 'base_link'"
    client.repeat_until(lambda: client.send(cloud_of(table_points)), lambda: refusal in base_node.log(), base_node)
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


class TestMovingCamera:
    """Its frame, robot1/arm_camera, is told to /tf at the stamps of its clouds."""

    @pytest.fixture
    def broadcaster(self, client):
        return TransformBroadcaster(client.collector)

    def look(self, table_scene, azimuth: float) -> tuple[np.ndarray, np.ndarray]:
        """Points (H, W, 3) that the camera sees from there, and its pose (4, 4) in base_link."""
        table, first = table_scene
        pose = table.camera_pose(azimuth)
        camera = DepthCamera(table.meshes, pose, table.surroundings(), settings=first.settings)
        return camera.capture(0).points, T_BASE_TABLE @ np.linalg.inv(pose)

    def show(self, client, base_node, base_client, broadcaster, looks, wait_before_tf: float = 0.0):
        """Send a cloud, with its transform before or after it, until something comes of it."""
        points, T_base_camera = looks
        cloud, sent = cloud_of(points, "arm_camera"), set()

        def send() -> None:
            cloud.header.stamp = client.collector.get_clock().now().to_msg()
            sent.add(stamp_of(cloud))
            message = transform_msg(T_base_camera, cloud.header.stamp, "robot1/arm_camera")
            if not wait_before_tf:
                broadcaster.sendTransform(message)
            client._publisher.publish(cloud)
            if wait_before_tf:
                time.sleep(wait_before_tf)
                broadcaster.sendTransform(message)

        def told() -> list[ReconstructedObjects]:
            return [message for message in base_client.collector.results if stamp_of(message) in sent]

        base_client.repeat_until(send, lambda: bool(told()), base_node, timeout=60.0)
        return told()[0]

    def test_views_of_a_moving_camera_add_up_on_objects_that_stand_still(
        self, table_scene, client, base_node, base_client, broadcaster
    ):
        assert base_client.call(Trigger, "~/clear", base_node).success
        looks = {azimuth: self.look(table_scene, azimuth) for azimuth in (0.0, 0.6, 1.2)}
        told = [self.show(client, base_node, base_client, broadcaster, look) for look in looks.values()]
        assert len({tuple(item.id for item in message.objects) for message in told}) == 1
        assert [max(item.views for item in message.objects) for message in told] == [1, 2, 3]
        table, _ = table_scene
        for true_mesh in table.meshes.values():
            centre = trimesh.transform_points([true_mesh.bounds.mean(axis=0)], T_BASE_TABLE)[0]
            meshes = [ReceivedObject.from_msg(item).mesh for item in told[-1].objects]
            assert min(np.linalg.norm(mesh.center_mass[:2] - centre[:2]) for mesh in meshes) < 0.05

    def test_a_transform_that_comes_a_moment_later_is_waited_for(
        self, table_scene, client, base_node, base_client, broadcaster
    ):
        result = self.show(client, base_node, base_client, broadcaster, self.look(table_scene, 0.3), 0.1)
        assert len(result.objects) == 2

    def test_one_that_does_not_come_is_counted_and_told(self, table_points, client, base_node, base_client):
        before = int(base_client.diagnosis(base_node)[2]["dropped: no transform"])
        client.send(cloud_of(table_points, "unknown_camera"))
        client.wait_until(lambda: "no transform from 'robot1/unknown_camera' to" in base_node.log(), base_node)
        assert int(base_client.diagnosis(base_node)[2]["dropped: no transform"]) == before + 1

    def test_points_of_another_frame_are_asked_about(self, table_scene, client, base_node, base_client, broadcaster):
        result = self.show(client, base_node, base_client, broadcaster, self.look(table_scene, 0.0))
        item = result.objects[0]
        inside = ReceivedObject.from_msg(item).mesh.center_mass  # in base_link
        _, T_base_camera = self.look(table_scene, 0.0)
        in_camera = trimesh.transform_points([inside], np.linalg.inv(T_base_camera))[0]
        for points, frame_id in ((inside, "base_link"), (in_camera, "robot1/arm_camera")):
            flat = [float(value) for value in points]
            answer = base_client.call(
                srv.QueryOccupancy, "~/query_occupancy", base_node, points=flat, frame_id=frame_id
            )
            assert answer.success, answer.message
            assert take_array(answer, "probability")[0] > 0.9
            assert take_array(answer, "most_probable")[0] == item.id
        refused = base_client.call(
            srv.QueryOccupancy, "~/query_occupancy", base_node, points=[0.0, 0.0, 0.0], frame_id="nowhere"
        )
        assert not refused.success
        assert "nowhere" in refused.message

    def test_after_time_jumped_back_old_transforms_do_not_count(
        self, table_scene, client, base_node, base_client, broadcaster
    ):
        looks = self.look(table_scene, 0.0)
        points, T_base_camera = looks
        first = self.show(client, base_node, base_client, broadcaster, looks)
        cloud = cloud_of(points, "arm_camera")
        cloud.header.stamp.sec = 1000  # long before all transforms that are known
        broadcaster.sendTransform(transform_msg(T_base_camera, cloud.header.stamp, "robot1/arm_camera"))

        def send() -> None:
            broadcaster.sendTransform(transform_msg(T_base_camera, cloud.header.stamp, "robot1/arm_camera"))
            client._publisher.publish(cloud)

        results = base_client.collector.results
        base_client.repeat_until(send, lambda: results[-1].header.stamp.sec == 1000, base_node, timeout=60.0)
        assert not {item.id for item in results[-1].objects} & {item.id for item in first.objects}
