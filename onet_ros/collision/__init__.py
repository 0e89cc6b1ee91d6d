"""Collision geometry: what a planner is given of an object, within a budget.

`collision_shape` is at hand at once: a mesh with few triangles, or its convex hull. Convex pieces take seconds and come
from a process of their own (`PieceWorker`). Knows meshes; nothing of networks, cameras or ROS.
"""

from onet_ros.collision.pieces import ConvexPieces, convex_pieces, solid_hull
from onet_ros.collision.settings import CollisionSettings
from onet_ros.collision.worker import PieceWorker

__all__ = ["CollisionSettings", "ConvexPieces", "PieceWorker", "convex_pieces", "solid_hull"]
