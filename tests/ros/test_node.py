"""The node over DDS, as a process: what comes back for good clouds, and what it says to bad ones."""

from __future__ import annotations

import array
import itertools
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker, MarkerArray

from onet_ros.msg import ReconstructedObjects
from onet_ros.ros import conversions
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.collector import ReceivedObject
from onet_ros.ros.node_settings import NodeSettings
from onet_ros.ros.serialization import serialize, take_array

pytestmark = pytest.mark.ros

FRAME = "camera_depth_optical_frame"


@pytest.fixture
def good_cloud(table_points) -> PointCloud2:
    return to_point_cloud2_msg(Header(frame_id=FRAME), table_points, LAYOUTS["realsense"])


@pytest.fixture
def good_result(good_cloud, client, node):
    return client.result_of(client.send(good_cloud), node)


def test_objects_come_back_as_closed_meshes_in_their_places(good_result, table_points):
    assert good_result.header.frame_id == FRAME
    assert len(good_result.objects) == 2
    assert good_result.has_support_plane
    plane = np.asarray(good_result.support_plane)
    for message in good_result.objects:
        item = ReceivedObject.from_msg(message)
        for mesh in (item.mesh, item.collision_mesh):
            assert mesh.is_watertight
            assert mesh.is_winding_consistent
            assert mesh.volume > 1e-5
        assert len(message.collision_mesh.triangles) <= 3 * 1000
        # The octahedron stands on the table and is as wide as high.
        heights = item.mesh.vertices @ plane[:3] + plane[3]
        assert heights.min() == pytest.approx(0.0, abs=0.003)
        assert heights.max() == pytest.approx(item.size[2], abs=0.003)
        np.testing.assert_allclose(item.size, item.size[2], rtol=0.05)
        # Its middle is over the middle of what was seen.
        flat = table_points[np.isfinite(table_points).all(axis=-1)]
        seen = flat[np.linalg.norm(flat - item.mesh.center_mass, axis=1) < 0.12]
        seen = seen[seen @ plane[:3] + plane[3] > 0.01]
        assert len(seen) > 100
        offset = seen.mean(axis=0) - item.mesh.center_mass
        assert np.linalg.norm(offset - offset @ plane[:3] * plane[:3]) < 0.05


def test_message_says_how_each_object_lies_and_how_sure_it_is(good_result):
    plane = np.asarray(good_result.support_plane)
    for message in good_result.objects:
        item = ReceivedObject.from_msg(message)
        T_source_object = conversions.from_pose_msg(message.pose)
        np.testing.assert_allclose(T_source_object[:3, 2], plane[:3], atol=1e-3)  # z up
        assert T_source_object[:3, 0] @ T_source_object[:3, 3] < 0.0  # x towards the camera at the origin
        vertices = take_array(message.mesh, "vertices").reshape(-1, 3)
        np.testing.assert_allclose(vertices.max(axis=0), -vertices.min(axis=0), atol=1e-6)  # origin in the middle
        np.testing.assert_allclose(np.ptp(vertices, axis=0), item.size, atol=1e-6)
        assert ((item.confidence >= 0.0) & (item.confidence <= 1.0)).all()
        assert 0.0 <= message.seen_fraction <= 1.0
        assert message.seen_points > 100


def test_latency_counts_from_the_stamp_of_the_cloud(good_result, good_cloud, client, node):
    assert 0.0 < good_result.processing_time <= good_result.latency < 20.0
    stamp = client.send(good_cloud)
    old = client.result_of(stamp, node).latency
    good_cloud.header.stamp.sec += 3600
    client._publisher.publish(good_cloud)
    future = client.result_of((good_cloud.header.stamp.sec, good_cloud.header.stamp.nanosec), node).latency
    assert np.isfinite(old)
    assert np.isnan(future)


def test_who_comes_late_is_told_the_last_objects(good_result, client, node):
    late: list[ReconstructedObjects] = []
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    subscription = client.collector.create_subscription(ReconstructedObjects, "onet/objects", late.append, qos)
    client.wait_until(lambda: bool(late), node)
    # Not rclpy's way, which leaves in the padding whatever the memory held.
    assert [serialize(one) for one in late] == [serialize(good_result)]
    client.collector.destroy_subscription(subscription)


