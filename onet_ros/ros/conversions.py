"""Between the project's meshes and poses and ROS messages: pure functions, in pairs where both directions are needed.

Meshes are `trimesh.Trimesh` in the source frame, metres; in ROS the frame of the header. In a message a mesh stands in
the object's frame, so that a later message can move it by its pose alone. Large arrays go through
`onet_ros.ros.serialization`, so that nothing here makes a Python object per point.
"""

from __future__ import annotations

import array
import colorsys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import trimesh
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Inertia, Point, Pose, Quaternion, Transform, Vector3
from numpy.typing import ArrayLike, NDArray
from rclpy.time import Time as RosTime
from sensor_msgs.msg import PointCloud2, PointField
from shape_msgs.msg import Mesh, SolidPrimitive
from std_msgs.msg import ColorRGBA, Header
from trimesh import transformations
from visualization_msgs.msg import Marker

from onet_ros.collision import CollisionSettings, ConvexPieces
from onet_ros.grasping import Grasp, GraspSettings
from onet_ros.live_scene import LiveObject
from onet_ros.msg import (
    CollisionPieces,
    GraspCandidate,
    ObjectProperties,
    ReconstructedObject,
    ReconstructedObjects,
    StageTime,
    TriangleMesh,
)
from onet_ros.object_files import DEFAULT_DENSITY
from onet_ros.object_properties import MassProperties, UprightBox
from onet_ros.reconstructor import ReconstructedObject as CoreObject
from onet_ros.ros.serialization import put_array, take_array
from onet_ros.scene import SupportPlane, TableTop
from onet_ros.surface import is_sound

try:
    from moveit_msgs.msg import CollisionObject
except ImportError:  # a robot without MoveIt, or ROS 2 from PyPI
    CollisionObject = None

OBJECT_NAMESPACE = "onet/objects"
LABEL_NAMESPACE = "onet/labels"
SHELL_NAMESPACE = "onet/shells"
NEXT_VIEW_NAMESPACE = "onet/next_views"
PIECES_NAMESPACE = "onet/pieces"
GRASPS_NAMESPACE = "onet/grasps"
LABEL_HEIGHT = 0.02  # metres, height of a capital letter
# The colours of onet_ros.pictures, which would bring its ray casting along.
CONFIDENCE_COLOURS = np.array([[0xE5, 0x9A, 0x2C], [0x3B, 0x8F, 0xC4]], dtype=np.float32) / 255.0  # guessed, seen
SHELL_COLOUR = ColorRGBA(r=0.75, g=0.75, b=0.8, a=0.25)
UNRELIABLE_COLOUR = ColorRGBA(r=0.85, g=0.2, b=0.15, a=0.45)
NEXT_VIEW_COLOUR = ColorRGBA(r=0.35, g=0.75, b=0.35, a=1.0)
ARROW_LENGTH = 0.08  # metres
WORTH_A_LOOK = 0.3  # of the expected error: a view that shows less is not drawn


def to_pose_msg(T_source_object: NDArray[np.float64]) -> Pose:
    """(4, 4) rigid transform -> Pose."""
    w, x, y, z = transformations.quaternion_from_matrix(T_source_object, isprecise=True)
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


def _moved(points: ArrayLike, transform: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) by a rigid transform (4, 4)."""
    moved: NDArray[np.float64] = np.asarray(points, dtype=np.float64) @ transform[:3, :3].T + transform[:3, 3]
    return moved


def to_triangle_mesh_msg(mesh: trimesh.Trimesh, T_object_source: NDArray[np.float64]) -> TriangleMesh:
    """Mesh in the source frame -> message with the mesh in the object's frame."""
    message = TriangleMesh()
    put_array(message, "vertices", _moved(mesh.vertices, T_object_source).ravel())
    put_array(message, "triangles", np.asarray(mesh.faces).ravel())
    return message


def from_triangle_mesh_msg(message: TriangleMesh, T_source_object: NDArray[np.float64]) -> trimesh.Trimesh:
    """Message with the mesh in the object's frame -> mesh in the source frame."""
    vertices = take_array(message, "vertices").astype(np.float64).reshape(-1, 3)
    triangles = take_array(message, "triangles").astype(np.int64).reshape(-1, 3)
    return trimesh.Trimesh(_moved(vertices, T_source_object), triangles, process=False)


