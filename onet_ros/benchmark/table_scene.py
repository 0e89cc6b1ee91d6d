"""The cloud that is worked on: ten objects on a simulated table, as a depth camera sends it."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onet_ros.reconstructor import find_objects
from onet_ros.scene import AROUND_POINTS, WIDE, SeenObject, background_points
from onet_ros.simulation import DepthCamera, SimulatedTable, demo_objects

VIEWPOINT = (0.0, 0.0, 0.0)
FLOAT32 = 7  # sensor_msgs/PointField
POINT_STEP = 20  # as a RealSense sends it: x, y, z, padding, rgb


@dataclass(frozen=True)
class TableScene:
    """One simulated image.

    Attributes:
        message: has the fields of a sensor_msgs/PointCloud2 of 640 x 480 points.
        seen: the objects found in it, largest first.
    """

    message: Any
    seen: list[SeenObject]

    @classmethod
    def simulated(cls, seed: int = 1) -> TableScene:
        table = SimulatedTable.arrange(demo_objects(), seed=seed)
        camera = DepthCamera(table.meshes, table.camera_pose(), table.surroundings(), seed=seed)
        points = camera.capture(0).points
        scene = find_objects(points)
        if scene.plane is None:
            raise ValueError(f"the simulated table was not found: {scene.reason}")
        seen = [
            SeenObject.on_plane(
                cluster.points,
                scene.plane,
                VIEWPOINT,
                background_points(scene.cloud, cluster.indices, VIEWPOINT, AROUND_POINTS, window=WIDE),
                cluster.indices,
            )
            for cluster in scene.clusters
        ]
        return cls(_message(points), seen)

    def objects(self, count: int) -> list[SeenObject]:
        """So many of them; the same again where there are not enough."""
        return [self.seen[number % len(self.seen)] for number in range(count)]


def _message(points: NDArray[np.float32]) -> Any:
    height, width = points.shape[:2]
    layout = np.dtype({"names": ["x", "y", "z"], "formats": 3 * ["<f4"], "offsets": [0, 4, 8], "itemsize": POINT_STEP})
    records = np.zeros((height, width), dtype=layout)
    for axis, name in enumerate("xyz"):
        records[name] = np.nan_to_num(points[..., axis])
    fields = [
        types.SimpleNamespace(name=name, offset=4 * axis, datatype=FLOAT32, count=1) for axis, name in enumerate("xyz")
    ]
    return types.SimpleNamespace(
        height=height,
        width=width,
        fields=fields,
        is_bigendian=False,
        point_step=POINT_STEP,
        row_step=POINT_STEP * width,
        data=records.tobytes(),
    )
