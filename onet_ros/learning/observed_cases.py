"""What an evaluation tells methods that observe pictures or voxel grids, made from the frames of its data."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.learning.evaluation_data import Frame, Picture
from onet_ros.learning.other_methods import Pictured
from onet_ros.pictures import OBJECT_PALETTE, View, render_mesh
from onet_ros.ray_casting import RayScene, ray_scene
from onet_ros.scene import GRID_RESOLUTION, SupportPlane, VoxelGrid

TABLE_COLOUR = (0.62, 0.55, 0.47)
WHOLE_FILLED = 0.9  # of the cube's edge that a whole object fills
SURFACE_SAMPLES = 200_000  # of the true surface, by which touched cells are found


def pictured(picture: Picture, number: int) -> Pictured:
    """What a picture shows of its object `number`, from 1 on."""
    return Pictured(picture.image, picture.labels == number, picture.K)


def drawn_picture(frame: Frame) -> Picture:
    """The true objects on their table as `onet_ros.pictures` draws them: plain colours, soft shadows.

    Raises:
        ValueError: nobody knows the camera's intrinsics.
    """
    if frame.K is None:
        raise ValueError(f"{frame.part} {frame.name} has no picture and no intrinsics to draw one with")
    K = np.asarray(frame.K, dtype=np.float64)
    size = (round(2.0 * K[0, 2] + 1.0), round(2.0 * K[1, 2] + 1.0))  # the optical axis goes through the middle
    view = View(K, np.eye(4), *size)
    meshes = [truth.mesh for truth in frame.truths]
    colours = [OBJECT_PALETTE[sum(truth.name.encode()) % len(OBJECT_PALETTE)] for truth in frame.truths]
    image = render_mesh(meshes, view, colours, frame.plane.coefficients, TABLE_COLOUR)
    hits = RayScene(meshes).cast(view.rays())
    return Picture(image, np.where(hits.hit, hits.mesh + 1, 0).astype(np.int64), view.intrinsics)


def seen_cells(points: NDArray[np.floating], plane: SupportPlane) -> tuple[VoxelGrid, NDArray[np.float64]]:
    """The grid of the cells that seen points (N, 3) fall into, z up, and T_cam_grid (4, 4)."""
    T_cam_grid = upright(plane)
    grid = VoxelGrid.around_cells(np.asarray(points, dtype=np.float64) @ T_cam_grid[:3, :3])
    return grid, T_cam_grid


def whole_grid(mesh: trimesh.Trimesh, plane: SupportPlane) -> tuple[VoxelGrid, NDArray[np.float64]]:
    """The grid of a whole true object, z up, and T_cam_grid (4, 4).

    As in the paper's task a cell is occupied where the solid meets it: its middle is inside, or the surface passes
    through it.
    """
    T_cam_grid = upright(plane)
    turned = trimesh.Trimesh(np.asarray(mesh.vertices) @ T_cam_grid[:3, :3], mesh.faces, process=False)
    edge = float(turned.extents.max()) / WHOLE_FILLED
    origin = turned.bounds.mean(axis=0) - edge / 2.0
    samples = trimesh.sample.sample_surface(turned, SURFACE_SAMPLES, seed=0)[0]
    cells = np.floor((samples - origin) / edge * GRID_RESOLUTION).astype(np.int64).clip(0, GRID_RESOLUTION - 1)
    values = np.zeros(3 * (GRID_RESOLUTION,), dtype=np.float32)
    values[tuple(cells.T)] = 1.0
    centres = VoxelGrid(values, origin, edge).centres.astype(np.float32)
    inside = ray_scene([turned]).compute_occupancy(centres, nsamples=3).numpy() > 0.5
    values[inside.reshape(values.shape)] = 1.0
    return VoxelGrid.from_array(values, origin, edge), T_cam_grid


def upright(plane: SupportPlane) -> NDArray[np.float64]:
    """(4, 4) rotation from a frame with z up to the plane's own frame."""
    x, y = plane.axes()
    transform = np.eye(4)
    transform[:3, :3] = np.stack([x, y, plane.normal], axis=1)
    return transform


def window(picture: Pictured) -> NDArray[np.uint8]:
    """The part of a picture about its object (h, w, 3), at least as wide as high."""
    row, column = np.nonzero(picture.mask)
    height, width = picture.mask.shape
    half = 0.75 * max(int(np.ptp(row)), int(np.ptp(column)), 16)
    middle_row, middle_column = (row.min() + row.max()) / 2.0, (column.min() + column.max()) / 2.0
    low_row, high_row = int(max(0, middle_row - half)), int(min(height, middle_row + half))
    low_column, high_column = int(max(0, middle_column - 1.2 * half)), int(min(width, middle_column + 1.2 * half))
    return picture.image[low_row:high_row, low_column:high_column]
