"""What can be asked of the node: services and the action, over DDS."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import trimesh

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from rclpy.action import ActionClient
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from onet_ros import action, srv
from onet_ros.ros import conversions
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.collector import ReceivedObject
from onet_ros.ros.image_messages import to_mask_msg
from onet_ros.ros.requests import OneAtATime
from onet_ros.ros.serialization import take_array

pytestmark = pytest.mark.ros

FRAME = "camera_depth_optical_frame"


def cloud_of(points: np.ndarray) -> PointCloud2:
    return to_point_cloud2_msg(Header(frame_id=FRAME), points, LAYOUTS["realsense"])


@pytest.fixture
def known(table_points, client, node):
    """The node's message on the two objects that it knows, made from a cloud just now."""
    return client.result_of(client.send(cloud_of(table_points)), node)


@pytest.fixture
def reconstruct(client, node):
    """Function that asks ~/reconstruct."""

    def ask(**request):
        return client.call(srv.Reconstruct, "~/reconstruct", node, **request)

    return ask


def box_around(item, margin: float = 0.02) -> dict[str, object]:
    """Region of a request around one object of a message."""
    centre = np.array([item.pose.position.x, item.pose.position.y, item.pose.position.z])
    low, high = (Point(x=x, y=y, z=z) for x, y, z in (centre - margin, centre + margin))
    return {"use_region": True, "region_min": low, "region_max": high}


class TestReconstruct:
    def test_newest_cloud_is_completed_again_under_the_same_ids_and_told_to_all(self, known, reconstruct, client, node):
        response = reconstruct()
        assert response.success, response.message
        assert [item.id for item in response.result.objects] == [item.id for item in known.objects]
        assert response.result.header == known.header
        assert {timing.stage for timing in response.result.timings} >= {"decode", "plane", "encode", "evaluate"}
        client.wait_until(lambda: client.collector.results[-1].timings == response.result.timings, node)

    def test_a_region_chooses_among_the_objects(self, known, reconstruct):
        for item in known.objects:
            response = reconstruct(**box_around(item))
            assert response.success, response.message
            assert [found.id for found in response.result.objects] == [item.id]

    def test_a_mask_of_the_request_takes_the_place_of_the_segmentation(self, known, reconstruct, table_scene):
        labels = np.where(table_scene[1].capture(0).labels == 2, 1, 0)
        response = reconstruct(mask=to_mask_msg(Header(), labels))
        assert response.success, response.message
        assert len(response.result.objects) == 1
        refused = reconstruct(mask=to_mask_msg(Header(), labels[:7]))
        assert (refused.success, refused.message[:22]) == (False, "a mask of 7 x 320 does")

    def test_a_cloud_of_the_request_is_completed_apart(self, known, reconstruct, table_points, client, node):
        count = len(client.collector.results)
        cloud = cloud_of(table_points)
        cloud.header.frame_id, cloud.header.stamp = "elsewhere", Time(sec=5)
        response = reconstruct(cloud=cloud)
        assert response.success, response.message
        assert [item.id for item in response.result.objects] == [0, 1]
        assert (response.result.header.frame_id, response.result.header.stamp.sec) == ("elsewhere", 5)
        assert all(ReceivedObject.from_msg(item).mesh.is_watertight for item in response.result.objects)
        # Nobody else is told, and what is known stays known.
        after = client.result_of(client.send(cloud_of(table_points)), node)
        assert len(client.collector.results) == count + 1
        assert [item.id for item in after.objects] == [item.id for item in known.objects]

    def test_a_cloud_that_is_not_there_yet_is_waited_for(self, known, reconstruct, table_points, client, node):
        asked = client.collector.create_client(srv.Reconstruct, "onet/reconstruct")
        client.wait_until(asked.service_is_ready, node)
        client.be_known(node)
        later = known.header.stamp.sec + 2
        future = asked.call_async(srv.Reconstruct.Request(not_before=Time(sec=later), timeout=20.0))

        def answered() -> bool:
            client.send(cloud_of(table_points))
            time.sleep(0.2)
            return future.done()

        client.wait_until(answered, node, timeout=30.0)
        assert future.result().success, future.result().message
        assert future.result().result.header.stamp.sec >= later
        client.collector.destroy_client(asked)

    def test_what_cannot_be_is_refused_with_its_reason(self, known, reconstruct, table_points):
        tomorrow = Time(sec=known.header.stamp.sec + 86_400)
        wall = np.tile([0.0, 0.0, 0.3], (40, 50, 1)).astype(np.float32)
        empty_box = {"use_region": True, "region_min": Point(x=1.0), "region_max": Point(x=-1.0)}
        broken = cloud_of(table_points)
        broken.point_step = 3
        for request, reason in (
            ({"not_before": tomorrow, "timeout": 0.3}, f"no input stamped {tomorrow.sec}.000000000 or later came"),
            ({"timeout": -1.0}, "timeout must be between 0 and 3600 s, got -1.0"),
            (empty_box, "region_min and region_max are no box"),
            ({"cloud": broken}, "ends past point_step 3"),
            ({"cloud": cloud_of(wall)}, "no support plane"),
        ):
            response = reconstruct(**request)
            assert not response.success
            assert reason in response.message


