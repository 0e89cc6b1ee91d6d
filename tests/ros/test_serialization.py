"""Bytes that rclpy would have written, from arrays."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from geometry_msgs.msg import Point, PoseWithCovarianceStamped
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField
from shape_msgs.msg import Mesh, MeshTriangle
from std_msgs.msg import ByteMultiArray, ColorRGBA, Empty, Float64MultiArray, UInt64MultiArray
from visualization_msgs.msg import Marker, MarkerArray

from onet_ros.msg import ReconstructedObject, ReconstructedObjects, TriangleMesh
from onet_ros.ros import serialization
from onet_ros.ros.serialization import StructArray, put_array, serialize, take_array

pytestmark = pytest.mark.ros


def make_marker(points: int, frame_id: str = "camera", text: str = "") -> Marker:
    rng = np.random.default_rng(points)
    marker = Marker(ns="objects", id=-3, type=Marker.TRIANGLE_LIST, text=text)
    marker.header.frame_id = frame_id
    marker.pose.position.y = 0.25
    put_array(marker, "points", rng.normal(size=(points, 3)))
    put_array(marker, "colors", rng.random((points, 4)))
    return marker


def make_mesh(vertices: int) -> Mesh:
    rng = np.random.default_rng(vertices)
    mesh = Mesh()
    put_array(mesh, "vertices", rng.normal(size=(vertices, 3)))
    put_array(mesh, "triangles", rng.integers(0, 2**32, (2 * vertices, 3)))
    return mesh


def make_object(vertices: int) -> ReconstructedObject:
    rng = np.random.default_rng(vertices)
    message = ReconstructedObject(id=7, seen_points=vertices, seen_fraction=0.25)
    for mesh in (message.mesh, message.collision_mesh):
        put_array(mesh, "vertices", rng.normal(size=3 * vertices))
        put_array(mesh, "triangles", rng.integers(0, 2**32, 6 * vertices))
    put_array(message, "confidence", rng.random(vertices))
    return message


def make_collision_object() -> object:
    moveit_msgs = pytest.importorskip("moveit_msgs.msg", reason="moveit_msgs is not installed")
    message = moveit_msgs.CollisionObject(id="onet_12", operation=moveit_msgs.CollisionObject.REMOVE)
    message.meshes = [make_mesh(5), make_mesh(0), make_mesh(8)]
    return message


MESSAGES = {
    "no points": lambda: make_marker(0),
    "one point": lambda: make_marker(1),
    "many points": lambda: make_marker(3000),
    # Names of all lengths put the arrays at every alignment.
    **{
        f"frame id of {n}": lambda n=n: MarkerArray(markers=[make_marker(3, "f" * n), make_marker(2)]) for n in range(9)
    },
    **{
        f"text of {n}": lambda n=n: MarkerArray(markers=[make_marker(2, text="t" * n), make_marker(3)])
        for n in range(9)
    },
    "text beyond ASCII": lambda: make_marker(1, "Kamera", "Größe 8 × 8 mm"),
    "mesh": lambda: make_mesh(20),
    "collision object": make_collision_object,
    "objects": lambda: ReconstructedObjects(objects=[make_object(4), make_object(0), make_object(9)], latency=0.3),
    "cloud": lambda: PointCloud2(fields=[PointField(name="x", datatype=7, count=1)], data=bytes(range(31)), width=3),
    "matrices": lambda: PoseWithCovarianceStamped(),
    "numbers": lambda: CameraInfo(d=[0.1, 0.2, 0.3], height=480),
    "bytes": lambda: ByteMultiArray(data=[b"a", b"\xff"]),
    "long integers": lambda: UInt64MultiArray(data=[1, 2**64 - 1]),
}


@pytest.mark.parametrize("make", MESSAGES.values(), ids=MESSAGES.keys())
def test_serialize_writes_what_rclpy_writes(make, monkeypatch):
    message = make()
    ours, theirs = serialize(message), serialize_message(message)
    monkeypatch.setattr(serialization, "_PADDING", b"\xff")
    padding = np.frombuffer(ours, np.uint8) != np.frombuffer(serialize(message), np.uint8)
    # rclpy leaves in the padding whatever the memory held before.
    masked = [np.where(padding, 0, np.frombuffer(data, np.uint8)) for data in (ours, theirs)]
    np.testing.assert_array_equal(*masked)
    assert padding.mean() < 0.5


@pytest.mark.parametrize("make", MESSAGES.values(), ids=MESSAGES.keys())
def test_serialized_messages_are_read_back_equal(make):
    message = make()
    expected = deserialize_message(serialize_message(message), type(message))
    assert deserialize_message(serialize(message), type(message)) == expected


@pytest.mark.parametrize("message", [Float64MultiArray(), Empty()], ids=["empty list of doubles", "empty message"])
def test_messages_that_rclpy_ends_with_padding_are_read_back_equal(message):
    assert deserialize_message(serialize(message), type(message)) == message
    assert serialize_message(message).startswith(serialize(message)[:4])
    assert len(serialize(message)) <= len(serialize_message(message))


def test_arrays_come_back_as_they_were_put_in():
    points, triangles = np.arange(12.0).reshape(4, 3), np.array([[0, 1, 2], [3, 2, 1]])
    mesh = Mesh()
    put_array(mesh, "vertices", points)
    put_array(mesh, "triangles", triangles)
    received = deserialize_message(serialize(mesh), Mesh)
    for message in (mesh, received):
        np.testing.assert_array_equal(take_array(message, "vertices"), points)
        np.testing.assert_array_equal(take_array(message, "triangles"), triangles)
    flat = TriangleMesh()
    put_array(flat, "vertices", points.ravel())
    np.testing.assert_array_equal(take_array(flat, "vertices"), points.ravel())


def test_empty_lists_come_back_with_the_width_of_their_type():
    assert take_array(Mesh(), "vertices").shape == (0, 3)
    assert take_array(Marker(), "colors").shape == (0, 4)


def test_no_message_is_made_per_point(monkeypatch):
    def refuse(self, **values):
        raise AssertionError("a Point was made")

    marker = make_marker(30)
    monkeypatch.setattr(Point, "__init__", refuse)
    put_array(marker, "points", np.ones((1000, 3)))
    assert len(serialize(marker)) > 1000 * 24


def test_struct_array_is_a_list_of_messages():
    points = StructArray(Point, np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    assert list(points) == [Point(x=1.0, y=2.0, z=3.0), Point(x=4.0, y=5.0, z=6.0)]
    assert list(points[1:]) == [Point(x=4.0, y=5.0, z=6.0)]
    triangles = StructArray(MeshTriangle, np.array([[5, 6, 7]]))
    assert triangles[0] == MeshTriangle(vertex_indices=[5, 6, 7])
    assert StructArray(ColorRGBA, np.zeros((0, 4))) != []
    assert len(StructArray(ColorRGBA, np.zeros((0, 4)))) == 0


def test_wrong_shapes_and_fields_are_refused_with_their_names():
    with pytest.raises(ValueError, match=r"Point elements need shape \(N, 3\), got \(5, 4\)"):
        put_array(Marker(), "points", np.zeros((5, 4)))
    with pytest.raises(ValueError, match=r"TriangleMesh.vertices needs shape \(N,\), got \(5, 3\)"):
        put_array(TriangleMesh(), "vertices", np.zeros((5, 3)))
    with pytest.raises(TypeError, match=r"Marker\.text is not a sequence"):
        put_array(Marker(), "text", np.zeros(3))
    with pytest.raises(TypeError, match="is not made of numbers of one type"):
        put_array(MarkerArray(), "markers", np.zeros((5, 4)))
