"""Closed meshes from fields: knows fields and meshes, nothing of networks or cameras."""

from onet_ros.surface.bodies import keep_bodies
from onet_ros.surface.coarse import coarse_grids, covering_grids
from onet_ros.surface.extraction import POINTS_ASKED, ExtractedSurface, extract_surface, extract_surfaces
from onet_ros.surface.field import BatchField, Field, SurfaceError
from onet_ros.surface.grid import GridBatch, GridField, sample_grid_dense
from onet_ros.surface.marching_cubes import extract_mesh, extract_meshes
from onet_ros.surface.mise import sample_grid_mise, sample_grids_mise
from onet_ros.surface.pace import Pace
from onet_ros.surface.refine import refine_vertices, vertex_normals
from onet_ros.surface.settings import ExtractionSettings
from onet_ros.surface.simplify import simplify_mesh
from onet_ros.surface.soundness import is_sound, surface_deviation
from onet_ros.surface.triangles import face_areas, face_means, mesh_normals, volume, volume_moments

__all__ = [
    "POINTS_ASKED",
    "BatchField",
    "ExtractedSurface",
    "ExtractionSettings",
    "Field",
    "GridBatch",
    "GridField",
    "Pace",
    "SurfaceError",
    "coarse_grids",
    "covering_grids",
    "extract_mesh",
    "extract_meshes",
    "extract_surface",
    "extract_surfaces",
    "face_areas",
    "face_means",
    "is_sound",
    "keep_bodies",
    "mesh_normals",
    "refine_vertices",
    "sample_grid_dense",
    "sample_grid_mise",
    "sample_grids_mise",
    "simplify_mesh",
    "surface_deviation",
    "vertex_normals",
    "volume",
    "volume_moments",
]
