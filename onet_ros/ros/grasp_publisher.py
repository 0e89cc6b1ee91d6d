"""Grasp candidates and completed points of the objects: for grasp planners, while they listen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import trimesh
from geometry_msgs.msg import PoseArray
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from onet_ros.grasping import GraspSettings
from onet_ros.live_scene import LiveObject
from onet_ros.msg import GraspCandidates
from onet_ros.object_grasps import ObjectGrasps
from onet_ros.ros import conversions
from onet_ros.ros.qos import OBJECTS_QOS
from onet_ros.ros.serialization import serialize
from onet_ros.scene import SupportPlane
from onet_ros.surface import mesh_normals


class GraspPublisher:
    """Looks for grasps on what changed and publishes those of all objects; to be used under its owner's lock."""

    def __init__(self, node: Node, settings: GraspSettings, warn: Callable[[str], Any]) -> None:
        self._node, self._settings, self._warn = node, settings, warn
        self._grasps = ObjectGrasps(settings)
        self._poses = node.create_publisher(PoseArray, "~/grasps", OBJECTS_QOS)
        self._candidates = node.create_publisher(GraspCandidates, "~/grasp_candidates", OBJECTS_QOS)

    def publish(
        self,
        header: Header,
        objects: Mapping[int, LiveObject],
        plane: SupportPlane | None,
        lifetime: float,
    ) -> list[Marker]:
        """Look for grasps and publish them, where anybody listens.

        Args:
            objects: by number.
            plane: the table; without one there are no grasps.
            lifetime: of markers, seconds.

        Returns:
            The markers of those objects whose grasps are new.
        """
        if plane is None or not (self._poses.get_subscription_count() or self._candidates.get_subscription_count()):
            self._grasps.forget()
            return []
        shapes = {number: item.shape for number, item in objects.items()}
        changed = self._grasps.update(shapes, plane.coefficients)
        for number, failure in changed.items():
            if failure:
                self._warn(f"no grasps of object {number}: {failure}")
        self._tell(header)
        return [
            conversions.to_grasps_marker(header, number, self._grasps.of(number), self._settings, lifetime)
            for number in changed
        ]

    def close(self) -> None:
        """Give up the topics."""
        for publisher in (self._poses, self._candidates):
            self._node.destroy_publisher(publisher)

    def _tell(self, header: Header) -> None:
        found = self._grasps.best_first()
        poses = [conversions.to_pose_msg(grasp.T_source_gripper) for _, grasp in found]
        self._poses.publish(PoseArray(header=header, poses=poses))
        candidates = [conversions.to_grasp_msg(number, grasp) for number, grasp in found]
        self._candidates.publish(GraspCandidates(header=header, candidates=candidates))


class CompletedCloudPublisher:
    """Points on the completed surfaces, spread evenly; to be used under its owner's lock."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(PointCloud2, "~/completed_cloud", OBJECTS_QOS)
        self._known: dict[int, tuple[Any, NDArray[np.float32]]] = {}  # by number: the shape, and its points

    def publish(self, header: Header, objects: Mapping[int, LiveObject], spacing: float) -> None:
        """Look for grasps and publish them, where anybody listens.

        Args:
            objects: by number; those that are not reliable are left out.
            spacing: mean distance of neighbouring points, metres.
        """
        if not self._publisher.get_subscription_count():
            return
        before, self._known = self._known, {}
        for number, item in objects.items():
            if item.shape.trust.reliable:
                known = before.get(number)
                if known is None or known[0] is not item.shape:
                    known = item.shape, surface_points(item, spacing)
                self._known[number] = known
        clouds = {number: points for number, (_, points) in self._known.items()}
        self._publisher.publish(serialize(conversions.to_completed_cloud_msg(header, clouds)))

    def close(self) -> None:
        """Give up the topic."""
        self._node.destroy_publisher(self._publisher)


def surface_points(item: LiveObject, spacing: float) -> NDArray[np.float32]:
    """(N, 7) x, y, z, unit normal and confidence of points on a completed mesh, one for each `spacing`^2 of area."""
    mesh = item.shape.mesh
    count = max(1, int(mesh.area / spacing**2))
    places, of_faces = trimesh.sample.sample_surface(mesh, count, seed=0)
    corners = np.asarray(mesh.faces)[of_faces]
    weights = trimesh.triangles.points_to_barycentric(np.asarray(mesh.triangles)[of_faces], places)
    normals = mesh_normals(np.asarray(mesh.vertices), np.asarray(mesh.faces))[corners]
    normals = np.einsum("nk,nkc->nc", weights, normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    confidence = np.einsum("nk,nk->n", weights, item.shape.confidence[corners])
    return np.column_stack([places, normals, confidence]).astype(np.float32)
