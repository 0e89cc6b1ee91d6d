"""Pictures of reconstructions: beside their cloud and truth, beside a camera's picture, and sheets of single shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import trimesh
from numpy.typing import ArrayLike, NDArray

from onet_ros.pictures.colours import CLAY, SEEN, TRUTH, confidence_colours
from onet_ros.pictures.rendering import Image, render_mesh, render_points
from onet_ros.pictures.sheets import add_scale_bar, colour_legend, confidence_legend, contact_sheet
from onet_ros.pictures.view import View

CAPTURE_COLUMNS = ("Picture", "Reconstruction, same view", "From the side", "From behind")
_GRID = 0.1  # metres between the lines on the table
_ELEVATIONS = (np.radians(32.0), np.radians(60.0))
_TABLE_POINTS = (0.80, 0.80, 0.78)


@dataclass(frozen=True)
class Stage:
    """What all pictures of one scene share: the ground, which way the camera looked, and what has to be in view.

    Everything in one frame, usually the camera's optical frame.
    """

    content: NDArray[np.float64]  # (N, 3) metres: all of it is in every view
    plane: NDArray[np.float64]  # (4,) nx, ny, nz, d of the ground
    viewpoint: NDArray[np.float64]  # (3,) the depth camera's centre

    @classmethod
    def around(
        cls, meshes: Sequence[trimesh.Trimesh], plane: ArrayLike | None = None, viewpoint: ArrayLike = (0.0, 0.0, 0.0)
    ) -> Stage:
        """The stage for meshes; without a plane the ground lies under them, level in an optical frame (y down)."""
        vertices = [np.asarray(mesh.vertices) for mesh in meshes if len(mesh.vertices)]
        if not vertices:
            raise ValueError(f"nothing to look at: {len(meshes)} meshes without a vertex")
        content = np.concatenate(vertices)
        ground = np.array([0.0, -1.0, 0.0, content[:, 1].max()]) if plane is None else np.asarray(plane, dtype=float)
        return cls(content, ground, np.asarray(viewpoint, dtype=np.float64))

    @property
    def up(self) -> NDArray[np.float64]:
        """(3,) unit normal of the ground."""
        return self.plane[:3]

    @property
    def centre(self) -> NDArray[np.float64]:
        """(3,) middle of the content's box."""
        return 0.5 * (self.content.min(0) + self.content.max(0))

    def view(self, azimuth: float, size: tuple[int, int], margin: float = 1.12) -> View:
        """A view turned by `azimuth` rad about the scene, counter-clockwise seen from above; 0 is the camera's side.

        As high as the camera, within limits that show tops as well as sides.
        """
        outward = self.viewpoint - self.centre
        height = float(outward @ self.up)
        level = outward - height * self.up
        if np.linalg.norm(level) < 0.05 * abs(height):  # from straight above: the lower edge of the camera's image
            level = np.array([0.0, 1.0, 0.0]) if abs(self.up[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
            level -= (level @ self.up) * self.up
        distance = float(np.linalg.norm(outward - height * self.up))
        level /= np.linalg.norm(level)
        elevation = np.clip(np.arctan2(height, distance), *_ELEVATIONS)
        turned = np.cos(azimuth) * level + np.sin(azimuth) * np.cross(self.up, level)
        direction = np.cos(elevation) * turned + np.sin(elevation) * self.up
        return View.around(self.content, direction, self.up, size, margin=margin)


def reconstruction_picture(
    points: ArrayLike,
    meshes: Sequence[trimesh.Trimesh],
    confidences: Sequence[ArrayLike] | None = None,
    truth: Sequence[trimesh.Trimesh] | None = None,
    plane: ArrayLike | None = None,
    viewpoint: ArrayLike = (0.0, 0.0, 0.0),
    point_colours: ArrayLike | None = None,
    rgb: Image | None = None,
    title: str = "",
    subtitle: str = "",
    panel_size: tuple[int, int] = (640, 440),
    columns: int = 2,
) -> Image:
    """[picture |] cloud | reconstruction, from behind [| truth, from behind], side by side -> (H, W, 3) uint8.

    Args:
        points: (..., 3) metres, NaN where missing; one frame with the meshes.
        meshes: reconstructed objects.
        confidences: per mesh (V,) 0 = guessed .. 1 = seen; None paints them plain.
        truth: true objects, where they are known.
        plane: (4,) nx, ny, nz, d of the table.
        viewpoint: (3,) the depth camera's centre.
        point_colours: (..., 3) sRGB of the points; None: objects in the colour of what was seen, the table grey.
        rgb: the camera's picture, as a panel of its own.
        panel_size: (width, height) of a panel in px.
        columns: panels in a row.
    """
    stage = Stage.around([*meshes, *(truth or [])], plane, viewpoint)
    front = stage.view(np.radians(24.0), panel_size)
    behind = stage.view(np.radians(180.0 + 24.0), panel_size)
    panels = [("Depth cloud from one view", _cloud_panel(points, point_colours, stage, front))]
    if rgb is not None:
        panels.insert(0, ("Camera picture", fitted(rgb, panel_size)))
    colours = _mesh_colours(meshes, confidences)
    panels.append(("Reconstruction", _mesh_panel(meshes, colours, stage, front)))
    panels.append(("Reconstruction, from behind", _mesh_panel(meshes, colours, stage, behind)))
    if truth is not None:
        panels.append(("Truth", _mesh_panel(truth, TRUTH, stage, front)))
        panels.append(("Truth, from behind", _mesh_panel(truth, TRUTH, stage, behind)))
    text_size = max(12, panel_size[0] // 30)
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    return contact_sheet(
        [[image for _, image in row] for row in rows],
        cell_captions=[[caption for caption, _ in row] for row in rows],
        title=title,
        subtitle=subtitle,
        legends=[_surface_legend(confidences is not None, text_size), _grid_legend(text_size)],
        text_size=text_size,
    )


def capture_row(
    rgb: Image,
    intrinsics: ArrayLike,
    meshes: Sequence[trimesh.Trimesh],
    confidences: Sequence[ArrayLike] | None = None,
    plane: ArrayLike | None = None,
    width: int = 480,
) -> list[Image | None]:
    """A row of `CAPTURE_COLUMNS` for a contact sheet: the picture, the meshes laid over it, and two other sides.

    rgb: (H, W, 3) uint8 with intrinsics K (3, 3); meshes in that camera's optical frame; width of a panel in px.
    Without a mesh the row shows the picture alone.
    """
    camera = View(np.asarray(intrinsics, dtype=np.float64), np.eye(4), rgb.shape[1], rgb.shape[0])
    camera = camera.resized(width / rgb.shape[1])
    size = (camera.width, camera.height)
    picture = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    if not meshes:
        return [picture, None, None, None]
    colours = _mesh_colours(meshes, confidences)
    muted = np.uint8(0.55 * picture + 0.45 * picture.mean(axis=-1, keepdims=True))
    overlay = render_mesh(meshes, camera, colours, plane=plane, background=muted, opacity=0.85)
    stage = Stage.around(meshes, plane)
    sides: list[Image | None] = []
    for azimuth in (70.0, 180.0):
        view = stage.view(np.radians(azimuth), size, margin=1.25)
        side = _mesh_panel(meshes, colours, stage, view)
        sides.append(add_scale_bar(side, view.pixels_per_metre(stage.centre), width // 32))
    return [picture, overlay, *sides]


def shape_picture(
    mesh: trimesh.Trimesh,
    size: tuple[int, int] = (240, 240),
    colour: ArrayLike = CLAY,
    direction: ArrayLike = (0.65, -1.0, 0.75),
    text_size: int = 13,
) -> Image:
    """One shape that stands on z = its lowest point, with its shadow and a scale bar; vertices in metres, z up."""
    view = View.around(mesh.vertices, direction, size=size, margin=1.25)
    plane = (0.0, 0.0, 1.0, -float(mesh.bounds[0, 2]))
    image = render_mesh(mesh, view, colour, plane)
    return add_scale_bar(image, view.pixels_per_metre(mesh.bounds.mean(0)), text_size)


def shape_sheet(
    meshes: Sequence[trimesh.Trimesh],
    captions: Sequence[str] = (),
    columns: int = 10,
    tile: int = 200,
    colours: Sequence[ArrayLike] = (),
    title: str = "",
    subtitle: str = "",
) -> Image:
    """Many shapes in a grid, each as large as its tile allows, with a scale bar."""
    text_size = max(11, tile // 14)
    tiles = [
        shape_picture(mesh, (tile, tile), colours[number] if len(colours) else CLAY, text_size=text_size)
        for number, mesh in enumerate(meshes)
    ]
    starts = range(0, len(tiles), columns)
    return contact_sheet(
        [tiles[start : start + columns] for start in starts],
        cell_captions=[captions[start : start + columns] for start in starts],
        title=title,
        subtitle=subtitle,
        text_size=text_size,
    )


def _mesh_colours(meshes: Sequence[trimesh.Trimesh], confidences: Sequence[ArrayLike] | None) -> list[Any]:
    if confidences is None:
        return [SEEN] * len(meshes)
    if len(confidences) != len(meshes):
        raise ValueError(f"{len(confidences)} confidences for {len(meshes)} meshes")
    return [confidence_colours(confidence) for confidence in confidences]


def _mesh_panel(meshes: Sequence[trimesh.Trimesh], colours: Any, stage: Stage, view: View) -> Image:
    return render_mesh(meshes, view, colours, stage.plane, grid_spacing=_GRID)


def _cloud_panel(points: ArrayLike, colours: ArrayLike | None, stage: Stage, view: View) -> Image:
    """The cloud near the scene: not the floor beyond the table, nor the wall."""
    flat = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    height = flat @ stage.plane[:3] + stage.plane[3]
    reach = 2.0 * np.linalg.norm(stage.content - stage.centre, axis=-1).max()
    with np.errstate(invalid="ignore"):
        near = (height > -0.02) & (np.linalg.norm(flat - stage.centre, axis=-1) < reach)
    if colours is None:
        paint = np.where((height > 0.006)[:, None], SEEN, _TABLE_POINTS)
    else:
        paint = np.asarray(colours).reshape(-1, 3)
    return render_points(flat[near], view, paint[near], point_size=0.0034, up=stage.up)


def fitted(image: Image, size: tuple[int, int]) -> Image:
    """The image scaled to fill `size` (width, height), its overhang cut."""
    scale = max(size[0] / image.shape[1], size[1] / image.shape[0])
    width, height = (max(round(scale * extent), least) for extent, least in zip(image.shape[1::-1], size, strict=True))
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    x, y = (width - size[0]) // 2, (height - size[1]) // 2
    return np.asarray(scaled[y : y + size[1], x : x + size[0]], dtype=np.uint8)


def _surface_legend(has_confidence: bool, text_size: int) -> Image:
    return confidence_legend(text_size) if has_confidence else colour_legend({"reconstruction": SEEN}, text_size)


def _grid_legend(text_size: int) -> Image:
    return colour_legend({f"grid {1000 * _GRID:g} mm": (0.85, 0.85, 0.84)}, text_size)