def to_shape_mesh_msg(mesh: trimesh.Trimesh, T_object_source: NDArray[np.float64]) -> Mesh:
    """Mesh in the source frame -> shape_msgs/Mesh in the object's frame."""
    message = Mesh()
    put_array(message, "vertices", _moved(mesh.vertices, T_object_source))
    put_array(message, "triangles", np.asarray(mesh.faces))
    return message


def from_shape_mesh_msg(message: Mesh, T_source_object: NDArray[np.float64]) -> trimesh.Trimesh:
    """shape_msgs/Mesh in the object's frame -> mesh in the source frame."""
    vertices = _moved(take_array(message, "vertices"), T_source_object)
    return trimesh.Trimesh(vertices, take_array(message, "triangles").astype(np.int64), process=False)


def to_object_msg(
    item: LiveObject, unreliable_mesh: bool = False, density: float = DEFAULT_DENSITY
) -> ReconstructedObject:
    """One object under its number; without its mesh where that is not reliable, unless `unreliable_mesh`.

    Args:
        density: kg/m^3, for its mass.
    """
    shape, trust = item.shape, item.shape.trust
    T_object_source = _inverse(shape.T_source_object)
    width, depth, height = (float(value) for value in shape.size)
    shown = trust.reliable or unreliable_mesh
    message = ReconstructedObject(
        id=item.number,
        pose=to_pose_msg(shape.T_source_object),
        size=Vector3(x=width, y=depth, z=height),
        mesh=to_triangle_mesh_msg(shape.mesh, T_object_source) if shown else TriangleMesh(),
        collision_mesh=to_triangle_mesh_msg(shape.collision_mesh, T_object_source),
        seen_points=len(shape.indices),
        seen_fraction=float(shape.seen_fraction),
        views=item.views,
        first_seen=to_time_msg(item.first_seen),
        last_seen=to_time_msg(item.last_seen),
        completed=to_time_msg(item.completed),
        seen_now=item.seen_now,
        reliable=trust.reliable,
        reason=trust.reason,
        expected_error=float(trust.expected_error),
        conservative_mesh=to_triangle_mesh_msg(shape.conservative_mesh, T_object_source),
        coverage=float(trust.coverage),
        seen_distance=float(trust.seen_distance),
        free_fraction=float(trust.free_fraction),
        next_view=_vector(trust.next_view),
        next_view_gain=float(trust.next_view_gain),
        properties=_properties_msg(shape, density),
    )
    if shown:
        put_array(message, "confidence", np.asarray(shape.confidence))
        put_array(message, "vertex_error", np.asarray(shape.error))
    return message


def _properties_msg(shape: CoreObject, density: float) -> ObjectProperties:
    """Of the solid that the message holds, in the object's frame; without mass where nothing is enclosed."""
    mesh = shape.mesh if shape.trust.reliable else shape.conservative_mesh
    vertices = _moved(mesh.vertices, _inverse(shape.T_source_object))
    box = UprightBox.about(vertices)
    message = ObjectProperties(box=to_pose_msg(box.T_mesh_box), box_size=_vector(box.size))
    try:
        solid = MassProperties.of_solid(vertices, np.asarray(mesh.faces), density)
    except ValueError:  # a mesh of no volume is told of as it is
        return message
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = solid.inertia.tolist()
    message.volume = solid.mass / density
    message.inertia = Inertia(m=solid.mass, com=_vector(solid.centre), ixx=xx, ixy=xy, ixz=xz, iyy=yy, iyz=yz, izz=zz)
    axes = np.eye(4)
    axes[:3, :3] = solid.principal_axes
    message.principal_axes = to_pose_msg(axes).orientation
    return message


def _vector(values: NDArray[np.floating]) -> Vector3:
    return Vector3(**dict(zip("xyz", np.asarray(values, dtype=np.float64).tolist(), strict=True)))


def _point(values: NDArray[np.floating]) -> Point:
    return Point(**dict(zip("xyz", np.asarray(values, dtype=np.float64).tolist(), strict=True)))


def to_grasp_msg(number: int, grasp: Grasp) -> GraspCandidate:
    """A candidate of the object with this number."""
    return GraspCandidate(
        id=number,
        pose=to_pose_msg(grasp.T_source_gripper),
        width=grasp.width,
        opening=grasp.opening,
        quality=grasp.quality,
        **{f"{name}_quality": value for name, value in grasp.parts.items()},
        contacts=[_point(place) for place in grasp.contacts],
        normals=[_vector(normal) for normal in grasp.normals],
        confidence=np.asarray(grasp.confidence, dtype=np.float32),
    )


