"""Between the project's meshes and poses and ROS messages: pure functions, in pairs where both directions are needed.

Meshes are `trimesh.Trimesh` in the source frame, metres; in ROS the frame of the header. In a message a mesh stands in
the object's frame, so that a later message can move it by its pose alone. Large arrays go through
`onet_ros.ros.serialization`, so that nothing here makes a Python object per point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import trimesh
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, Pose, Quaternion, Transform, Vector3
from numpy.typing import NDArray
from rclpy.time import Time as RosTime
from shape_msgs.msg import Mesh
from std_msgs.msg import ColorRGBA, Header
from trimesh import transformations
from visualization_msgs.msg import Marker

from onet_ros.msg import ReconstructedObject, ReconstructedObjects, TriangleMesh
from onet_ros.reconstructor import ReconstructedObject as CoreObject
from onet_ros.reconstructor import Reconstruction
from onet_ros.ros.serialization import put_array, take_array
from onet_ros.surface import is_sound

try:
    from moveit_msgs.msg import CollisionObject
except ImportError:  # a robot without MoveIt, or ROS 2 from PyPI
    CollisionObject = None

OBJECT_NAMESPACE = "onet/objects"
LABEL_NAMESPACE = "onet/labels"
LABEL_HEIGHT = 0.02  # metres, height of a capital letter
# The colours of onet_ros.pictures, which would bring its ray casting along.
SEEN_COLOUR = np.array([0x3B, 0x8F, 0xC4]) / 255.0
GUESSED_COLOUR = np.array([0xE5, 0x9A, 0x2C]) / 255.0


def to_pose_msg(T_source_object: NDArray[np.float64]) -> Pose:
    """(4, 4) rigid transform -> Pose."""
    w, x, y, z = transformations.quaternion_from_matrix(T_source_object)
    px, py, pz = (float(value) for value in T_source_object[:3, 3])
    orientation = Quaternion(x=float(x), y=float(y), z=float(z), w=float(w))
    return Pose(position=Point(x=px, y=py, z=pz), orientation=orientation)


def from_pose_msg(message: Pose) -> NDArray[np.float64]:
    """Pose -> (4, 4) rigid transform.

    Raises:
        ValueError: a quaternion of length zero.
    """
    return _rigid_transform(message.position, message.orientation)


def from_transform_msg(message: Transform) -> NDArray[np.float64]:
    """Transform, as tf2 gives it -> (4, 4) rigid transform.

    Raises:
        ValueError: a quaternion of length zero.
    """
    return _rigid_transform(message.translation, message.rotation)


def _rigid_transform(translation: Point | Vector3, rotation: Quaternion) -> NDArray[np.float64]:
    quaternion = np.array([rotation.w, rotation.x, rotation.y, rotation.z])
    if not np.linalg.norm(quaternion) > 1e-6:
        raise ValueError(f"quaternion (w, x, y, z) = {quaternion.tolist()} is not a rotation")
    transform = transformations.quaternion_matrix(quaternion)
    transform[:3, 3] = translation.x, translation.y, translation.z
    return transform


def _inverse(T_target_source: NDArray[np.float64]) -> NDArray[np.float64]:
    T_source_target = np.eye(4)
    T_source_target[:3, :3] = T_target_source[:3, :3].T
    T_source_target[:3, 3] = -T_target_source[:3, :3].T @ T_target_source[:3, 3]
    return T_source_target


def to_triangle_mesh_msg(mesh: trimesh.Trimesh, T_object_source: NDArray[np.float64]) -> TriangleMesh:
    """Mesh in the source frame -> message with the mesh in the object's frame."""
    message = TriangleMesh()
    put_array(message, "vertices", transformations.transform_points(mesh.vertices, T_object_source).ravel())
    put_array(message, "triangles", np.asarray(mesh.faces).ravel())
    return message


def from_triangle_mesh_msg(message: TriangleMesh, T_source_object: NDArray[np.float64]) -> trimesh.Trimesh:
    """Message with the mesh in the object's frame -> mesh in the source frame."""
    vertices = take_array(message, "vertices").astype(np.float64).reshape(-1, 3)
    triangles = take_array(message, "triangles").astype(np.int64).reshape(-1, 3)
    return trimesh.Trimesh(transformations.transform_points(vertices, T_source_object), triangles, process=False)


def to_shape_mesh_msg(mesh: trimesh.Trimesh, T_object_source: NDArray[np.float64]) -> Mesh:
    """Mesh in the source frame -> shape_msgs/Mesh in the object's frame."""
    message = Mesh()
    put_array(message, "vertices", transformations.transform_points(mesh.vertices, T_object_source))
    put_array(message, "triangles", np.asarray(mesh.faces))
    return message


def from_shape_mesh_msg(message: Mesh, T_source_object: NDArray[np.float64]) -> trimesh.Trimesh:
    """shape_msgs/Mesh in the object's frame -> mesh in the source frame."""
    vertices = transformations.transform_points(take_array(message, "vertices"), T_source_object)
    return trimesh.Trimesh(vertices, take_array(message, "triangles").astype(np.int64), process=False)


def to_object_msg(number: int, reconstructed: CoreObject) -> ReconstructedObject:
    """One reconstructed object under its number."""
    T_object_source = _inverse(reconstructed.T_source_object)
    width, depth, height = (float(value) for value in reconstructed.size)
    message = ReconstructedObject(
        id=number,
        pose=to_pose_msg(reconstructed.T_source_object),
        size=Vector3(x=width, y=depth, z=height),
        mesh=to_triangle_mesh_msg(reconstructed.mesh, T_object_source),
        collision_mesh=to_triangle_mesh_msg(reconstructed.collision_mesh, T_object_source),
        seen_points=len(reconstructed.indices),
        seen_fraction=float(reconstructed.seen_fraction),
    )
    put_array(message, "confidence", np.asarray(reconstructed.confidence))
    return message


