"""A planner's scene that takes nothing on trust: `python planner.py --frames camera [--ns NAME] [--refuse N]`.

Listens on the topic collision_object and offers the service apply_planning_scene. Each message is checked as MoveIt's
planning scene does, and a little harder; what was done, or what is wrong, is printed as a line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from typing import Any

import numpy as np
import rclpy
import trimesh
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Pose
from moveit_msgs.msg import CollisionObject
from moveit_msgs.srv import ApplyPlanningScene
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile

from onet_ros.ros import conversions
from onet_ros.surface import is_sound

NAMES = {CollisionObject.ADD: "ADD", CollisionObject.REMOVE: "REMOVE", CollisionObject.MOVE: "MOVE"}


class Planner(Node):
    """The scene: names of what is in it."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__("planner", namespace=arguments.ns)
        self._frames, self._refusals = set(arguments.frames), arguments.refuse
        self._known: set[str] = set()
        if arguments.topic:
            self.create_subscription(CollisionObject, "collision_object", self._on_object, QoSProfile(depth=100))
        if arguments.service:
            self.create_service(ApplyPlanningScene, "apply_planning_scene", self._on_scene)
        self._node_name = f"{arguments.ns}/onet: reconstruction".lstrip("/")
        self._is_known = False
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        """The node knows this subscription, and so those above: see `Client.meet`."""
        if not self._is_known and any(status.name == self._node_name for status in message.status):
            self._is_known = True
            self._say(ready=True)

    def _on_object(self, message: CollisionObject) -> None:
        try:
            self._say(**self._applied(message))
        except ValueError as error:
            self._say(fault=str(error), id=message.id)

    def _on_scene(self, request: Any, response: Any) -> Any:
        scene = request.scene
        if self._refusals:
            self._refusals -= 1
            self._say(refused=[one.id for one in scene.world.collision_objects])
            return response
        if not scene.is_diff or not scene.robot_state.is_diff:
            self._say(fault="the scene would replace the robot's own", id="")
        for one in scene.world.collision_objects:
            self._on_object(one)
        response.success = True
        return response

    def _applied(self, message: CollisionObject) -> dict[str, Any]:
        operation = NAMES.get(message.operation)
        if operation is None or not message.id:
            raise ValueError(f"operation {message.operation!r} of {message.id!r}")
        if message.header.frame_id not in self._frames:
            raise ValueError(f"frame {message.header.frame_id!r} is not known")
        if operation == "REMOVE":
            if message.id not in self._known:
                raise ValueError("removed though it is not there")
            self._known.discard(message.id)
            return {"op": operation, "id": message.id}
        for poses, shapes in ((message.mesh_poses, message.meshes), (message.primitive_poses, message.primitives)):
            if len(poses) != len(shapes):
                raise ValueError(f"{len(poses)} poses for {len(shapes)} shapes")
        for pose in (message.pose, *message.mesh_poses, *message.primitive_poses):
            _check_pose(pose)
        if operation == "MOVE" and message.id not in self._known:
            raise ValueError("moved though it is not there")
        if operation == "ADD" and not len(message.meshes) + len(message.primitives):
            raise ValueError("added without a shape")
        meshes = conversions.from_collision_object_msg(message)
        for mesh in meshes:
            _check_mesh(mesh)
        self._known.add(message.id)
        boxes = [list(one.dimensions) for one in message.primitives]
        return {"op": operation, "id": message.id, "meshes": len(meshes), "boxes": boxes}

    @staticmethod
    def _say(**what: Any) -> None:
        print(json.dumps(what), flush=True)


def _check_pose(pose: Pose) -> None:
    values = [pose.position.x, pose.position.y, pose.position.z]
    quaternion = [pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w]
    if not np.isfinite([*values, *quaternion]).all() or abs(np.linalg.norm(quaternion) - 1.0) > 1e-3:
        raise ValueError(f"pose {values} {quaternion} is none")


def _check_mesh(mesh: trimesh.Trimesh) -> None:
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    if not len(faces) or faces.min() < 0 or faces.max() >= len(vertices) or not np.isfinite(vertices).all():
        raise ValueError(f"mesh of {len(vertices)} vertices and {len(faces)} faces is broken")
    if not is_sound(mesh):
        raise ValueError(f"mesh of {len(faces)} faces is not a solid")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", nargs="+", required=True)
    parser.add_argument("--ns", default="")
    parser.add_argument("--topic", action="store_true")
    parser.add_argument("--service", action="store_true")
    parser.add_argument("--refuse", type=int, default=0, help="so many requests of the service first")
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(Planner(parser.parse_args()))
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