class TestAction:
    @pytest.fixture
    def send_goal(self, client, node):
        """Function that sends a goal and gives its handle and the feedback so far."""
        asked = ActionClient(client.collector, action.Reconstruct, "onet/reconstruct")
        client.wait_until(asked.server_is_ready, node)
        client.be_known(node)

        def send(**goal):
            told: list[action.Reconstruct.Feedback] = []
            future = asked.send_goal_async(
                action.Reconstruct.Goal(**goal), feedback_callback=lambda message: told.append(message.feedback)
            )
            client.wait_until(future.done, node)
            return future.result(), told

        yield send
        asked.destroy()

    def result_of(self, handle, client, node):
        future = handle.get_result_async()
        client.wait_until(future.done, node, timeout=60.0)
        return future.result()

    def test_goal_is_reached_with_feedback(self, known, send_goal, client, node):
        handle, told = send_goal()
        assert handle.accepted
        reached = self.result_of(handle, client, node)
        assert reached.status == GoalStatus.STATUS_SUCCEEDED
        assert reached.result.success
        assert [item.id for item in reached.result.result.objects] == [item.id for item in known.objects]
        client.wait_until(lambda: bool(told), node)
        assert told[0].stage == "waiting for a cloud"

    def test_goal_is_cancelled_and_another_one_is_not_taken_meanwhile(self, known, send_goal, client, node):
        handle, _ = send_goal(not_before=Time(sec=known.header.stamp.sec + 86_400), timeout=600.0)
        other, _ = send_goal()
        assert not other.accepted
        future = handle.cancel_goal_async()
        client.wait_until(future.done, node)
        ended = self.result_of(handle, client, node)
        assert ended.status == GoalStatus.STATUS_CANCELED
        assert (ended.result.success, ended.result.message) == (False, "cancelled")
        again, _ = send_goal()
        assert self.result_of(again, client, node).result.success

    def test_of_two_goals_at_once_one_is_taken(self, known, send_goal, client, node):
        asked = [ActionClient(client.collector, action.Reconstruct, "onet/reconstruct") for _ in range(2)]
        for one in asked:
            client.wait_until(one.server_is_ready, node)
        client.be_known(node)
        tomorrow = Time(sec=known.header.stamp.sec + 86_400)
        answers = [one.send_goal_async(action.Reconstruct.Goal(not_before=tomorrow, timeout=600.0)) for one in asked]
        client.wait_until(lambda: all(answer.done() for answer in answers), node)
        (taken,) = (answer.result() for answer in answers if answer.result().accepted)
        cancelled = taken.cancel_goal_async()
        client.wait_until(cancelled.done, node)
        assert self.result_of(taken, client, node).status == GoalStatus.STATUS_CANCELED
        for one in asked:
            one.destroy()

    def test_a_goal_that_was_accepted_and_never_begins_holds_the_place_for_a_while_only(self):
        goals = OneAtATime(patience=0.2)
        assert goals.promise()
        assert not goals.promise()
        time.sleep(0.3)
        assert goals.promise()
        goals.begin()
        time.sleep(0.3)
        assert not goals.promise()  # one that has begun has all the time it needs
        goals.end()
        assert goals.promise()

    def test_goal_that_cannot_be_reached_says_why(self, known, send_goal, client, node):
        handle, _ = send_goal(use_region=True, region_min=Point(x=1.0), region_max=Point(x=-1.0))
        ended = self.result_of(handle, client, node)
        assert ended.status == GoalStatus.STATUS_ABORTED
        assert "no box" in ended.result.message


def test_clear_takes_back_everything_and_starts_with_new_ids(known, table_points, client, node):
    client.wait_until(lambda: bool(client.collector.shown_markers()), node)
    response = client.call(Trigger, "~/clear", node)
    assert (response.success, response.message) == (True, "2 objects forgotten")
    client.wait_until(lambda: not client.collector.shown_markers(), node)
    client.wait_until(lambda: client.collector.results[-1].objects == [], node)
    if conversions.CollisionObject is not None:
        client.wait_until(lambda: not client.collector.planning_scene(), node)
    after = client.result_of(client.send(cloud_of(table_points)), node)
    assert min(item.id for item in after.objects) > max(item.id for item in known.objects)


