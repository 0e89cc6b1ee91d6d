"""The other end of the node's topics: collects what it publishes, over DDS, as any subscriber would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import Marker, MarkerArray

from onet_ros.msg import ReconstructedObject, ReconstructedObjects
from onet_ros.ros import conversions
from onet_ros.ros.serialization import take_array

KEPT_CLOUDS = 16


@dataclass(frozen=True)
class ReceivedObject:
    """An object as it came over the wire; meshes in the frame of the message's header, metres.

    Of one that is not reliable, `mesh` is its conservative mesh, all of it guessed.
    """

    mesh: trimesh.Trimesh
    confidence: NDArray[np.float32]  # (V,) 0 guessed .. 1 seen
    collision_mesh: trimesh.Trimesh
    size: tuple[float, float, float]

    @classmethod
    def from_msg(cls, message: ReconstructedObject) -> ReceivedObject:
        """Raises ValueError for a message that contradicts itself."""
        T_source_object = conversions.from_pose_msg(message.pose)
        mesh = conversions.from_triangle_mesh_msg(message.mesh, T_source_object)
        confidence = take_array(message, "confidence")
        if not message.reliable and not len(mesh.faces):
            mesh = conversions.from_triangle_mesh_msg(message.conservative_mesh, T_source_object)
            confidence = np.zeros(len(mesh.vertices), dtype=np.float32)
        received = cls(
            mesh=mesh,
            confidence=confidence,
            collision_mesh=conversions.from_triangle_mesh_msg(message.collision_mesh, T_source_object),
            size=(message.size.x, message.size.y, message.size.z),
        )
        if len(received.confidence) != len(received.mesh.vertices):
            raise ValueError(f"{len(received.confidence)} confidences for {len(received.mesh.vertices)} vertices")
        return received


class Collector(Node):
    """Holds the clouds of the last moments, every message with objects, and what displays and planners now show."""

    def __init__(self, node_namespace: str = "") -> None:
        """node_namespace: where the reconstruction node runs, as /robot1; empty for the root."""
        super().__init__("collector", namespace=node_namespace)
        self.clouds: dict[tuple[int, int], PointCloud2] = {}  # by stamp
        self.results: list[ReconstructedObjects] = []
        # Kept as bytes until asked for: rclpy takes long to make the Point objects of all triangles.
        self._marker_messages: list[bytes] = []
        self._shown_markers: dict[tuple[str, int], Marker] = {}
        self._collision_messages: list[bytes] = []
        self.diagnostics: dict[str, DiagnosticStatus] = {}  # the newest, by name
        self._planning_scene: dict[str, Any] = {}
        self.create_subscription(PointCloud2, "points", self._on_cloud, QoSProfile(depth=1))
        self.create_subscription(ReconstructedObjects, "onet/objects", self.results.append, QoSProfile(depth=10))
        self.create_subscription(
            MarkerArray, "onet/markers", self._marker_messages.append, QoSProfile(depth=10), raw=True
        )
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, QoSProfile(depth=10))
        if conversions.CollisionObject is not None:
            self.create_subscription(
                conversions.CollisionObject,
                "collision_object",
                self._collision_messages.append,
                QoSProfile(depth=100),
                raw=True,
            )

    def shown_markers(self) -> dict[tuple[str, int], Marker]:
        """What a display shows after all messages so far, by namespace and id; lifetimes aside."""
        while self._marker_messages:
            for marker in deserialize_message(self._marker_messages.pop(0), MarkerArray).markers:
                if marker.action == Marker.DELETE:
                    self._shown_markers.pop((marker.ns, marker.id), None)
                else:
                    self._shown_markers[marker.ns, marker.id] = marker
        return self._shown_markers

    def planning_scene(self) -> dict[str, Any]:
        """The moveit_msgs/CollisionObject that a planner holds after all messages so far, by id."""
        while self._collision_messages:
            message = deserialize_message(self._collision_messages.pop(0), conversions.CollisionObject)
            if message.operation == message.REMOVE:
                self._planning_scene.pop(message.id, None)
            else:
                self._planning_scene[message.id] = message
        return self._planning_scene

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics.update({status.name: status for status in message.status})

    def _on_cloud(self, message: PointCloud2) -> None:
        self.clouds[stamp_of(message)] = message
        while len(self.clouds) > KEPT_CLOUDS:
            del self.clouds[next(iter(self.clouds))]


def stamp_of(message: PointCloud2 | ReconstructedObjects) -> tuple[int, int]:
    """Seconds and nanoseconds of a message's stamp."""
    return message.header.stamp.sec, message.header.stamp.nanosec
