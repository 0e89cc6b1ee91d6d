"""Meshes, poses and colours to messages and back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import trimesh

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, Quaternion
from rclpy.time import Time as RosTime
from std_msgs.msg import Header
from trusted import trust
from visualization_msgs.msg import Marker

from onet_ros import pictures
from onet_ros.grasping import Grasp, GraspSettings
from onet_ros.grasping.sampler import PARTS
from onet_ros.live_scene import LiveObject
from onet_ros.reconstructor import ReconstructedObject
from onet_ros.ros import conversions
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.collector import ReceivedObject
from onet_ros.ros.grasp_publisher import surface_points
from onet_ros.ros.serialization import take_array
from onet_ros.scene import SupportPlane, decode_point_cloud2

pytestmark = pytest.mark.ros

HEADER = Header(frame_id="camera", stamp=Time(sec=12, nanosec=34))
POSES = [trimesh.transformations.random_rotation_matrix(np.random.default_rng(seed).random(3)) for seed in range(8)]
POSES += [trimesh.transformations.rotation_matrix(np.pi, axis) for axis in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]


@pytest.fixture
def reconstructed() -> ReconstructedObject:
    """A box of 40 x 60 x 80 mm, one metre away, turned."""
    pose = trimesh.transformations.euler_matrix(0.3, -0.8, 2.0)
    pose[:3, 3] = 0.1, -0.2, 1.0
    mesh = trimesh.creation.box((0.04, 0.06, 0.08)).subdivide()
    mesh = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).apply_transform(pose)
    return ReconstructedObject(
        mesh=mesh,
        confidence=np.linspace(0.0, 1.0, len(mesh.vertices), dtype=np.float32),
        error=np.full(len(mesh.vertices), 0.002, dtype=np.float32),
        collision_mesh=trimesh.creation.box((0.04, 0.06, 0.08)).apply_transform(pose),
        conservative_mesh=trimesh.creation.box((0.04, 0.06, 0.08)).apply_transform(pose),
        T_source_object=pose,
        size=np.array([0.04, 0.06, 0.08]),
        indices=np.arange(123),
        seen_fraction=0.4,
        trust=trust(),
    )


def live(number: int, shape: ReconstructedObject) -> LiveObject:
    """A shape that was completed just now."""
    return LiveObject(number, shape, 0, 0, 0, seen_now=True, views=1, waiting="")


@pytest.mark.parametrize("rotation", POSES)
def test_pose_round_trip(rotation):
    pose = rotation.copy()
    pose[:3, 3] = 0.1, -2.0, 3.5
    np.testing.assert_allclose(conversions.from_pose_msg(conversions.to_pose_msg(pose)), pose, atol=1e-12)


def test_pose_without_a_rotation_is_refused():
    with pytest.raises(ValueError, match=r"quaternion \(w, x, y, z\) = \[0.0, 0.0, 0.0, 0.0\] is not a rotation"):
        conversions.from_pose_msg(Pose(orientation=Quaternion(w=0.0)))


def test_object_round_trip(reconstructed):
    received = ReceivedObject.from_msg(conversions.to_object_msg(live(5, reconstructed)))
    # Vertices travel as float32 in the object's frame: 4 cm cost less than a micrometre.
    np.testing.assert_allclose(received.mesh.vertices, reconstructed.mesh.vertices, atol=1e-7)
    np.testing.assert_array_equal(received.mesh.faces, reconstructed.mesh.faces)
    np.testing.assert_allclose(received.collision_mesh.vertices, reconstructed.collision_mesh.vertices, atol=1e-7)
    np.testing.assert_array_equal(received.confidence, reconstructed.confidence)
    assert received.size == tuple(reconstructed.size)
    assert received.mesh.is_watertight
    assert received.mesh.volume == pytest.approx(0.04 * 0.06 * 0.08, rel=1e-5)


def test_trust_goes_along(reconstructed):
    message = conversions.to_object_msg(live(5, reconstructed))
    assert message.reliable
    assert message.reason == ""
    told = (message.expected_error, message.coverage, message.seen_distance, message.next_view_gain)
    assert told == pytest.approx((0.002, 0.95, 0.001, 0.5))
    assert (message.next_view.x, message.next_view.y, message.next_view.z) == (0.0, 0.6, 0.8)
    np.testing.assert_array_equal(take_array(message, "vertex_error"), reconstructed.error)
    T_source_object = conversions.from_pose_msg(message.pose)
    conservative = conversions.from_triangle_mesh_msg(message.conservative_mesh, T_source_object)
    np.testing.assert_allclose(conservative.vertices, reconstructed.conservative_mesh.vertices, atol=1e-7)


def test_properties_are_those_of_the_solid(reconstructed):
    properties = conversions.to_object_msg(live(5, reconstructed), density=1000.0).properties
    assert properties.volume == pytest.approx(0.04 * 0.06 * 0.08, rel=1e-4)
    assert properties.inertia.m == pytest.approx(0.192, rel=1e-4)
    # A box: m / 12 (b^2 + c^2) about each axis, in the object's frame.
    moments = properties.inertia.ixx, properties.inertia.iyy, properties.inertia.izz
    assert moments == pytest.approx(
        [0.016 * (0.06**2 + 0.08**2), 0.016 * (0.04**2 + 0.08**2), 0.016 * 0.0052], rel=1e-3
    )
    size = properties.box_size
    assert (size.x, size.y, size.z) == pytest.approx((0.06, 0.04, 0.08), abs=1e-5)
    axes = conversions.from_pose_msg(Pose(orientation=properties.principal_axes))[:3, :3]
    np.testing.assert_allclose(np.abs(axes), np.eye(3)[[2, 1, 0]].T @ np.eye(3)[[0, 1, 2]], atol=1e-5)


def test_grasps_are_told_and_drawn(reconstructed):
    pose = trimesh.transformations.euler_matrix(0.1, 0.2, 0.3)
    pose[:3, 3] = 0.1, 0.2, 0.3
    contacts, normals = np.array([[0.0, 0.0, 0.0], [0.05, 0.0, 0.0]]), np.array([[-1.0, 0, 0], [1.0, 0, 0]])
    parts = {"friction": 0.9, "trust": 0.8, "balance": 0.7, "approach": 0.6}
    grasp = Grasp(pose, 0.05, 0.07, contacts, normals, np.array([1.0, 0.25]), 0.75, parts)
    message = conversions.to_grasp_msg(7, grasp)
    assert (message.id, message.quality) == (7, pytest.approx(0.75))
    assert (message.width, message.opening) == (pytest.approx(0.05), pytest.approx(0.07))
    np.testing.assert_allclose(conversions.from_pose_msg(message.pose), pose, atol=1e-12)
    assert (message.contacts[1].x, message.normals[0].x) == (0.05, -1.0)
    assert list(message.confidence) == [1.0, 0.25]
    assert {name: round(getattr(message, f"{name}_quality"), 6) for name in PARTS} == parts
    marker = conversions.to_grasps_marker(HEADER, 7, [grasp], GraspSettings(), 0.0)
    lines = trimesh.transformations.transform_points(take_array(marker, "points"), np.linalg.inv(pose))
    assert marker.type == Marker.LINE_LIST
    assert np.abs(lines[:, 0]).max() == pytest.approx(0.035)
    assert lines[:, 2].max() == pytest.approx(0.0, abs=1e-9)


def test_completed_points_go_with_normals_confidence_and_id(reconstructed):
    points = surface_points(live(4, reconstructed), 0.005)
    assert len(points) == pytest.approx(reconstructed.mesh.area / 0.005**2, abs=1)
    message = conversions.to_completed_cloud_msg(HEADER, {4: points, 9: points[:10]})
    cloud = decode_point_cloud2(message)
    np.testing.assert_allclose(cloud.valid_points, np.concatenate([points, points[:10]])[:, :3], atol=1e-7)
    ids = np.frombuffer(message.data, dtype=np.dtype([("values", "<f4", 7), ("id", "<u4")]))["id"]
    assert ids.tolist() == [4] * len(points) + [9] * 10
    np.testing.assert_allclose(np.linalg.norm(points[:, 3:6], axis=1), 1.0, atol=1e-5)


def test_pieces_have_a_colour_each(reconstructed):
    pieces = [trimesh.creation.box((0.01, 0.01, 0.01)), trimesh.creation.icosphere(1, 0.01)]
    marker = conversions.to_pieces_marker(HEADER, 3, reconstructed, pieces, 0.0)
    colours = take_array(marker, "colors").reshape(-1, 4)
    assert len(take_array(marker, "points")) == len(colours) == 3 * sum(len(one.faces) for one in pieces)
    assert len(np.unique(colours, axis=0)) == 2
    assert (colours[:, 3] < 1.0).all()


def test_of_an_unreliable_object_only_the_conservative_mesh_is_told(reconstructed):
    doubtful = dataclasses.replace(reconstructed, trust=trust(reliable=False, reason="expected error 9.1 mm"))
    message = conversions.to_object_msg(live(5, doubtful))
    assert not message.reliable
    assert message.reason == "expected error 9.1 mm"
    assert not len(message.mesh.vertices)
    assert not len(message.confidence)
    assert not len(message.vertex_error)
    received = ReceivedObject.from_msg(message)
    np.testing.assert_allclose(received.mesh.vertices, reconstructed.conservative_mesh.vertices, atol=1e-7)
    assert not received.confidence.any()
    everything = conversions.to_object_msg(live(5, doubtful), unreliable_mesh=True)
    assert len(everything.confidence) == len(reconstructed.confidence)


def test_the_shell_is_translucent_and_red_where_nothing_else_is_reliable(reconstructed):
    shell = conversions.to_shell_marker(HEADER, 3, reconstructed, 0.0)
    assert shell.type == Marker.TRIANGLE_LIST
    assert (shell.ns, shell.id) == ("onet/shells", 3)
    assert 0.0 < shell.color.a < 0.6
    assert abs(shell.color.r - shell.color.g) < 0.2
    assert len(take_array(shell, "points")) == 3 * len(reconstructed.conservative_mesh.faces)
    doubtful = dataclasses.replace(reconstructed, trust=trust(reliable=False))
    assert conversions.to_shell_marker(HEADER, 3, doubtful, 0.0).color.r > 0.6


def test_the_arrow_comes_from_where_the_camera_should_stand(reconstructed):
    arrow = conversions.to_next_view_marker(HEADER, 3, reconstructed, 0.0)
    start, end = (np.array([point.x, point.y, point.z]) for point in arrow.points)
    centre = reconstructed.T_source_object[:3, 3]
    np.testing.assert_allclose((start - end) / np.linalg.norm(start - end), [0.0, 0.6, 0.8], atol=1e-9)
    assert np.linalg.norm(end - centre) == pytest.approx(np.linalg.norm(reconstructed.size) / 2.0)
    settled = dataclasses.replace(reconstructed, trust=trust(next_view_gain=0.1))
    assert conversions.to_next_view_marker(HEADER, 3, settled, 0.0).action == Marker.DELETE


def test_object_in_the_message_lies_in_its_own_frame(reconstructed):
    message = conversions.to_object_msg(live(5, reconstructed))
    vertices = take_array(message.mesh, "vertices").reshape(-1, 3)
    np.testing.assert_allclose(vertices.max(axis=0), [0.02, 0.03, 0.04], atol=1e-7)
    np.testing.assert_allclose(vertices.min(axis=0), [-0.02, -0.03, -0.04], atol=1e-7)
    assert (message.id, message.seen_points) == (5, 123)
    assert message.seen_fraction == pytest.approx(0.4)


def test_message_that_contradicts_itself_is_refused(reconstructed):
    message = conversions.to_object_msg(live(5, reconstructed))
    message.confidence = message.confidence[:-1]
    with pytest.raises(ValueError, match="25 confidences for 26 vertices"):
        ReceivedObject.from_msg(message)


def test_objects_message_holds_plane_and_times(reconstructed):
    plane = SupportPlane.from_coefficients(np.array([0.0, -0.6, -0.8, 1.1]))
    objects = [conversions.to_object_msg(live(number, reconstructed)) for number in (4, 9)]
    timings = {"plane": 0.01, "encode": 0.05}
    message = conversions.to_objects_msg(HEADER, plane, objects, 0.2, 0.1, timings, waiting=3)
    assert [item.id for item in message.objects] == [4, 9]
    assert message.has_support_plane
    np.testing.assert_allclose(message.support_plane, [0.0, -0.6, -0.8, 1.1])
    assert (message.latency, message.processing_time, message.header) == (0.2, 0.1, HEADER)
    assert {timing.stage: timing.seconds for timing in message.timings} == timings
    assert message.waiting == 3


def test_object_says_when_it_was_seen_and_completed(reconstructed):
    item = LiveObject(5, reconstructed, 1_000_000_002, 3_000_000_004, 2_999_999_999, False, 3, "")
    message = conversions.to_object_msg(item)
    assert message.first_seen == Time(sec=1, nanosec=2)
    assert message.last_seen == Time(sec=3, nanosec=4)
    assert message.completed == Time(sec=2, nanosec=999_999_999)
    assert (message.seen_now, message.views) == (False, 3)


def test_surface_marker_has_a_coloured_triangle_for_each_face(reconstructed):
    marker = conversions.to_surface_marker(HEADER, 7, reconstructed, lifetime=2.5)
    points, colours = take_array(marker, "points"), take_array(marker, "colors")
    in_source = trimesh.transform_points(points, conversions.from_pose_msg(marker.pose)).reshape(-1, 3, 3)
    np.testing.assert_allclose(in_source, reconstructed.mesh.triangles, atol=1e-12)
    expected = conversions.confidence_colours(reconstructed.confidence)[reconstructed.mesh.faces.ravel()]
    np.testing.assert_array_equal(colours, expected)
    assert (marker.type, marker.action, marker.ns, marker.id) == (Marker.TRIANGLE_LIST, Marker.ADD, "onet/objects", 7)
    assert (marker.scale.x, marker.scale.y, marker.scale.z) == (1.0, 1.0, 1.0)
    assert (marker.lifetime.sec, marker.lifetime.nanosec) == (2, 500_000_000)


def test_label_stands_over_the_object_and_tells_size_and_latency(reconstructed):
    label = conversions.to_label_marker(HEADER, 7, reconstructed, latency=0.4126, lifetime=0.0)
    assert label.text == "7: 40 x 60 x 80 mm, 413 ms"
    offset = np.array([label.pose.position.x, label.pose.position.y, label.pose.position.z])
    offset -= reconstructed.T_source_object[:3, 3]
    np.testing.assert_allclose(offset, 0.06 * reconstructed.T_source_object[:3, 2], atol=1e-12)
    assert conversions.to_label_marker(HEADER, 7, reconstructed, np.nan, 0.0).text == "7: 40 x 60 x 80 mm"


def test_delete_markers_name_what_was_added(reconstructed):
    added = [
        conversions.to_surface_marker(HEADER, 7, reconstructed, 0.0),
        conversions.to_label_marker(HEADER, 7, reconstructed, 0.0, 0.0),
        conversions.to_shell_marker(HEADER, 7, reconstructed, 0.0),
        conversions.to_next_view_marker(HEADER, 7, reconstructed, 0.0),
        conversions.to_pieces_marker(HEADER, 7, reconstructed, [reconstructed.collision_mesh], 0.0),
        conversions.to_grasps_marker(HEADER, 7, [], GraspSettings(), 0.0),
    ]
    deleted = conversions.to_delete_markers(HEADER, 7)
    assert {(m.ns, m.id) for m in added} == {(m.ns, m.id) for m in deleted}
    assert {m.action for m in deleted} == {Marker.DELETE}


def test_confidence_has_the_colours_of_the_pictures():
    guessed, seen, beyond = conversions.confidence_colours(np.array([0.0, 1.0, 7.0]))
    np.testing.assert_allclose(guessed, [*pictures.GUESSED, 1.0], atol=1e-6)
    np.testing.assert_allclose(seen, [*pictures.SEEN, 1.0], atol=1e-6)
    np.testing.assert_array_equal(beyond, seen)


@pytest.mark.skipif(conversions.CollisionObject is None, reason="moveit_msgs is not installed")
def test_collision_object_round_trip(reconstructed):
    message = conversions.to_collision_object_msg(
        HEADER, "onet_3", reconstructed.T_source_object, [reconstructed.collision_mesh]
    )
    (mesh,) = conversions.from_collision_object_msg(message)
    np.testing.assert_allclose(mesh.vertices, reconstructed.collision_mesh.vertices, atol=1e-12)
    np.testing.assert_array_equal(mesh.faces, reconstructed.collision_mesh.faces)
    removal = conversions.to_collision_removal_msg(HEADER, "onet_3")
    assert (removal.id, removal.operation) == (message.id, message.REMOVE)


@pytest.mark.skipif(conversions.CollisionObject is None, reason="moveit_msgs is not installed")
@pytest.mark.parametrize("fault", ["open", "flat", "not finite"])
def test_what_has_crashed_planners_is_never_made_a_collision_object(fault, reconstructed):
    mesh = reconstructed.collision_mesh
    if fault == "open":
        mesh.update_faces(np.arange(len(mesh.faces)) > 0)
    elif fault == "flat":
        mesh.vertices = mesh.vertices * [1.0, 1.0, 0.0]
    else:
        mesh.vertices = np.where(np.arange(len(mesh.vertices))[:, None] == 0, np.nan, mesh.vertices)
    with pytest.raises(ValueError, match="collision mesh of onet_3 is not a solid"):
        conversions.to_collision_object_msg(
            HEADER, "onet_3", reconstructed.T_source_object, [reconstructed.collision_mesh]
        )


def test_latency_is_unknown_for_stamps_that_are_not_set_or_ahead():
    now = RosTime(seconds=100, nanoseconds=500_000_000)
    assert conversions.seconds_since(Time(sec=99), now) == pytest.approx(1.5)
    assert np.isnan(conversions.seconds_since(Time(sec=101), now))
    assert np.isnan(conversions.seconds_since(Time(), now))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_clouds_in_every_layout_are_decoded_to_the_same_points(layout):
    rng = np.random.default_rng(1)
    points = rng.uniform(0.2, 2.0, (6, 8, 3)).astype(np.float32)
    points[2, 3] = np.nan
    colours = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    message = to_point_cloud2_msg(HEADER, points, LAYOUTS[layout], colours)
    cloud = decode_point_cloud2(message)
    if LAYOUTS[layout].organized:
        np.testing.assert_array_equal(cloud.points, points)
    else:
        np.testing.assert_array_equal(cloud.points[0], points[np.isfinite(points).all(axis=-1)])
    assert message.header == HEADER
    assert len(message.data) == message.height * message.row_step


def test_colours_are_packed_as_pcl_does():
    points = np.ones((1, 2, 3), np.float32)
    colours = np.array([[[1, 2, 3], [255, 0, 128]]], np.uint8)
    message = to_point_cloud2_msg(HEADER, points, LAYOUTS["zed"], colours)
    packed = np.frombuffer(message.data, "<u4").reshape(2, 4)[:, 3]
    assert [hex(value) for value in packed] == ["0x10203", "0xff0080"]