def test_markers_show_each_object_and_its_label_and_vanish_with_it(good_cloud, table_points, client, node):
    client.wait_until(lambda: client.collector.count_publishers("onet/markers") == 1, node)
    message = client.result_of(client.send(good_cloud), node)
    ids = [item.id for item in message.objects]
    always = ("onet/objects", "onet/labels", "onet/shells")
    expected = {(namespace, number) for namespace in always for number in ids}
    expected |= {("onet/next_views", item.id) for item in message.objects if item.next_view_gain >= 0.3}
    may_be = {("onet/grasps", number) for number in ids}  # where the object can be held
    client.wait_until(lambda: expected <= set(client.collector.shown_markers()) <= expected | may_be, node)
    shown = client.collector.shown_markers()
    for item in message.objects:
        surface, label = shown["onet/objects", item.id], shown["onet/labels", item.id]
        assert surface.type == Marker.TRIANGLE_LIST
        assert len(surface.points) == len(surface.colors) == len(item.mesh.triangles)
        first = take_array(item.mesh, "vertices").reshape(-1, 3)[item.mesh.triangles[0]]
        point = surface.points[0]
        np.testing.assert_allclose([point.x, point.y, point.z], first, atol=1e-6)
        assert surface.pose == item.pose
        assert surface.lifetime.sec == NodeSettings().marker_lifetime
        millimetres = [round(1000 * length) for length in (item.size.x, item.size.y, item.size.z)]
        assert label.text.startswith(f"{item.id}: {millimetres[0]} x {millimetres[1]} x {millimetres[2]} mm, ")
    # Without its right half the cloud shows one object; the other's markers go, the first one keeps its number.
    one_object = table_points.copy()
    one_object[:, 160:] = np.nan
    message = client.result_of(
        client.send(to_point_cloud2_msg(Header(frame_id=FRAME), one_object, LAYOUTS["zed"])), node
    )
    (left,) = [item.id for item in message.objects]
    assert left in ids
    client.wait_until(lambda: {number for _, number in client.collector.shown_markers()} == {left}, node)


def test_an_unchanged_object_is_shown_again_only_when_somebody_new_looks(good_cloud, client, node):
    first = client.result_of(client.send(good_cloud), node)
    keys = {("onet/objects", item.id) for item in first.objects}
    client.wait_until(lambda: keys <= set(client.collector.shown_markers()), node)
    before = {key: client.collector.shown_markers()[key].header.stamp for key in keys}
    for _ in range(2):
        client.result_of(client.send(good_cloud), node)
    assert {key: client.collector.shown_markers()[key].header.stamp for key in keys} == before
    late: list[MarkerArray] = []
    subscription = client.collector.create_subscription(MarkerArray, "onet/markers", late.append, 10)
    client.wait_until(lambda: client.collector.count_subscribers("onet/markers") == 2, node)

    def seen_by_the_late_one() -> bool:
        client.result_of(client.send(good_cloud), node)
        return keys <= {(marker.ns, marker.id) for message in late for marker in message.markers}

    client.wait_until(seen_by_the_late_one, node)
    client.collector.destroy_subscription(subscription)


@pytest.mark.skipif(conversions.CollisionObject is None, reason="moveit_msgs is not installed")
def test_collision_objects_hold_what_a_planner_needs_and_are_removed(good_cloud, table_points, client, node):
    client.wait_until(lambda: client.collector.count_publishers("collision_object") == 1, node)
    message = client.result_of(client.send(good_cloud), node)
    names = {f"onet_{item.id}" for item in message.objects}
    client.wait_until(lambda: set(client.collector.planning_scene()) == names, node)
    scene = client.collector.planning_scene()
    for item in message.objects:
        planned = scene[f"onet_{item.id}"]
        assert planned.operation == planned.ADD
        assert len(planned.mesh_poses) == len(planned.meshes) == 1
        assert planned.mesh_poses[0].orientation.w == 1.0
        (mesh,) = conversions.from_collision_object_msg(planned)
        assert mesh.is_watertight
        expected = conversions.from_triangle_mesh_msg(item.conservative_mesh, conversions.from_pose_msg(item.pose))
        np.testing.assert_allclose(mesh.vertices, expected.vertices, atol=1e-6)
        np.testing.assert_array_equal(mesh.faces, expected.faces)
    one_object = table_points.copy()
    one_object[:, 160:] = np.nan
    cloud = to_point_cloud2_msg(Header(frame_id=FRAME), one_object, LAYOUTS["azure_kinect"])
    (left,) = client.result_of(client.send(cloud), node).objects
    client.wait_until(lambda: set(client.collector.planning_scene()) == {f"onet_{left.id}"}, node)


def empty_cloud(good: PointCloud2) -> PointCloud2:
    return PointCloud2(fields=good.fields, point_step=good.point_step)


def without_coordinates(good: PointCloud2) -> PointCloud2:
    good.fields = [PointField(name="intensity", offset=0, datatype=PointField.FLOAT32, count=1)]
    return good


def wrong_point_step(good: PointCloud2) -> PointCloud2:
    good.point_step = 10
    return good