class TestSaveMeshes:
    def save(self, client, node, **request):
        return client.call(srv.SaveMeshes, "~/save_meshes", node, **request)

    @pytest.mark.parametrize("file_format", ["ply", "stl", "obj", "glb"])
    def test_objects_are_written_with_poses_and_physics(self, file_format, known, client, node, tmp_path):
        response = self.save(client, node, directory=str(tmp_path / "new"), format=file_format, density=800.0)
        assert response.success, response.message
        assert all(Path(name).is_file() for name in response.files)
        index = json.loads(Path(response.files[-1]).read_text())
        assert index["frame_id"] == FRAME
        assert [record["id"] for record in index["objects"]] == [item.id for item in known.objects]
        for record, item in zip(index["objects"], known.objects, strict=True):
            mesh = trimesh.load_mesh(tmp_path / "new" / record["mesh"])
            true_mesh = ReceivedObject.from_msg(item).mesh
            assert mesh.volume == pytest.approx(true_mesh.volume, rel=1e-3)
            assert record["mass"] == pytest.approx(800.0 * true_mesh.volume, rel=1e-3)
            np.testing.assert_allclose(mesh.bounds.sum(axis=0), 0.0, atol=1e-6)
            position = item.pose.position
            np.testing.assert_allclose(record["position"], [position.x, position.y, position.z], atol=1e-9)
            assert (tmp_path / "new" / record["urdf"]).is_file()

    def test_one_object_into_the_folder_of_the_parameter(self, known, client, node, tmp_path):
        assert client.set_parameters(node, save_directory=str(tmp_path), files__urdf=False) == []
        response = self.save(client, node, ids=[known.objects[0].id])
        assert response.success, response.message
        assert [Path(name).name for name in response.files] == [f"object_{known.objects[0].id}.ply", "objects.json"]
        assert Path(response.files[0]).parent.parent == tmp_path
        assert client.set_parameters(node, files__urdf=True) == []

    def test_what_cannot_be_is_refused_with_its_reason(self, known, client, node, tmp_path):
        (tmp_path / "file").touch()
        for request, reason in (
            ({"format": "dae"}, "format must be one of ply, stl, obj, glb, got 'dae'"),
            ({"directory": "relative"}, "directory must be an absolute path"),
            ({"directory": str(tmp_path / "file")}, "file"),
            ({"ids": [999_999]}, "no object 999999: there are "),
            ({"density": -1.0}, "density must be in [1.0, 25000.0] kg/m^3, got -1.0"),
        ):
            response = self.save(client, node, **request)
            assert not response.success
            assert reason in response.message
        assert client.call(Trigger, "~/clear", node).success
        assert self.save(client, node).message == "no objects are known"


class TestOccupancy:
    def ask(self, client, node, points, **request):
        flat = np.asarray(points, dtype=np.float32).ravel().tolist()
        return client.call(srv.QueryOccupancy, "~/query_occupancy", node, points=flat, **request)

    def test_points_inside_outside_and_between(self, known, client, node):
        centres = [ReceivedObject.from_msg(item).mesh.center_mass for item in known.objects]
        ids = [item.id for item in known.objects]
        points = [*centres, [0.0, 0.0, 0.2], np.mean(centres, axis=0)]
        response = self.ask(client, node, points)
        assert response.success, response.message
        probability = take_array(response, "probability")
        assert probability[:2].min() > 0.9
        assert probability[2:].max() < 0.1
        assert take_array(response, "most_probable")[:3].tolist() == [*ids, -1]
        one = self.ask(client, node, points, ids=ids[:1], frame_id=FRAME)
        assert take_array(one, "probability")[1] < 0.1 < 0.9 < take_array(one, "probability")[0]

    def test_what_cannot_be_is_refused_with_its_reason(self, known, client, node):
        for points, request, reason in (
            ([0.0, 1.0], {}, "points are x, y, z one after the other, got 2 numbers"),
            ([[0.0, np.nan, 1.0]], {}, "1 of 1 points are not finite"),
            ([[0.0, 0.0, 1.0]], {"frame_id": "map"}, "points are in 'map', objects in"),
            ([[0.0, 0.0, 1.0]], {"ids": [999_999]}, "no object 999999: there are "),
        ):
            response = self.ask(client, node, points, **request)
            assert not response.success
            assert reason in response.message

    def test_no_points_have_no_answer_and_no_fault(self, known, client, node):
        response = self.ask(client, node, [])
        assert response.success
        assert len(response.probability) == 0


def test_on_demand_only_when_that_is_wanted(known, table_points, reconstruct, client, node):
    assert client.set_parameters(node, continuous=False) == []
    stamp = client.send(cloud_of(table_points))
    response = reconstruct(not_before=Time(sec=stamp[0], nanosec=stamp[1]))
    assert response.success, response.message
    assert response.result.header.stamp == Time(sec=stamp[0], nanosec=stamp[1])
    dropped = client.diagnosis(node)[2]["dropped: not asked for"]
    assert int(dropped) >= 1
    assert client.set_parameters(node, continuous=True) == []
    client.result_of(client.send(cloud_of(table_points)), node)


def test_requests_are_counted_in_the_diagnostics(known, client, node):
    before = int(client.diagnosis(node)[2].get("requests: clear", 0))
    client.call(Trigger, "~/clear", node)
    assert int(client.diagnosis(node)[2]["requests: clear"]) == before + 1
