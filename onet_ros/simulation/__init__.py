"""A table world of triangle meshes and a depth camera in it, apart from everything that networks are trained on."""

from onet_ros.simulation.camera import NO_DEPTH, DepthCamera, DepthCameraSettings, DepthFrame
from onet_ros.simulation.objects import OBJECT_COLOURS, demo_objects
from onet_ros.simulation.table import SimulatedTable, TableSettings

__all__ = [
    "NO_DEPTH",
    "OBJECT_COLOURS",
    "DepthCamera",
    "DepthCameraSettings",
    "DepthFrame",
    "SimulatedTable",
    "TableSettings",
    "demo_objects",
]
