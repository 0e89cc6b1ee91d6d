"""Convex pieces of the objects, as soon as they are there: our message, and for those who show or plan with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import trimesh
from rclpy.node import Node
from std_msgs.msg import Header

from onet_ros.collision import CollisionSettings, ConvexPieces, PieceWorker
from onet_ros.collision.worker import PiecesDone
from onet_ros.live_scene import LiveObject
from onet_ros.msg import CollisionPieces
from onet_ros.ros import conversions
from onet_ros.ros.planning_scene import collision_source
from onet_ros.ros.qos import COLLISION_QOS
from onet_ros.ros.serialization import serialize


class PiecePublisher:
    """Asks for pieces of every new shape and publishes them; to be used under its owner's lock but for `on_done`.

    Args:
        settings: of the pieces.
        on_done: called in another thread when pieces came; the owner then calls `take`.
        warn: called with each object that has none, and why.
    """

    def __init__(
        self, node: Node, settings: CollisionSettings, on_done: Callable[[PiecesDone], Any], warn: Callable[[str], Any]
    ) -> None:
        self._node, self._settings, self._warn = node, settings, warn
        self._worker = PieceWorker(settings, on_done)
        self._publisher = node.create_publisher(CollisionPieces, "~/collision_pieces", COLLISION_QOS)
        self._asked: dict[str, tuple[LiveObject, trimesh.Trimesh]] = {}
        self._header = Header()
        self.pieces: dict[str, ConvexPieces] = {}  # by name, of the shape that is known now

    def update(self, header: Header, objects: Mapping[str, LiveObject]) -> None:
        """Ask for the pieces of what changed; forget those of what is gone."""
        self._header = header
        for name in [name for name in self._asked if name not in objects]:
            self._forget(name)
        for name, item in objects.items():
            known = self._asked.get(name)
            if known is None or known[0].shape is not item.shape:
                mesh = collision_source(item, self._settings)
                self.pieces.pop(name, None)
                self._asked[name] = item, mesh
                self._worker.submit(name, mesh)

    def take(self, done: PiecesDone) -> LiveObject | None:
        """Publish what came, unless the object has changed since; the object it is of."""
        item, mesh = self._asked.get(done.name, (None, None))
        if item is None or mesh is not done.mesh:
            return None
        if done.pieces is None:
            self._warn(f"no convex pieces of {done.name}: {done.reason}; its hull stays")
            return None
        self.pieces[done.name] = done.pieces
        self._publisher.publish(serialize(conversions.to_pieces_msg(self._header, item, done.pieces, self._settings)))
        return item

    def clear(self) -> None:
        """Forget all."""
        for name in list(self._asked):
            self._forget(name)

    def close(self) -> None:
        """Stop the work, and give up the topic."""
        self.clear()
        self._worker.close()
        self._node.destroy_publisher(self._publisher)

    def _forget(self, name: str) -> None:
        del self._asked[name]
        self.pieces.pop(name, None)
        self._worker.forget(name)
