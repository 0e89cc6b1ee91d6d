"""What it costs to turn results into messages and to hand them to DDS: for `onet bench`, where there is ROS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from onet_ros.live_scene import LiveObject
from onet_ros.msg import ReconstructedObjects
from onet_ros.reconstructor import ReconstructedObject
from onet_ros.ros import conversions
from onet_ros.ros.processes import private_domain
from onet_ros.ros.qos import COLLISION_QOS, MARKERS_QOS, OBJECTS_QOS
from onet_ros.ros.serialization import serialize
from onet_ros.stopwatch import Stopwatch

LIFETIME = 30.0  # seconds that a marker lives


class MessageCosts:
    """Publishes what the node publishes: objects, markers and, with MoveIt's messages, collision objects."""

    def __init__(self, node: Node) -> None:
        self._objects: Publisher = node.create_publisher(ReconstructedObjects, "~/objects", OBJECTS_QOS)
        self._markers: Publisher = node.create_publisher(MarkerArray, "~/markers", MARKERS_QOS)
        self._collision_objects: Any = None
        if conversions.CollisionObject is not None:
            self._collision_objects = node.create_publisher(
                conversions.CollisionObject, "collision_object", COLLISION_QOS
            )

    @classmethod
    @contextmanager
    def opened(cls) -> Iterator[MessageCosts]:
        """In a DDS domain of its own."""
        with private_domain():
            context = rclpy.Context()
            rclpy.init(context=context)
            node = Node("onet_bench", context=context)
            try:
                yield cls(node)
            finally:
                node.destroy_node()
                rclpy.shutdown(context=context)

    def publish(self, objects: list[ReconstructedObject], watch: Stopwatch) -> None:
        """Stages serialise and publish."""
        header = Header(frame_id="camera")
        with watch.stage("serialise"):
            items = [LiveObject(number, item, 0, 0, 0, True, 1, "") for number, item in enumerate(objects)]
            told = [conversions.to_object_msg(item) for item in items]
            message = serialize(conversions.to_objects_msg(header, None, told, 0.0, 0.0, {}))
            markers = [
                conversions.to_surface_marker(header, number, item, LIFETIME) for number, item in enumerate(objects)
            ]
            shown = serialize(MarkerArray(markers=markers))
            obstacles = [] if self._collision_objects is None else self._obstacles(header, objects)
        with watch.stage("publish"):
            self._objects.publish(message)
            self._markers.publish(shown)
            for obstacle in obstacles:
                self._collision_objects.publish(obstacle)

    def _obstacles(self, header: Header, objects: list[ReconstructedObject]) -> list[bytes]:
        return [
            serialize(
                conversions.to_collision_object_msg(
                    header, f"object_{number}", item.T_source_object, [item.conservative_mesh]
                )
            )
            for number, item in enumerate(objects)
        ]