def to_objects_msg(
    header: Header, reconstruction: Reconstruction, ids: list[int], latency: float, processing_time: float
) -> ReconstructedObjects:
    """All objects of a cloud under their numbers; latency and processing time in seconds."""
    objects = [to_object_msg(number, item) for number, item in zip(ids, reconstruction.objects, strict=True)]
    message = ReconstructedObjects(header=header, objects=objects, latency=latency, processing_time=processing_time)
    if reconstruction.plane is not None:
        message.has_support_plane = True
        message.support_plane = np.asarray(reconstruction.plane.coefficients, dtype=np.float64)
    return message


def confidence_colours(confidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) confidence from 0 (guessed) to 1 (seen) -> (N, 4) RGBA."""
    weight = np.clip(np.asarray(confidence, dtype=np.float32), 0.0, 1.0)[:, None]
    rgb = (1.0 - weight) * GUESSED_COLOUR + weight * SEEN_COLOUR
    return np.concatenate([rgb, np.ones_like(weight)], axis=1).astype(np.float32)


def to_surface_marker(header: Header, number: int, reconstructed: CoreObject, lifetime: float) -> Marker:
    """Closed surface of an object as a TRIANGLE_LIST, coloured by confidence."""
    marker = _marker(header, OBJECT_NAMESPACE, number, Marker.TRIANGLE_LIST, lifetime)
    marker.pose = to_pose_msg(reconstructed.T_source_object)
    marker.scale = Vector3(x=1.0, y=1.0, z=1.0)
    vertices = transformations.transform_points(reconstructed.mesh.vertices, _inverse(reconstructed.T_source_object))
    corners = np.asarray(reconstructed.mesh.faces).ravel()
    put_array(marker, "points", vertices[corners])
    put_array(marker, "colors", confidence_colours(reconstructed.confidence)[corners])
    return marker


def to_label_marker(header: Header, number: int, reconstructed: CoreObject, latency: float, lifetime: float) -> Marker:
    """Text over an object: its number, its size and how old the cloud was when it was published."""
    marker = _marker(header, LABEL_NAMESPACE, number, Marker.TEXT_VIEW_FACING, lifetime)
    T_object_label = np.eye(4)
    T_object_label[2, 3] = reconstructed.size[2] / 2.0 + LABEL_HEIGHT
    marker.pose = to_pose_msg(reconstructed.T_source_object @ T_object_label)
    marker.scale.z = LABEL_HEIGHT
    size = " x ".join(f"{1000.0 * length:.0f}" for length in reconstructed.size)
    age = f", {1000.0 * latency:.0f} ms" if np.isfinite(latency) else ""
    marker.text = f"{number}: {size} mm{age}"
    return marker


def to_delete_markers(header: Header, number: int) -> list[Marker]:
    """What takes both markers of an object off the display."""
    markers = [
        _marker(header, OBJECT_NAMESPACE, number, Marker.TRIANGLE_LIST, 0.0),
        _marker(header, LABEL_NAMESPACE, number, Marker.TEXT_VIEW_FACING, 0.0),
    ]
    for marker in markers:
        marker.action = Marker.DELETE
    return markers


def _marker(header: Header, namespace: str, number: int, marker_type: int, lifetime: float) -> Marker:
    marker = Marker(header=header, ns=namespace, id=number, type=marker_type, action=Marker.ADD)
    marker.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
    marker.lifetime = to_duration_msg(lifetime)
    return marker


def to_collision_object_msg(header: Header, name: str, reconstructed: CoreObject) -> Any:
    """moveit_msgs/CollisionObject that adds the object to the planning scene, or replaces the one of that name.

    Raises:
        ValueError: a collision mesh that hull code has crashed on: open, flat, inside out or not finite.
    """
    mesh = reconstructed.collision_mesh
    if not is_sound(mesh):
        raise ValueError(
            f"collision mesh of {name} is not a solid: {len(mesh.faces)} triangles, "
            f"{'closed' if mesh.is_watertight else 'open'}, bounds {np.round(mesh.bounds, 4).tolist()} m"
        )
    message = CollisionObject(header=header, id=name, operation=CollisionObject.ADD)
    message.pose = to_pose_msg(reconstructed.T_source_object)
    message.meshes = [to_shape_mesh_msg(mesh, _inverse(reconstructed.T_source_object))]
    message.mesh_poses = [Pose(orientation=Quaternion(w=1.0))]  # relative to `pose`
    return message


def to_collision_removal_msg(header: Header, name: str) -> Any:
    """moveit_msgs/CollisionObject that takes an object out of the planning scene."""
    return CollisionObject(header=header, id=name, operation=CollisionObject.REMOVE)


def from_collision_object_msg(message: Any) -> list[trimesh.Trimesh]:
    """Meshes of a moveit_msgs/CollisionObject in the frame of its header."""
    T_source_object = from_pose_msg(message.pose)
    poses = [T_source_object @ from_pose_msg(pose) for pose in message.mesh_poses]
    return [from_shape_mesh_msg(mesh, pose) for mesh, pose in zip(message.meshes, poses, strict=True)]


def to_duration_msg(seconds: float) -> Duration:
    """Seconds -> Duration."""
    nanoseconds = round(seconds * 1e9)
    return Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def seconds_since(stamp: Time, now: RosTime) -> float:
    """Seconds from the stamp to now; NaN when the stamp is not set or lies in the future."""
    stamp_ns = RosTime.from_msg(stamp).nanoseconds
    return (now.nanoseconds - stamp_ns) * 1e-9 if 0 < stamp_ns <= now.nanoseconds else float("nan")
