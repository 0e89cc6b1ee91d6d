"""Keeps a planner's scene up to date, on a topic or by a service that acknowledges it.

Only differences are told, so that an object that did not change costs nothing and keeps its entries in the planner's
allowed-collision matrix. One that moved was completed anew from what is seen of it at its new place: it is replaced
under its name, which keeps those entries, too; MOVE, which keeps the old mesh, is not needed. What a robot has attached
to itself is left alone until it is detached.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import trimesh
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Header

from onet_ros.collision import CollisionSettings, ConvexPieces, solid_hull
from onet_ros.live_scene import LiveObject
from onet_ros.reconstructor import ReconstructedObject as CoreObject
from onet_ros.ros import conversions
from onet_ros.ros.qos import COLLISION_QOS
from onet_ros.ros.serialization import serialize
from onet_ros.scene import TableTop

try:
    from moveit_msgs.msg import AttachedCollisionObject, PlanningScene
    from moveit_msgs.srv import ApplyPlanningScene
except ImportError:  # a robot without MoveIt, or ROS 2 from PyPI
    AttachedCollisionObject = PlanningScene = ApplyPlanningScene = None

SERVICE = "apply_planning_scene"
ATTACHED_TOPIC = "attached_collision_object"
ACKNOWLEDGE_TIMEOUT = Duration(seconds=1.0)
RETRY_PERIOD = 0.2  # seconds
ANSWER_TIMEOUT = 5.0  # seconds, after which a request counts as lost
TABLE_MOVED = 0.02  # metres: a corner of the table that moved less is measured noise
TABLE_NAME = "table"


class Transport(Protocol):
    """A way to tell a planner."""

    def send(self, messages: Iterable[Any]) -> None: ...
    def is_new(self) -> bool:
        """Whether somebody listens who was told nothing yet."""
        ...

    def wait(self) -> None:
        """A moment, until what was sent has arrived."""
        ...

    def close(self) -> None: ...


class TopicTransport:
    """The topic collision_object."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(conversions.CollisionObject, "collision_object", COLLISION_QOS)
        self._listeners = 0

    def send(self, messages: Iterable[Any]) -> None:
        """One after the other, in this order."""
        for message in messages:
            self._publisher.publish(serialize(message))

    def is_new(self) -> bool:
        before, self._listeners = self._listeners, self._publisher.get_subscription_count()
        return self._listeners > before

    def wait(self) -> None:
        self._publisher.wait_for_all_acked(ACKNOWLEDGE_TIMEOUT)

    def close(self) -> None:
        self._node.destroy_publisher(self._publisher)


class ServiceTransport:
    """The service apply_planning_scene: never waited for; what was refused or lost is sent again.

    Of each object only the newest message counts, whatever could not be told before.
    """

    def __init__(self, node: Node, warn: Callable[[str], Any]) -> None:
        self._node, self._warn = node, warn
        group = MutuallyExclusiveCallbackGroup()
        self._client = node.create_client(ApplyPlanningScene, SERVICE, callback_group=group)
        self._timer = node.create_timer(RETRY_PERIOD, self._pump, callback_group=group)
        self._waiting: dict[str, Any] = {}
        self._asked: tuple[Any, dict[str, Any], float] | None = None  # future, what it is about, when
        self._was_there = False
        self._lock = threading.RLock()

    def send(self, messages: Iterable[Any]) -> None:
        """Soon, all that waits in one request."""
        with self._lock:
            for message in messages:
                self._waiting.pop(message.id, None)
                self._waiting[message.id] = message
            self._pump()

    def is_new(self) -> bool:
        was_there, self._was_there = self._was_there, bool(self._client.service_is_ready())
        return self._was_there and not was_there

    def wait(self) -> None:
        deadline = time.monotonic() + ACKNOWLEDGE_TIMEOUT.nanoseconds * 1e-9
        while (self._waiting or self._asked) and self._client.service_is_ready() and time.monotonic() < deadline:
            time.sleep(0.01)
            self._pump()

    def close(self) -> None:
        self._node.destroy_timer(self._timer)
        self._node.destroy_client(self._client)

    def _pump(self) -> None:
        """See to the answer that is due, and ask the next question."""
        with self._lock:
            if (self._asked is not None and not self._settled()) or not self._waiting:
                return
            if not self._client.service_is_ready():
                self._warn(f"{SERVICE} is not there: {len(self._waiting)} changes of the planning scene wait for it")
                return
            asked, self._waiting = self._waiting, {}
            request = ApplyPlanningScene.Request(scene=PlanningScene(is_diff=True))
            request.scene.robot_state.is_diff = True
            request.scene.world.collision_objects = list(asked.values())
            self._asked = self._client.call_async(request), asked, time.monotonic()

    def _settled(self) -> bool:
        """Whether the request in flight has come to its end, good or bad."""
        assert self._asked is not None
        future, asked, when = self._asked
        if future.done():
            answer = future.result() if future.exception() is None else None
            if answer is not None and answer.success:
                self._asked = None
                return True
            self._warn(f"{SERVICE} refused {', '.join(asked)}: they are sent again")
        elif time.monotonic() - when < ANSWER_TIMEOUT:
            return False
        else:
            self._client.remove_pending_request(future)
            self._warn(f"{SERVICE} did not answer within {ANSWER_TIMEOUT:g} s: {', '.join(asked)} are sent again")
        self._asked = None
        self._waiting = {**asked, **self._waiting}
        return False  # not at once, or a planner that refuses would be asked without a pause


