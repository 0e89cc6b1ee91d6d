"""Publishes what was reconstructed from a cloud: our message, markers for RViz, collision objects for planners."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from onet_ros.msg import ReconstructedObjects
from onet_ros.reconstructor import ReconstructedObject, Reconstruction
from onet_ros.ros import conversions
from onet_ros.ros.node_settings import NodeSettings
from onet_ros.ros.object_ids import ObjectIds
from onet_ros.ros.serialization import serialize

# Reliable publishers match reliable and best-effort subscribers. Of objects and markers only the newest count; who
# comes late is told the last objects at once, and sees the next markers. Each collision object is a message of its own.
OBJECTS_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
MARKERS_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
COLLISION_QOS = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
REPEATED_DELETIONS = 10
ACKNOWLEDGE_TIMEOUT = Duration(seconds=1.0)


class ResultPublisher:
    """The topics that results go out on, and the memory of which objects are out there under which numbers."""

    def __init__(self, node: Node, settings: NodeSettings, warn: Callable[[str], Any]) -> None:
        """warn: called with each object that could not be published and why."""
        self._ros_clock = node.get_clock()
        self._lock = threading.Lock()
        self._closed = False
        self._ids = ObjectIds()
        self._header = Header()
        self._objects = node.create_publisher(ReconstructedObjects, "~/objects", OBJECTS_QOS)
        self._markers = MarkerPublisher(node) if settings.publish_markers else None
        self._collision_objects = None
        if settings.publish_collision_objects and conversions.CollisionObject is None:
            node.get_logger().info("moveit_msgs is not installed: no collision_object is published")
        elif settings.publish_collision_objects:
            self._collision_objects = CollisionObjectPublisher(node, warn)

    def publish(
        self, header: Header, reconstruction: Reconstruction, settings: NodeSettings, processing_time: float
    ) -> float:
        """Publish the objects of a cloud and take back those that are gone.

        Args:
            header: stamp of the cloud, frame of the reconstruction.
            processing_time: seconds spent on the cloud.

        Returns:
            Latency: seconds from the cloud's stamp to the message; NaN for a stamp that is not set or in the future.
        """
        with self._lock:
            latency = conversions.seconds_since(header.stamp, self._ros_clock.now())
            if self._closed:
                return latency
            centres = np.array([item.T_source_object[:3, 3] for item in reconstruction.objects])
            ids, vanished = self._ids.update(centres, header.frame_id, settings.same_object_distance)
            self._header = header
            self._objects.publish(conversions.to_objects_msg(header, reconstruction, ids, latency, processing_time))
            objects = dict(zip(ids, reconstruction.objects, strict=True))
            if self._markers is not None:
                self._markers.publish(header, objects, vanished, latency, settings.marker_lifetime)
            if self._collision_objects is not None:
                self._collision_objects.publish(header, objects, settings.collision_object_prefix)
        return latency

    def close(self) -> None:
        """Take back all that displays and planners hold, wait a moment until they know, publish no more."""
        with self._lock:
            self._closed = True
            vanished = self._ids.clear()
            if self._markers is not None:
                self._markers.remove(self._header, vanished)
            if self._collision_objects is not None:
                self._collision_objects.remove_all(self._header)


class MarkerPublisher:
    """Shows objects in RViz."""

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(MarkerArray, "~/markers", MARKERS_QOS)
        # A message that deletes may be overtaken by the next one, so deletions are repeated; numbers never come back.
        self._vanished: deque[list[int]] = deque(maxlen=REPEATED_DELETIONS)

    def publish(
        self,
        header: Header,
        objects: dict[int, ReconstructedObject],
        vanished: list[int],
        latency: float,
        lifetime: float,
    ) -> None:
        """objects: by number; vanished: numbers to take off the display; latency and lifetime in seconds."""
        self._vanished.append(vanished)
        if self._publisher.get_subscription_count() == 0:
            return
        markers = _delete_markers(header, [number for numbers in self._vanished for number in numbers])
        for number, item in objects.items():
            markers.append(conversions.to_surface_marker(header, number, item, lifetime))
            markers.append(conversions.to_label_marker(header, number, item, latency, lifetime))
        self._publisher.publish(serialize(MarkerArray(markers=markers)))

    def remove(self, header: Header, numbers: list[int]) -> None:
        """Take objects off the display; waits a moment until it knows."""
        if numbers:
            self._publisher.publish(MarkerArray(markers=_delete_markers(header, numbers)))
            self._publisher.wait_for_all_acked(ACKNOWLEDGE_TIMEOUT)


class CollisionObjectPublisher:
    """Keeps a planning scene up to date."""

    def __init__(self, node: Node, warn: Callable[[str], Any]) -> None:
        self._publisher = node.create_publisher(conversions.CollisionObject, "collision_object", COLLISION_QOS)
        self._warn = warn
        self._names: set[str] = set()

    def publish(self, header: Header, objects: dict[int, ReconstructedObject], prefix: str) -> None:
        """Add or replace the objects, under the names prefix + number, and remove those published before."""
        names = set()
        for number, item in objects.items():
            name = f"{prefix}{number}"
            try:
                message = conversions.to_collision_object_msg(header, name, item)
            except ValueError as error:
                self._warn(str(error))
                continue
            self._publisher.publish(serialize(message))
            names.add(name)
        self._remove(header, self._names - names)
        self._names = names

    def remove_all(self, header: Header) -> None:
        """Take everything out of the planning scene; waits a moment until it knows."""
        if self._names:
            self._remove(header, self._names)
            self._publisher.wait_for_all_acked(ACKNOWLEDGE_TIMEOUT)
            self._names = set()

    def _remove(self, header: Header, names: set[str]) -> None:
        for name in sorted(names):
            self._publisher.publish(conversions.to_collision_removal_msg(header, name))


def _delete_markers(header: Header, numbers: list[int]) -> list[Marker]:
    return [marker for number in numbers for marker in conversions.to_delete_markers(header, number)]