def truncated_data(good: PointCloud2) -> PointCloud2:
    good.data = good.data[: len(good.data) // 2]
    return good


def only_nan(good: PointCloud2) -> PointCloud2:
    return to_point_cloud2_msg(good.header, np.full((4, 5, 3), np.nan, np.float32), LAYOUTS["zed"])


def ten_million_points(good: PointCloud2) -> PointCloud2:
    fields = [PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, n in enumerate("xyz")]
    data = array.array("B", bytes(120_000_000))
    size = {"height": 2000, "width": 5000, "point_step": 12, "row_step": 60_000}
    return PointCloud2(header=good.header, fields=fields, data=data, **size)


def no_table(good: PointCloud2) -> PointCloud2:
    directions = np.random.default_rng(0).normal(size=(60, 80, 3))  # the inside of a ball
    points = (directions / np.linalg.norm(directions, axis=2, keepdims=True)).astype(np.float32)
    return to_point_cloud2_msg(good.header, points, LAYOUTS["packed"])


BAD_CLOUDS = {
    empty_cloud: "empty cloud: height 0 x width 0",
    without_coordinates: "no field 'x' among the fields: intensity",
    wrong_point_step: "past point_step 10",
    truncated_data: "data holds 768000 bytes, height 240 x row_step 6400 = 1536000 expected",
    only_nan: "none of the 20 points is usable: 20 not finite",
    ten_million_points: "2000 x 5000 = 10000000 points exceeds the limit of 5000000",
    no_table: "no support plane",
}


@pytest.mark.parametrize("spoil", BAD_CLOUDS, ids=lambda spoil: spoil.__name__)
def test_bad_cloud_is_refused_with_its_reason_and_the_next_good_one_works(
    spoil, good_cloud, good_result, table_points, client, node
):
    client.send(spoil(good_cloud))
    client.wait_until(lambda: BAD_CLOUDS[spoil] in node.log(), node)
    again = to_point_cloud2_msg(Header(frame_id=FRAME), table_points, LAYOUTS["realsense"])
    after = client.result_of(client.send(again), node)
    # Objects that had been taken back would have new numbers now.
    assert [item.id for item in after.objects] == [item.id for item in good_result.objects]


def test_bytes_that_are_no_cloud_are_refused_and_the_next_good_one_works(
    good_cloud, good_result, table_points, client, node
):
    good_cloud.header.stamp = client.collector.get_clock().now().to_msg()
    client.send_bytes(serialize(good_cloud)[:1000])
    client.wait_until(
        lambda: "invalid input (" in node.log() and "1000 bytes are not a PointCloud2" in node.log(), node
    )
    again = to_point_cloud2_msg(Header(frame_id=FRAME), table_points, LAYOUTS["realsense"])
    after = client.result_of(client.send(again), node)
    assert [item.id for item in after.objects] == [item.id for item in good_result.objects]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_drivers_layout_gives_the_same_objects(layout, table_points, good_result, client, node):
    assert client.call(Trigger, "~/clear", node).success  # what is known already would not be completed again
    cloud = to_point_cloud2_msg(Header(frame_id=FRAME), table_points, LAYOUTS[layout])
    message = client.result_of(client.send(cloud), node)
    assert len(message.objects) == len(good_result.objects)
    assert not {item.id for item in message.objects} & {item.id for item in good_result.objects}
    for item, reference in zip(message.objects, good_result.objects, strict=True):
        # Without rows and columns the clusters are found in another way.
        tolerance = 1e-3 if LAYOUTS[layout].organized else 0.02
        assert item.pose.position.x == pytest.approx(reference.pose.position.x, abs=tolerance)
        assert item.size.z == pytest.approx(reference.size.z, abs=tolerance)


def test_only_the_newest_cloud_is_worked_on_under_load(good_cloud, client, node):
    stamps = []
    deadline = time.monotonic() + 3.0
    for _ in itertools.takewhile(lambda _: time.monotonic() < deadline, itertools.count()):
        stamps.append(client.send(good_cloud))
        client.executor.spin_once(timeout_sec=0.0)
        time.sleep(0.005)
    last = client.result_of(stamps[-1], node)
    done = {(message.header.stamp.sec, message.header.stamp.nanosec): message for message in client.collector.results}
    results = [done[stamp] for stamp in stamps if stamp in done]
    assert 2 <= len(results) < len(stamps)
    # No queue: a cloud waits for at most the one that was in work when it came.
    slowest = max(message.processing_time for message in results)
    assert last.latency < 2.0 * slowest + 0.5


def test_unknown_parameter_is_named_with_what_it_may_have_meant(node):
    assert "parameter segmentation.min_pts is not one of this node's" in node.log()
    assert "did you mean segmentation.min_points?" in node.log()


def test_best_effort_publisher_is_heard_too(table_points, client, node):
    best_effort = client.collector.create_publisher(
        PointCloud2, "points", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    client.wait_until(lambda: "messages on /points come with best effort" in node.log(), node)
    client.wait_until(lambda: best_effort.get_subscription_count() > 0, node)
    # 100 kB: small enough for the shared memory of a best-effort publisher.
    small = to_point_cloud2_msg(Header(frame_id=FRAME), table_points[::3, ::3], LAYOUTS["packed"])
    small.header.stamp.sec = 12345
    received = len(client.collector.results)

    def heard() -> bool:
        best_effort.publish(small)
        return any(message.header.stamp.sec == 12345 for message in client.collector.results[received:])

    client.wait_until(heard, node)
    client.collector.destroy_publisher(best_effort)
    client.wait_until(lambda: node.log().count("messages on /points come reliably") == 2, node)