def to_grasps_marker(
    header: Header, number: int, grasps: Sequence[Grasp], settings: GraspSettings, lifetime: float
) -> Marker:
    """Grippers as a LINE_LIST: fingers, palm and wrist, from red (poor) to green (good)."""
    marker = _marker(header, GRASPS_NAMESPACE, number, Marker.LINE_LIST, lifetime)
    marker.pose = Pose(orientation=Quaternion(w=1.0))
    marker.scale.x = 0.0015
    if not grasps:
        marker.action = Marker.DELETE
        return marker
    length, places, colours = settings.finger_length, [], []
    for grasp in grasps:
        half = grasp.opening / 2.0
        ends = [(-half, 0, 0), (-half, 0, -length), (half, 0, 0), (half, 0, -length)]
        ends += [(-half, 0, -length), (half, 0, -length), (0, 0, -length), (0, 0, -1.5 * length)]
        places.append(_moved(ends, grasp.T_source_gripper))
        colours.append(np.tile([1.0 - grasp.quality, grasp.quality, 0.1, 1.0], (len(ends), 1)))
    put_array(marker, "points", np.concatenate(places))
    put_array(marker, "colors", np.concatenate(colours).astype(np.float32))
    return marker


def to_completed_cloud_msg(header: Header, clouds: Mapping[int, NDArray[np.float32]]) -> PointCloud2:
    """Points of completed surfaces, by object: (N, 7) x, y, z, normal, confidence; with the object's id as a field."""
    names = ("x", "y", "z", "normal_x", "normal_y", "normal_z", "confidence")
    fields = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate(names)]
    fields.append(PointField(name="id", offset=4 * len(names), datatype=PointField.UINT32, count=1))
    layout = np.dtype([("values", "<f4", (len(names),)), ("id", "<u4")])
    records = np.zeros(sum(len(points) for points in clouds.values()), dtype=layout)
    if len(records):
        records["values"] = np.concatenate(list(clouds.values()))
        records["id"] = np.repeat(list(clouds), [len(points) for points in clouds.values()])
    message = PointCloud2(header=header, height=1, width=len(records), fields=fields, is_dense=True)
    message.point_step, message.row_step = layout.itemsize, layout.itemsize * len(records)
    message.data = array.array("B", records.tobytes())
    return message


def to_objects_msg(
    header: Header,
    plane: SupportPlane | None,
    objects: list[ReconstructedObject],
    latency: float,
    processing_time: float,
    timings: Mapping[str, float],
    waiting: int = 0,
) -> ReconstructedObjects:
    """All objects that are known; latency, processing time and timings (by stage) in seconds."""
    message = ReconstructedObjects(
        header=header,
        objects=objects,
        waiting=waiting,
        latency=latency,
        processing_time=processing_time,
        timings=[StageTime(stage=stage, seconds=seconds) for stage, seconds in timings.items()],
    )
    if plane is not None:
        message.has_support_plane = True
        message.support_plane = np.asarray(plane.coefficients, dtype=np.float64)
    return message


