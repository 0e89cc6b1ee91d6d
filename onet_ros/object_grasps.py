"""Grasps of the objects that stand together, looked for anew only where something changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros.completion import ReconstructedObject
from onet_ros.grasping import Grasp, GraspScene, GraspSettings, sample_grasps

AROUND = 0.15  # metres: objects farther from each other than that do not come in each other's gripper


@dataclass(frozen=True, eq=False)
class _Known:
    """Grasps, and the object and those beside it that they were found with; why there can be none."""

    shapes: list[ReconstructedObject]
    grasps: list[Grasp]
    failure: str = ""


class ObjectGrasps:
    """What is known of the grasps of objects, by number.

    Args:
        settings: of gripper and search.
    """

    def __init__(self, settings: GraspSettings) -> None:
        self._settings = settings
        self._known: dict[int, _Known] = {}

    def update(self, objects: Mapping[int, ReconstructedObject], table: ArrayLike) -> dict[int, str]:
        """Look for grasps on objects that changed, or beside which something did; objects that are not reliable have
        none.

        Args:
            objects: all that stand together, by number, in one frame; the same instances as long as they are unchanged.
            table: (4,) n.x + d, metres above it.

        Returns:
            By the number of each object whose grasps are new: empty, or why there can be none.
        """
        before, self._known = self._known, {}
        for number in objects:
            self._known[number] = self._look(number, objects, np.asarray(table, float), before.get(number))
        return {number: known.failure for number, known in self._known.items() if before.get(number) is not known}

    def of(self, number: int) -> list[Grasp]:
        """Of an object of the last update, best first."""
        return self._known[number].grasps

    def best_first(self) -> list[tuple[int, Grasp]]:
        """Of all objects of the last update, with their numbers."""
        found = [(number, grasp) for number, known in self._known.items() for grasp in known.grasps]
        return sorted(found, key=lambda pair: -pair[1].quality)

    def forget(self) -> None:
        """Everything."""
        self._known = {}

    def _look(
        self,
        number: int,
        objects: Mapping[int, ReconstructedObject],
        table: NDArray[np.float64],
        known: _Known | None,
    ) -> _Known:
        own = objects[number]
        near = [n for n, item in objects.items() if _distance(own.mesh.bounds, item.mesh.bounds) < AROUND]
        beside = [objects[other] for other in near if other != number]
        shapes = [own, *beside]
        if known is not None and list(map(id, known.shapes)) == list(map(id, shapes)):
            return known
        if not own.trust.reliable:
            return _Known(shapes, [])
        try:
            scene = GraspScene(own.mesh, own.confidence, own.error, table, [one.collision_mesh for one in beside])
            return _Known(shapes, sample_grasps(scene, self._settings))
        except ValueError as error:
            return _Known(shapes, [], str(error))


def grasp_record(grasp: Grasp) -> dict[str, Any]:
    """For JSON; metres, frame of the objects."""
    return {
        "T_frame_gripper": grasp.T_source_gripper.tolist(),
        "width": round(grasp.width, 5),
        "opening": round(grasp.opening, 5),
        "quality": round(grasp.quality, 4),
        "parts": {name: round(value, 4) for name, value in grasp.parts.items()},
        "contacts": np.round(grasp.contacts, 5).tolist(),
        "normals": np.round(grasp.normals, 4).tolist(),
        "confidence": np.round(grasp.confidence, 4).tolist(),
    }


def _distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Metres between two boxes (2, 3)."""
    return float(np.linalg.norm(np.maximum(np.maximum(one[0] - other[1], other[0] - one[1]), 0.0)))