@dataclass(frozen=True, eq=False)
class _Told:
    """What the planner knows under a name: of this shape, as one mesh or hull, or in pieces."""

    shape: CoreObject
    pieces: ConvexPieces | None = None

    def same(self, other: _Told | None) -> bool:
        return other is not None and other.shape is self.shape and other.pieces is self.pieces


class PlanningScenePublisher:
    """The objects and the table in a planner's scene; to be used under its owner's lock."""

    def __init__(self, node: Node, settings: CollisionSettings, warn: Callable[[str], Any]) -> None:
        self._node, self._warn = node, warn
        by_service = settings.via == "service"
        self._transport: Transport = ServiceTransport(node, warn) if by_service else TopicTransport(node)
        self._told: dict[str, _Told] = {}
        self._table: tuple[str, TableTop] | None = None
        self._attached: set[str] = set()
        self._attachments = None
        if AttachedCollisionObject is not None:
            self._attachments = node.create_subscription(
                AttachedCollisionObject, ATTACHED_TOPIC, self._on_attached, QoSProfile(depth=10)
            )

    def publish(
        self,
        header: Header,
        objects: Mapping[str, LiveObject],
        pieces: Mapping[str, ConvexPieces],
        table: tuple[str, TableTop] | None,
        settings: CollisionSettings,
    ) -> None:
        """Add or replace what changed, and remove what is gone.

        Args:
            header: stamp of the cloud, frame of the objects.
            objects: by name.
            pieces: of those objects that have any, by name.
            table: with its name; None where the planner is not to know of it.
        """
        if self._transport.is_new():
            self._told, self._table = {name: told for name, told in self._told.items() if name in self._attached}, None
        gone = [name for name in self._told if name not in objects and name not in self._attached]
        messages = [self._removal(header, name) for name in gone]
        for name, item in objects.items():
            told = _Told(item.shape, pieces.get(name))
            if name in self._attached or told.same(self._told.get(name)):
                continue
            message = self._addition(header, name, item, told, settings)
            if message is not None:
                messages.append(message)
        messages += self._table_messages(header, table, settings)
        self._transport.send(messages)

    def remove_all(self, header: Header) -> None:
        """Take everything of ours that is not attached to a robot out of the scene; waits until the planner knows."""
        messages = [self._removal(header, name) for name in list(self._told) if name not in self._attached]
        if self._table is not None:
            messages.append(conversions.to_collision_removal_msg(header, self._table[0]))
            self._table = None
        if messages:
            self._transport.send(messages)
            self._transport.wait()

    def close(self) -> None:
        """Give up the topics."""
        if self._attachments is not None:
            self._node.destroy_subscription(self._attachments)
        self._transport.close()

    def _on_attached(self, message: Any) -> None:
        """A robot took hold of an object, or let it go; then the planner has it in its world again."""
        name = message.object.id
        if message.object.operation == conversions.CollisionObject.REMOVE:
            self._attached = self._attached - {name} if name else set()
        elif name in self._told:
            self._attached = self._attached | {name}

    def _removal(self, header: Header, name: str) -> Any:
        del self._told[name]
        return conversions.to_collision_removal_msg(header, name)

    def _addition(
        self, header: Header, name: str, item: LiveObject, told: _Told, settings: CollisionSettings
    ) -> Any | None:
        """The message, or one that removes what the planner knew where there is nothing that it could use."""
        try:
            meshes = told.pieces.pieces if told.pieces is not None else [planning_mesh(item, settings)]
            message = conversions.to_collision_object_msg(header, name, item.shape.T_source_object, meshes)
        except ValueError as error:
            self._warn(str(error))
            return self._removal(header, name) if name in self._told else None
        self._told[name] = told
        return message

    def _table_messages(
        self, header: Header, table: tuple[str, TableTop] | None, settings: CollisionSettings
    ) -> list[Any]:
        if table is None:
            if self._table is None:
                return []
            name, self._table = self._table[0], None
            return [conversions.to_collision_removal_msg(header, name)]
        if self._table is not None and not table[1].differs(self._table[1], TABLE_MOVED):
            return []
        self._table = table
        return [conversions.to_table_msg(header, *table, settings.table_thickness)]


def collision_source(item: LiveObject, settings: CollisionSettings) -> trimesh.Trimesh:
    """The mesh that a planner is to keep clear of: of an object that is not reliable always the conservative one."""
    if settings.surface == "conservative" or not item.shape.trust.reliable:
        return item.shape.conservative_mesh
    return item.shape.collision_mesh


def planning_mesh(item: LiveObject, settings: CollisionSettings) -> trimesh.Trimesh:
    """The one mesh that is at hand at once: as it is, or its hull where hulls or pieces are wanted.

    Raises:
        SurfaceError: it has no solid hull.
    """
    mesh = collision_source(item, settings)
    if settings.shape == "mesh":
        return mesh
    return solid_hull(np.asarray(mesh.vertices), settings.max_vertices)
