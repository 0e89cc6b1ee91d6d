"""Reconstructions beside the truth, with the error in colour: contact sheets of evaluated objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros.pictures.colours import CLAY, PAPER, SEEN, TRUTH, error_colours
from onet_ros.pictures.reconstructions import Stage, fitted
from onet_ros.pictures.rendering import Image, render_mesh, render_points
from onet_ros.pictures.sheets import add_scale_bar, contact_sheet, error_legend
from onet_ros.pictures.view import View
from onet_ros.ray_casting import ray_scene

LARGEST_ERROR = 0.010  # metres, the dark end of the scale: the same on all sheets
COLUMNS = (
    "Given",
    "Reconstruction",
    "Its distance to truth",
    "Reconstruction, behind",
    "Distance, behind",
    "Truth, behind",
)
_FRONT, _BEHIND = np.radians(25.0), np.radians(200.0)  # azimuths from the camera's side
_MARGIN = 1.2
_COLOURED_EDGE = 1.0 / 40.0  # of the longest edge: larger triangles are divided, so that their colour can vary


@dataclass(frozen=True)
class Comparison:
    """A row of a sheet; all in one frame, metres.

    Attributes:
        points: (N, 3), what the camera saw; N may be 0.
        mesh: the reconstruction; None where there is none.
        truth: the true object.
        plane: (4,) nx, ny, nz, d of the table; None draws a level one under the truth.
        given: what the reconstruction is made of, where that is not the points: a picture, or the boxes of a grid.
    """

    points: NDArray[np.floating]
    mesh: trimesh.Trimesh | None
    truth: trimesh.Trimesh
    plane: NDArray[np.float64] | None
    given: Image | trimesh.Trimesh | None = None


def comparison_sheet(rows: Sequence[Sequence[Image]], captions: Sequence[str] = (), title: str = "") -> Image:
    """Rows from `comparison_row` under the names of their columns, with captions (first line bold) and the legend."""
    text_size = max(11, rows[0][0].shape[1] // 15)
    return contact_sheet(
        rows,
        column_titles=COLUMNS,
        row_captions=captions,
        title=title,
        legends=[error_legend(LARGEST_ERROR, text_size)],
        text_size=text_size,
    )


def comparison_row(comparison: Comparison, size: tuple[int, int] = (220, 180)) -> list[Image]:
    """Images of (width, height) px in the order of `COLUMNS`; empty panels where there is nothing to show."""
    mesh, truth = comparison.mesh, comparison.truth
    stage = Stage.around([truth] if mesh is None else [truth, mesh], comparison.plane)
    front, behind = (stage.view(azimuth, size, _MARGIN) for azimuth in (_FRONT, _BEHIND))
    seen = _given(comparison, stage, front)
    true_shape = render_mesh(truth, behind, TRUTH, stage.plane)
    if mesh is None:
        empty = np.full_like(seen, np.round(255 * np.array(PAPER)))
        return [seen, *(empty for _ in COLUMNS[1:-1]), true_shape]
    divided = _divided(mesh)
    errors = error_colours(surface_distances(divided.vertices, truth), LARGEST_ERROR)
    return [
        seen,
        render_mesh(mesh, front, CLAY, stage.plane),
        render_mesh(divided, front, errors, stage.plane),
        render_mesh(mesh, behind, CLAY, stage.plane),
        render_mesh(divided, behind, errors, stage.plane),
        true_shape,
    ]


def _given(comparison: Comparison, stage: Stage, front: View) -> Image:
    """The first panel."""
    given = comparison.given
    if isinstance(given, np.ndarray):
        return fitted(given, (front.width, front.height))
    if given is not None:
        seen = render_mesh(given, front, SEEN, stage.plane)
    else:
        seen = render_points(comparison.points, front, SEEN, point_size=0.003, up=stage.up)
    return add_scale_bar(seen, front.pixels_per_metre(stage.centre), max(9, front.width // 20))


def surface_distances(points: NDArray[np.floating], mesh: trimesh.Trimesh) -> NDArray[np.float64]:
    """(N, 3) -> (N,) distance to the mesh's surface, inside as outside positive."""
    distances = ray_scene([mesh]).compute_distance(np.ascontiguousarray(points, dtype=np.float32))
    return np.asarray(distances.numpy(), dtype=np.float64)


def _divided(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The same surface in triangles small enough to be coloured by their corners."""
    longest = _COLOURED_EDGE * float(mesh.extents.max())
    vertices, faces = trimesh.remesh.subdivide_to_size(mesh.vertices, mesh.faces, max_edge=longest, max_iter=12)
    return trimesh.Trimesh(vertices, faces, process=False)
