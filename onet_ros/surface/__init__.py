"""Closed meshes from fields: knows fields and meshes, nothing of networks or cameras."""

from onet_ros.surface.bodies import keep_bodies
from onet_ros.surface.extraction import collision_mesh, extract_surface
from onet_ros.surface.field import Field, SurfaceError
from onet_ros.surface.grid import GridField, sample_grid_dense
from onet_ros.surface.marching_cubes import extract_mesh
from onet_ros.surface.mise import sample_grid_mise
from onet_ros.surface.refine import refine_vertices, vertex_normals
from onet_ros.surface.settings import ExtractionSettings
from onet_ros.surface.simplify import simplify_mesh
from onet_ros.surface.soundness import is_sound, surface_deviation

__all__ = [
    "ExtractionSettings",
    "Field",
    "GridField",
    "SurfaceError",
    "collision_mesh",
    "extract_mesh",
    "extract_surface",
    "is_sound",
    "keep_bodies",
    "refine_vertices",
    "sample_grid_dense",
    "sample_grid_mise",
    "simplify_mesh",
    "surface_deviation",
    "vertex_normals",
]
