"""Publishes the objects that are known: our message, markers for RViz, collision objects for planners.

Our message is complete every time. Displays and planners are told of differences: an object that did not change is not
sent again, unless somebody new listens, or a marker's lifetime comes to its end.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from onet_ros.collision import ConvexPieces
from onet_ros.collision.worker import PiecesDone
from onet_ros.live_scene import LiveObject, SceneUpdate
from onet_ros.msg import ReconstructedObject, ReconstructedObjects
from onet_ros.ros import conversions
from onet_ros.ros.grasp_publisher import CompletedCloudPublisher, GraspPublisher
from onet_ros.ros.node_settings import NodeSettings
from onet_ros.ros.piece_publisher import PiecePublisher
from onet_ros.ros.planning_scene import TABLE_NAME, PlanningScenePublisher
from onet_ros.ros.qos import MARKERS_QOS, OBJECTS_QOS
from onet_ros.ros.serialization import serialize
from onet_ros.scene import SupportPlane, TableTop

REPEATED_DELETIONS = 10
RENEWALS = 3  # of a marker within its lifetime
MESSAGES = 5  # at most, that tell of changed objects: the first are under way while the next are made
ACKNOWLEDGE_TIMEOUT = Duration(seconds=1.0)


class ResultPublisher:
    """The topics that results go out on, and the memory of what is out there."""

    def __init__(self, node: Node, settings: NodeSettings, warn: Callable[[str], Any]) -> None:
        """warn: called with each object that could not be published and why."""
        self._node = node
        self._lock = threading.Lock()
        self._closed = False
        self._header = Header()
        self._messages: dict[int, tuple[LiveObject, ReconstructedObject]] = {}
        self._objects = node.create_publisher(ReconstructedObjects, "~/objects", OBJECTS_QOS)
        self._markers = MarkerPublisher(node) if settings.publish_markers else None
        self._planning_scene = None
        if settings.publish_collision_objects and conversions.CollisionObject is None:
            node.get_logger().info("moveit_msgs is not installed: no collision_object is published")
        elif settings.publish_collision_objects:
            self._planning_scene = PlanningScenePublisher(node, settings.collision, warn)
        self._pieces = None
        if settings.collision.shape == "pieces":
            self._pieces = PiecePublisher(node, settings.collision, self._on_pieces, warn)
        self._grasps = GraspPublisher(node, settings.grasps, warn) if settings.grasps.enable else None
        self._completed_cloud = CompletedCloudPublisher(node)
        self._told: Callable[[], None] = lambda: None  # tells planners again what they were told last

    def publish(
        self, header: Header, update: SceneUpdate, settings: NodeSettings, processing_time: float
    ) -> ReconstructedObjects:
        """Publish what is known after a cloud.

        Args:
            header: stamp of the cloud, frame of the objects.
            processing_time: seconds spent on the cloud.

        Returns:
            The message. Its latency is NaN for a stamp that is not set or in the future.
        """
        with self._lock:
            latency = conversions.seconds_since(header.stamp, self._node.get_clock().now())
            message = conversions.to_objects_msg(
                header,
                update.plane,
                [self._object_msg(item, settings) for item in update.objects],
                latency,
                processing_time,
                update.timings,
                update.waiting,
            )
            if self._closed:
                return message
            self._header = header
            self._messages = {item.number: self._messages[item.number] for item in update.objects}
            self._objects.publish(serialize(message))
            objects = {item.number: item for item in update.objects}
            if self._markers is not None:
                self._markers.publish(header, objects, latency, settings)
            self._told = partial(self._tell_planners, header, objects, update.table, settings)
            self._told()
            self._tell_graspers(header, objects, update.plane, settings)  # last: looking for grasps takes a while
        return message

    def _tell_planners(
        self, header: Header, objects: dict[int, LiveObject], table: TableTop | None, settings: NodeSettings
    ) -> None:
        prefix, collision = settings.collision_object_prefix, settings.collision
        named = {f"{prefix}{number}": item for number, item in objects.items()}
        if self._pieces is not None:
            self._pieces.update(header, named)
        if self._planning_scene is not None:
            pieces = {} if self._pieces is None else self._pieces.pieces
            seen = (f"{prefix}{TABLE_NAME}", table) if collision.table and table is not None else None
            self._planning_scene.publish(header, named, pieces, seen, collision)

    def _tell_graspers(
        self, header: Header, objects: dict[int, LiveObject], plane: SupportPlane | None, settings: NodeSettings
    ) -> None:
        if self._grasps is not None:
            markers = self._grasps.publish(header, objects, plane, settings.marker_lifetime)
            if markers and self._markers is not None:
                self._markers.publisher.publish(serialize(MarkerArray(markers=markers)))
        self._completed_cloud.publish(header, objects, settings.completed_cloud_spacing)

    def _on_pieces(self, done: PiecesDone) -> None:
        """In another thread: convex pieces came."""
        with self._lock:
            if self._closed or self._pieces is None:
                return
            item = self._pieces.take(done)
            if item is None or done.pieces is None:
                return
            self._told()
            if self._markers is not None:
                self._markers.publish_pieces(self._header, item, done.pieces)

    def clear(self) -> None:
        """Take back all that is out there; wait a moment until displays and planners know."""
        with self._lock:
            if self._closed or not self._messages:
                return
            stamp = self._node.get_clock().now().to_msg()
            self._header = Header(stamp=stamp, frame_id=self._header.frame_id)
            self._messages = {}
            self._told = lambda: None
            self._objects.publish(conversions.to_objects_msg(self._header, None, [], 0.0, 0.0, {}))
            self._take_back()

    def close(self) -> None:
        """Take back what displays and planners hold, publish no more, and give up the topics."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._take_back()
            self._node.destroy_publisher(self._objects)
            if self._markers is not None:
                self._node.destroy_publisher(self._markers.publisher)
            if self._planning_scene is not None:
                self._planning_scene.close()
            if self._grasps is not None:
                self._grasps.close()
            self._completed_cloud.close()
        if self._pieces is not None:  # without the lock, which the work that is waited for may want
            self._pieces.close()

    def _take_back(self) -> None:
        if self._pieces is not None:
            self._pieces.clear()
        if self._markers is not None:
            self._markers.remove_all(self._header)
        if self._planning_scene is not None:
            self._planning_scene.remove_all(self._header)

    def _object_msg(self, item: LiveObject, settings: NodeSettings) -> ReconstructedObject:
        """The object's message, its meshes made once for each shape."""
        known = self._messages.get(item.number)
        if known is not None and known[0].shape is item.shape:
            message = known[1]
            message.last_seen, message.seen_now = conversions.to_time_msg(item.last_seen), item.seen_now
        else:
            message = conversions.to_object_msg(item, settings.publish_unreliable_meshes, settings.files.density)
        self._messages[item.number] = (item, message)
        return message


