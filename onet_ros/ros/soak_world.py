"""What the soak test shows to the node: a table where some objects stay and others come and go. Needs no ROS.

What stands on the table at a moment depends on the moment alone, so that whoever knows a stamp knows the truth.
"""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.simulation import DepthCamera, DepthCameraSettings, SimulatedTable, TableSettings, demo_objects

STAYING = ("block", "drill", "toy_car")
COMING_AND_GOING = ("teapot", "tape_roll", "banana")
# Which of those are there, one after the other.
SCENES: tuple[tuple[str, ...], ...] = ((), ("teapot",), ("teapot", "tape_roll"), ("banana",), ("banana", "tape_roll"))
SCENE_SECONDS = 6
LOOKS = 5  # different noise in each scene
SEED = 0  # of an arrangement in which no object hides another


class SoakWorld:
    """The table, its scenes, and what a small camera sees of them."""

    def __init__(self) -> None:
        objects = demo_objects()
        settings = TableSettings(clearance=0.06, lying_fraction=0.0)
        self._table = SimulatedTable.arrange(
            {name: objects[name] for name in (*STAYING, *COMING_AND_GOING)}, SEED, settings
        )
        self._pose = self._table.camera_pose()
        self.truth: dict[str, trimesh.Trimesh] = self._table.meshes_in(self._pose)

    def objects_at(self, nanoseconds: int) -> tuple[str, ...]:
        """Names of what stands on the table at that time."""
        return (*STAYING, *SCENES[self.scene_at(nanoseconds) % len(SCENES)])

    def scene_at(self, nanoseconds: int) -> int:
        """Number of the scene at that time; it never comes again."""
        return nanoseconds // 10**9 // SCENE_SECONDS

    def looks(self) -> list[list[NDArray[np.float32]]]:
        """For each scene some clouds, (240, 320, 3) float32, metres, optical frame, NaN where missing."""
        camera_settings = DepthCameraSettings(width=320, height=240, focal_length_px=300.0)
        looks = []
        for present in SCENES:
            meshes = {name: self._table.meshes[name] for name in (*STAYING, *present)}
            camera = DepthCamera(meshes, self._pose, self._table.surroundings(), settings=camera_settings)
            looks.append([camera.capture(number).points for number in range(LOOKS)])
        return looks
