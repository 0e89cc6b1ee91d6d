"""What grasp planners are told over DDS while they listen: candidates, their poses, points on completed surfaces."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from geometry_msgs.msg import PoseArray
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from onet_ros.msg import GraspCandidates
from onet_ros.ros import conversions
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.collector import ReceivedObject
from onet_ros.scene import decode_point_cloud2

pytestmark = pytest.mark.ros

FRAME = "camera_depth_optical_frame"
TOPICS = {"grasps": PoseArray, "grasp_candidates": GraspCandidates, "completed_cloud": PointCloud2}


@pytest.fixture
def told(client, node, table_points):
    """The objects, and what came on each topic with them."""
    came = {name: [] for name in TOPICS}
    subscriptions = [
        client.collector.create_subscription(kind, f"onet/{name}", came[name].append, 1)
        for name, kind in TOPICS.items()
    ]
    client.wait_until(lambda: all(client.collector.count_publishers(f"onet/{name}") for name in TOPICS), node)
    objects = {}

    def all_came() -> bool:
        cloud = to_point_cloud2_msg(Header(frame_id=FRAME), table_points, LAYOUTS["realsense"])
        objects["message"] = client.result_of(client.send(cloud), node)
        return all(came.values())

    client.wait_until(all_came, node)
    yield objects["message"], {name: messages[-1] for name, messages in came.items()}
    for subscription in subscriptions:
        client.collector.destroy_subscription(subscription)


def test_candidates_and_poses_say_the_same(told):
    message, came = told
    candidates, poses = came["grasp_candidates"].candidates, came["grasps"].poses
    assert candidates
    assert [one.pose for one in candidates] == poses
    assert [one.quality for one in candidates] == sorted((one.quality for one in candidates), reverse=True)
    assert {one.id for one in candidates} <= {one.id for one in message.objects}
    assert came["grasps"].header.frame_id == came["grasp_candidates"].header.frame_id == FRAME
    up = np.asarray(message.support_plane[:3])
    for one in candidates:
        T_source_gripper = conversions.from_pose_msg(one.pose)
        assert T_source_gripper[:3, 2] @ up < 0.3  # nothing comes from below
        height = T_source_gripper[:3, 3] @ up + message.support_plane[3]
        assert height > 0.0
        contacts = np.array([[p.x, p.y, p.z] for p in one.contacts])
        assert np.linalg.norm(contacts[1] - contacts[0]) == pytest.approx(one.width, abs=1e-6)
        assert one.width < one.opening <= 0.085 + 1e-6
        parts = one.friction_quality * one.trust_quality * one.balance_quality * one.approach_quality
        assert one.quality == pytest.approx(parts, rel=1e-4)


def test_completed_points_lie_on_the_meshes(told):
    message, came = told
    cloud = came["completed_cloud"]
    points = decode_point_cloud2(cloud).valid_points
    assert [field.name for field in cloud.fields][-2:] == ["confidence", "id"]
    meshes = [ReceivedObject.from_msg(item).mesh for item in message.objects]
    assert len(points) == pytest.approx(sum(mesh.area for mesh in meshes) / 0.003**2, rel=0.02)
    low, high = np.min([m.bounds[0] for m in meshes], axis=0), np.max([m.bounds[1] for m in meshes], axis=0)
    assert (points >= low - 1e-5).all()
    assert (points <= high + 1e-5).all()
