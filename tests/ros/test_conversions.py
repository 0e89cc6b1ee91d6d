"""Meshes, poses and colours to messages and back."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, Quaternion
from rclpy.time import Time as RosTime
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from onet_ros import pictures
from onet_ros.reconstructor import ReconstructedObject, Reconstruction
from onet_ros.ros import conversions
from onet_ros.ros.cloud_layouts import LAYOUTS, to_point_cloud2_msg
from onet_ros.ros.collector import ReceivedObject
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
        collision_mesh=trimesh.creation.box((0.04, 0.06, 0.08)).apply_transform(pose),
        T_source_object=pose,
        size=np.array([0.04, 0.06, 0.08]),
        indices=np.arange(123),
        seen_fraction=0.4,
    )


@pytest.mark.parametrize("rotation", POSES)
def test_pose_round_trip(rotation):
    pose = rotation.copy()
    pose[:3, 3] = 0.1, -2.0, 3.5
    np.testing.assert_allclose(conversions.from_pose_msg(conversions.to_pose_msg(pose)), pose, atol=1e-12)


def test_pose_without_a_rotation_is_refused():
    with pytest.raises(ValueError, match=r"quaternion \(w, x, y, z\) = \[0.0, 0.0, 0.0, 0.0\] is not a rotation"):
        conversions.from_pose_msg(Pose(orientation=Quaternion(w=0.0)))


def test_object_round_trip(reconstructed):
    received = ReceivedObject.from_msg(conversions.to_object_msg(5, reconstructed))
    # Vertices travel as float32 in the object's frame: 4 cm cost less than a micrometre.
    np.testing.assert_allclose(received.mesh.vertices, reconstructed.mesh.vertices, atol=1e-7)
    np.testing.assert_array_equal(received.mesh.faces, reconstructed.mesh.faces)
    np.testing.assert_allclose(received.collision_mesh.vertices, reconstructed.collision_mesh.vertices, atol=1e-7)
    np.testing.assert_array_equal(received.confidence, reconstructed.confidence)
    assert received.size == tuple(reconstructed.size)
    assert received.mesh.is_watertight
    assert received.mesh.volume == pytest.approx(0.04 * 0.06 * 0.08, rel=1e-5)


def test_object_in_the_message_lies_in_its_own_frame(reconstructed):
    message = conversions.to_object_msg(5, reconstructed)
    vertices = take_array(message.mesh, "vertices").reshape(-1, 3)
    np.testing.assert_allclose(vertices.max(axis=0), [0.02, 0.03, 0.04], atol=1e-7)
    np.testing.assert_allclose(vertices.min(axis=0), [-0.02, -0.03, -0.04], atol=1e-7)
    assert (message.id, message.seen_points) == (5, 123)
    assert message.seen_fraction == pytest.approx(0.4)


def test_message_that_contradicts_itself_is_refused(reconstructed):
    message = conversions.to_object_msg(5, reconstructed)
    message.confidence = message.confidence[:-1]
    with pytest.raises(ValueError, match="25 confidences for 26 vertices"):
        ReceivedObject.from_msg(message)


def test_objects_message_holds_plane_and_times(reconstructed):
    plane = SupportPlane.from_coefficients(np.array([0.0, -0.6, -0.8, 1.1]))
    reconstruction = Reconstruction(plane, [reconstructed, reconstructed], [], {})
    message = conversions.to_objects_msg(HEADER, reconstruction, [4, 9], latency=0.2, processing_time=0.1)
    assert [item.id for item in message.objects] == [4, 9]
    assert message.has_support_plane
    np.testing.assert_allclose(message.support_plane, [0.0, -0.6, -0.8, 1.1])
    assert (message.latency, message.processing_time, message.header) == (0.2, 0.1, HEADER)


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
    message = conversions.to_collision_object_msg(HEADER, "onet_3", reconstructed)
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
        conversions.to_collision_object_msg(HEADER, "onet_3", reconstructed)


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