class Audience:
    """Notices when somebody new listens to a publisher."""

    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher
        self._listeners = 0

    def look(self) -> tuple[int, bool]:
        """How many listen, and whether there are more than at the last look."""
        before, self._listeners = self._listeners, self._publisher.get_subscription_count()
        return self._listeners, self._listeners > before


class MarkerPublisher:
    """Shows objects in RViz."""

    def __init__(self, node: Node) -> None:
        self.publisher = node.create_publisher(MarkerArray, "~/markers", MARKERS_QOS)
        self._audience = Audience(self.publisher)
        self._shown: dict[int, tuple[LiveObject, float]] = {}  # by number: as it was sent, and when
        # A message that deletes may be overtaken by the next one, so deletions are repeated; numbers never come back.
        self._vanished: deque[list[int]] = deque(maxlen=REPEATED_DELETIONS)

    def publish(self, header: Header, objects: dict[int, LiveObject], latency: float, settings: NodeSettings) -> None:
        """objects: by number; latency in seconds."""
        lifetime = settings.marker_lifetime
        self._vanished.append([number for number in self._shown if number not in objects])
        self._shown = {number: sent for number, sent in self._shown.items() if number in objects}
        listeners, somebody_new = self._audience.look()
        if not listeners:
            return
        now = time.monotonic()
        changed = [number for number, item in objects.items() if somebody_new or self._is_due(item, now, lifetime)]
        share = -(-len(changed) // MESSAGES) or 1
        markers = _delete_markers(header, [number for numbers in self._vanished for number in numbers])
        markers += [
            conversions.to_label_marker(header, n, item.shape, latency, lifetime) for n, item in objects.items()
        ]
        for place, number in enumerate(changed, start=1):
            markers += _shape_markers(header, number, objects[number], settings)
            self._shown[number] = (objects[number], now)
            if place % share == 0:
                self.publisher.publish(serialize(MarkerArray(markers=markers)))
                markers = []
        if markers or not changed:
            self.publisher.publish(serialize(MarkerArray(markers=markers)))

    def _is_due(self, item: LiveObject, now: float, lifetime: float) -> bool:
        """Whether an object was not shown as it is, or will soon be forgotten by the display."""
        shown, when = self._shown.get(item.number, (None, now))
        return shown is None or shown.shape is not item.shape or (lifetime > 0.0 and now - when > lifetime / RENEWALS)

    def publish_pieces(self, header: Header, item: LiveObject, found: ConvexPieces) -> None:
        """Show the convex pieces of an object; until it changes or vanishes."""
        if item.number in self._shown and self.publisher.get_subscription_count():
            marker = conversions.to_pieces_marker(header, item.number, item.shape, found.pieces, 0.0)
            self.publisher.publish(serialize(MarkerArray(markers=[marker])))

    def remove_all(self, header: Header) -> None:
        """Take everything off the display; waits a moment until it knows."""
        if self._shown:
            self.publisher.publish(MarkerArray(markers=_delete_markers(header, self._shown)))
            self.publisher.wait_for_all_acked(ACKNOWLEDGE_TIMEOUT)
            self._shown = {}


def _shape_markers(header: Header, number: int, item: LiveObject, settings: NodeSettings) -> list[Marker]:
    """Those that change with the shape only."""
    lifetime, shape = settings.marker_lifetime, item.shape
    if shape.trust.reliable or settings.publish_unreliable_meshes:
        surface = conversions.to_surface_marker(header, number, shape, lifetime)
    else:
        surface = conversions.to_delete_markers(header, number)[0]
    return [
        surface,
        conversions.to_shell_marker(header, number, shape, lifetime),
        conversions.to_next_view_marker(header, number, shape, lifetime),
    ]


def _delete_markers(header: Header, numbers: Collection[int]) -> list[Marker]:
    return [marker for number in numbers for marker in conversions.to_delete_markers(header, number)]