def confidence_colours(confidence: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) confidence from 0 (guessed) to 1 (seen) -> (N, 4) RGBA."""
    weight = np.clip(np.asarray(confidence, dtype=np.float32), 0.0, 1.0)
    colours = np.ones((len(weight), 4), dtype=np.float32)
    colours[:, :3] = np.stack([1.0 - weight, weight], axis=1) @ CONFIDENCE_COLOURS
    return colours


def to_surface_marker(header: Header, number: int, reconstructed: CoreObject, lifetime: float) -> Marker:
    """Closed surface of an object as a TRIANGLE_LIST, coloured by confidence."""
    marker = _marker(header, OBJECT_NAMESPACE, number, Marker.TRIANGLE_LIST, lifetime)
    marker.pose = to_pose_msg(reconstructed.T_source_object)
    marker.scale = Vector3(x=1.0, y=1.0, z=1.0)
    vertices = _moved(reconstructed.mesh.vertices, _inverse(reconstructed.T_source_object))
    corners = np.asarray(reconstructed.mesh.faces).ravel()
    put_array(marker, "points", vertices.take(corners, axis=0))
    put_array(marker, "colors", confidence_colours(reconstructed.confidence).take(corners, axis=0))
    return marker


def to_shell_marker(header: Header, number: int, reconstructed: CoreObject, lifetime: float) -> Marker:
    """Conservative surface of an object as a translucent TRIANGLE_LIST; red where nothing else is reliable."""
    marker = _marker(header, SHELL_NAMESPACE, number, Marker.TRIANGLE_LIST, lifetime)
    marker.pose = to_pose_msg(reconstructed.T_source_object)
    marker.scale = Vector3(x=1.0, y=1.0, z=1.0)
    marker.color = SHELL_COLOUR if reconstructed.trust.reliable else UNRELIABLE_COLOUR
    shell = reconstructed.conservative_mesh
    vertices = _moved(shell.vertices, _inverse(reconstructed.T_source_object))
    put_array(marker, "points", vertices.take(np.asarray(shell.faces).ravel(), axis=0))
    return marker


def to_next_view_marker(header: Header, number: int, reconstructed: CoreObject, lifetime: float) -> Marker:
    """An ARROW from where a camera would see most of what is uncertain, to the object; nothing is drawn (DELETE) where
    no view is worth it."""
    marker = _marker(header, NEXT_VIEW_NAMESPACE, number, Marker.ARROW, lifetime)
    trust = reconstructed.trust
    if trust.next_view_gain < WORTH_A_LOOK:
        marker.action = Marker.DELETE
        return marker
    centre, radius = reconstructed.T_source_object[:3, 3], float(np.linalg.norm(reconstructed.size)) / 2.0
    marker.pose = Pose(orientation=Quaternion(w=1.0))
    marker.scale = Vector3(x=0.008, y=0.016, z=0.02)  # of the shaft, of the head, length of the head
    marker.color = NEXT_VIEW_COLOUR
    ends = [centre + (radius + length) * trust.next_view for length in (ARROW_LENGTH, 0.0)]
    marker.points = [_point(end) for end in ends]
    return marker


def to_label_marker(header: Header, number: int, reconstructed: CoreObject, latency: float, lifetime: float) -> Marker:
    """Text over an object: its number, its size, how old the cloud was when it was published, and doubts."""
    marker = _marker(header, LABEL_NAMESPACE, number, Marker.TEXT_VIEW_FACING, lifetime)
    T_object_label = np.eye(4)
    T_object_label[2, 3] = reconstructed.size[2] / 2.0 + LABEL_HEIGHT
    marker.pose = to_pose_msg(reconstructed.T_source_object @ T_object_label)
    marker.scale.z = LABEL_HEIGHT
    size = " x ".join(f"{1000.0 * length:.0f}" for length in reconstructed.size)
    age = f", {1000.0 * latency:.0f} ms" if np.isfinite(latency) else ""
    doubt = "" if reconstructed.trust.reliable else ", not reliable"
    marker.text = f"{number}: {size} mm{age}{doubt}"
    return marker


def to_delete_markers(header: Header, number: int) -> list[Marker]:
    """What takes all markers of an object off the display."""
    markers = [
        _marker(header, OBJECT_NAMESPACE, number, Marker.TRIANGLE_LIST, 0.0),
        _marker(header, LABEL_NAMESPACE, number, Marker.TEXT_VIEW_FACING, 0.0),
        _marker(header, SHELL_NAMESPACE, number, Marker.TRIANGLE_LIST, 0.0),
        _marker(header, NEXT_VIEW_NAMESPACE, number, Marker.ARROW, 0.0),
        _marker(header, PIECES_NAMESPACE, number, Marker.TRIANGLE_LIST, 0.0),
        _marker(header, GRASPS_NAMESPACE, number, Marker.LINE_LIST, 0.0),
    ]
    for marker in markers:
        marker.action = Marker.DELETE
    return markers


def _marker(header: Header, namespace: str, number: int, marker_type: int, lifetime: float) -> Marker:
    marker = Marker(header=header, ns=namespace, id=number, type=marker_type, action=Marker.ADD)
    marker.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
    marker.lifetime = to_duration_msg(lifetime)
    return marker


def to_collision_object_msg(
    header: Header, name: str, T_source_object: NDArray[np.float64], meshes: Sequence[trimesh.Trimesh]
) -> Any:
    """moveit_msgs/CollisionObject that adds an object to the planning scene, or replaces the one of that name.

    Args:
        T_source_object: (4, 4), the object's frame.
        meshes: what it is made of, source frame.

    Raises:
        ValueError: a mesh that hull code has crashed on: open, flat, inside out or not finite.
    """
    for mesh in meshes:
        if not is_sound(mesh):
            raise ValueError(
                f"collision mesh of {name} is not a solid: {len(mesh.faces)} triangles, "
                f"{'closed' if mesh.is_watertight else 'open'}, bounds {np.round(mesh.bounds, 4).tolist()} m"
            )
    message = CollisionObject(header=header, id=name, operation=CollisionObject.ADD)
    message.pose = to_pose_msg(T_source_object)
    message.meshes = [to_shape_mesh_msg(mesh, _inverse(T_source_object)) for mesh in meshes]
    message.mesh_poses = [Pose(orientation=Quaternion(w=1.0)) for _ in meshes]  # relative to `pose`
    return message


def to_table_msg(header: Header, name: str, table: TableTop, thickness: float) -> Any:
    """moveit_msgs/CollisionObject that adds a box under what was seen of the table; thickness in metres."""
    T_table_box = np.eye(4)
    T_table_box[2, 3] = -thickness / 2.0
    message = CollisionObject(header=header, id=name, operation=CollisionObject.ADD)
    message.pose = to_pose_msg(table.T_source_table @ T_table_box)
    size = [*np.maximum(table.size, thickness).tolist(), thickness]
    message.primitives = [SolidPrimitive(type=SolidPrimitive.BOX, dimensions=size)]
    message.primitive_poses = [Pose(orientation=Quaternion(w=1.0))]
    return message


def to_pieces_msg(
    header: Header, item: LiveObject, found: ConvexPieces, settings: CollisionSettings
) -> CollisionPieces:
    """Convex pieces of an object, and what they were allowed to be."""
    T_object_source = _inverse(item.shape.T_source_object)
    return CollisionPieces(
        header=header,
        id=item.number,
        pose=to_pose_msg(item.shape.T_source_object),
        pieces=[to_triangle_mesh_msg(piece, T_object_source) for piece in found.pieces],
        deviation=found.deviation,
        filled=found.filled,
        uncovered=found.uncovered,
        seconds=found.seconds,
        max_pieces=settings.max_pieces,
        max_vertices=settings.max_vertices,
    )


def to_pieces_marker(
    header: Header, number: int, reconstructed: CoreObject, pieces: Sequence[trimesh.Trimesh], lifetime: float
) -> Marker:
    """Convex pieces as one translucent TRIANGLE_LIST, each in a colour of its own."""
    marker = _marker(header, PIECES_NAMESPACE, number, Marker.TRIANGLE_LIST, lifetime)
    marker.pose = to_pose_msg(reconstructed.T_source_object)
    marker.scale = Vector3(x=1.0, y=1.0, z=1.0)
    corners = [np.asarray(piece.vertices)[np.asarray(piece.faces).ravel()] for piece in pieces]
    hues = (np.arange(len(pieces)) * 0.618) % 1.0  # the golden ratio: neighbours in the list differ
    colours = np.array([[*colorsys.hsv_to_rgb(hue, 0.6, 0.9), 0.5] for hue in hues], dtype=np.float32)
    placed = _moved(np.concatenate(corners), _inverse(reconstructed.T_source_object))
    put_array(marker, "points", placed)
    put_array(marker, "colors", np.repeat(colours, [len(own) for own in corners], axis=0))
    return marker


def to_collision_removal_msg(header: Header, name: str) -> Any:
    """moveit_msgs/CollisionObject that takes an object out of the planning scene."""
    return CollisionObject(header=header, id=name, operation=CollisionObject.REMOVE)


def from_collision_object_msg(message: Any) -> list[trimesh.Trimesh]:
    """Meshes of a moveit_msgs/CollisionObject in the frame of its header."""
    T_source_object = from_pose_msg(message.pose)
    poses = [T_source_object @ from_pose_msg(pose) for pose in message.mesh_poses]
    return [from_shape_mesh_msg(mesh, pose) for mesh, pose in zip(message.meshes, poses, strict=True)]


def to_time_msg(nanoseconds: int) -> Time:
    """Nanoseconds -> Time."""
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def to_duration_msg(seconds: float) -> Duration:
    """Seconds -> Duration."""
    nanoseconds = round(seconds * 1e9)
    return Duration(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def seconds_since(stamp: Time, now: RosTime) -> float:
    """Seconds from the stamp to now; NaN when the stamp is not set or lies in the future."""
    stamp_ns = RosTime.from_msg(stamp).nanoseconds
    return (now.nanoseconds - stamp_ns) * 1e-9 if 0 < stamp_ns <= now.nanoseconds else float("nan")
