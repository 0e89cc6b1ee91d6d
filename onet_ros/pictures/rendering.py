"""Shaded pictures of meshes and clouds on the CPU: no display, no GPU, no OpenGL.

Everything is drawn in one world frame, whichever the caller's data is in (a depth camera's optical frame is usual);
a `View` says from where.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import open3d as o3d
import trimesh
from numpy.typing import ArrayLike, NDArray

from onet_ros.pictures.colours import CLAY, PAPER, linear_from_srgb, srgb_from_linear, unit_colours
from onet_ros.pictures.lighting import BOUNCE, HEADLIGHT, block_means, irradiance, lights
from onet_ros.pictures.view import View
from onet_ros.ray_casting import RayScene

Image = NDArray[np.uint8]

_SUPERSAMPLING = 2  # sub-pixels along a pixel's edge
_GROUND_BLOCK = 4  # pixels along the edge of a block that shares out the lights on the ground
_LARGEST_SPLAT = 12.0  # sub-pixels of radius, against a stray point before the lens
_CREASE_ANGLE = np.radians(35.0)
_NORMAL_RADIUS = 0.010  # metres about a point of a cloud whose neighbours give its normal


def render_mesh(
    meshes: trimesh.Trimesh | Sequence[trimesh.Trimesh],
    view: View,
    colours: Any = None,
    plane: ArrayLike | None = None,
    background: ArrayLike = PAPER,
    opacity: float = 1.0,
    grid_spacing: float | None = None,
) -> Image:
    """Shaded meshes -> (height, width, 3) uint8.

    Args:
        meshes: one mesh or several, world frame.
        view: from where.
        colours: sRGB in 0..1 (or uint8). For one mesh (3,) or per vertex (V, 3); for several (3,) for all, or a
            sequence with such an entry for each.
        plane: (4,) nx, ny, nz, d of the ground in the world frame; it catches shadows, and its normal is up for the
            light. Without it there is no ground and up is the view's own.
        background: an sRGB colour, or an image (height, width, 3) uint8 over which the meshes are laid.
        opacity: of the meshes over the background.
        grid_spacing: metres between the lines of a grid on the ground; None draws none.
    """
    if isinstance(meshes, trimesh.Trimesh):
        meshes, colours = [meshes], None if colours is None else [colours]
    meshes, colours = _without_empty(meshes, _colour_per_mesh(meshes, colours))
    scene = RayScene(meshes)
    rays = view.resized(_SUPERSAMPLING).rays()
    up = view.up if plane is None else np.asarray(plane, dtype=np.float64)[:3]
    picture = _background_layer(background, view)

    hit, position, normal, paint = _surface(scene, meshes, colours, rays)
    if plane is not None and np.ndim(background) < 3:
        ground = np.asarray(plane, dtype=np.float64)
        seen, light = _lit_ground(scene, ground, view, hit)
        if grid_spacing is not None:
            light *= _grid(_on_plane(ground, rays[seen]), up, grid_spacing, view)
        picture[seen] *= light[:, None]
    towards = -rays[hit][:, 3:]
    normal = np.where((normal * towards).sum(-1, keepdims=True) < 0, -normal, normal)
    light = irradiance(scene, position, normal, hit, _SUPERSAMPLING, up, view)
    light += HEADLIGHT * np.clip((normal * towards).sum(-1), 0, 1) + BOUNCE * (0.5 - 0.5 * normal @ up)
    picture[hit] = opacity * paint * light[:, None] + (1.0 - opacity) * picture[hit]
    return srgb_from_linear(_downsample(picture))


def render_points(
    points: ArrayLike,
    view: View,
    colours: ArrayLike | None = None,
    point_size: float = 0.0022,
    background: ArrayLike = PAPER,
    up: ArrayLike | None = None,
    depth_shading: float = 0.5,
) -> Image:
    """A cloud as shaded round splats with eye-dome lighting -> (height, width, 3) uint8.

    Args:
        points: (..., 3) metres, world frame; rows with NaN are missing points.
        view: from where.
        colours: (3,) or (..., 3) sRGB in 0..1, or uint8.
        point_size: diameter in metres (never less than one pixel).
        background: as for `render_mesh`.
        up: (3,) for the light; None is the view's own.
        depth_shading: how strongly depth steps darken (0 = not at all), after C. Boucheny's eye-dome lighting.
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    paint = np.broadcast_to(unit_colours(CLAY if colours is None else colours).reshape(-1, 3), points.shape)
    fine = view.resized(_SUPERSAMPLING)
    projected = fine.project(points)
    visible = np.isfinite(points).all(-1) & (projected[:, 2] > 1e-6)
    light = _cloud_light(points[visible], view, view.up if up is None else np.asarray(up, dtype=np.float64))
    paint = linear_from_srgb(paint[visible]) * light[:, None]
    picture = _background_layer(background, view)
    depth = _splat(picture, projected[visible], paint, 0.5 * point_size * fine.intrinsics[0, 0])
    picture *= _eye_dome(depth, depth_shading)[..., None]
    return srgb_from_linear(_downsample(picture))


def corner_normals(mesh: trimesh.Trimesh, crease_angle: float = _CREASE_ANGLE) -> NDArray[np.float64]:
    """(F, 3, 3) unit normals per face corner: the mean over the faces about the vertex within `crease_angle` rad."""
    faces, face_normals = np.asarray(mesh.faces), np.asarray(mesh.face_normals)
    weighted = np.asarray(mesh.area_faces)[:, None] * face_normals
    # Every (corner, face) pair that shares a vertex: corners sorted by vertex, each paired with its vertex's whole run.
    vertex = faces.reshape(-1)
    order = np.argsort(vertex, kind="stable")
    counts = np.bincount(vertex, minlength=len(mesh.vertices))
    starts = np.cumsum(counts) - counts
    runs = counts[vertex]
    corner = np.repeat(np.arange(vertex.size), runs)
    place = np.arange(len(corner)) - np.repeat(np.cumsum(runs) - runs, runs)
    neighbour = order[np.repeat(starts[vertex], runs) + place] // 3
    smooth = np.einsum("ij,ij->i", face_normals[corner // 3], face_normals[neighbour]) > np.cos(crease_angle)
    corner, neighbour = corner[smooth], neighbour[smooth]
    sums = [np.bincount(corner, weighted[neighbour, axis], minlength=vertex.size) for axis in range(3)]
    normals = np.stack(sums, axis=-1).reshape(*faces.shape, 3)
    lengths = np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.where(lengths > 0, normals / np.where(lengths > 0, lengths, 1.0), face_normals[:, None])


def _surface(
    scene: RayScene, meshes: Sequence[trimesh.Trimesh], colours: Sequence[ArrayLike], rays: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Mask (H, W) of the pixels that see a mesh; for its n true ones position, shading normal, linear colour (n, 3)."""
    hits = scene.cast(rays)
    mesh, face, weights = hits.mesh[hits.hit], hits.face[hits.hit], hits.weights[hits.hit][..., None]
    normal, paint = np.zeros((len(mesh), 3), dtype=np.float32), np.zeros((len(mesh), 3))
    for number, (seen, colour) in enumerate(zip(meshes, colours, strict=True)):
        own = mesh == number
        normal[own] = (corner_normals(seen)[face[own]] * weights[own]).sum(1)
        paint[own] = (_vertex_colours(seen, colour)[seen.faces[face[own]]] * weights[own]).sum(1)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    # A little towards the eye, so that shadow rays do not start inside the surface.
    position = rays[hits.hit][:, :3] + (0.9998 * hits.distance[hits.hit])[:, None] * rays[hits.hit][:, 3:]
    return hits.hit, position, normal, paint


def _lit_ground(
    scene: RayScene, plane: NDArray[np.float64], view: View, covered: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Mask (H*s, W*s) of the sub-pixels that see the ground, and the light (n,) on it where they do, at most 1.

    Light on a plane changes slowly: it is sampled once for each pixel.
    """
    rays, up = view.rays(), plane[:3]
    below = rays[..., 3:] @ up < -1e-3 if rays[0, 0, :3] @ up + plane[3] > 0 else np.zeros(rays.shape[:2], dtype=bool)
    blocks = covered.reshape(view.height, _SUPERSAMPLING, view.width, _SUPERSAMPLING)
    asked = below & ~blocks.all(axis=(1, 3))
    points = _on_plane(plane, rays[asked]) + (1e-4 * up).astype(np.float32)  # just above it
    level = np.broadcast_to(up.astype(np.float32), points.shape)
    light = block_means(irradiance(scene, points, level, asked, _GROUND_BLOCK, up, view), asked, _GROUND_BLOCK)
    layer = np.zeros(asked.shape, dtype=np.float32)
    layer[asked] = light / light.max(initial=1e-6)
    seen = _repeated(asked) & ~covered
    return seen, _repeated(layer)[seen]


def _on_plane(plane: NDArray[np.float64], rays: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 3) where rays (n, 6) meet a plane that they are not parallel to."""
    away = -(rays[:, :3] @ plane[:3] + plane[3]) / (rays[:, 3:] @ plane[:3])
    points: NDArray[np.float32] = (rays[:, :3] + away[:, None] * rays[:, 3:]).astype(np.float32)
    return points


def _grid(points: NDArray[np.float32], up: NDArray[np.float64], spacing: float, view: View) -> NDArray[np.float32]:
    """(n,) factor on the ground's colour: darker on the lines of a grid, which are about a pixel wide."""
    right = np.cross(up, view.backward)
    right /= np.linalg.norm(right)
    coordinates = np.stack([points @ right, points @ np.cross(up, right)], axis=-1) / spacing
    line_width = 1.3 / view.intrinsics[0, 0] * np.linalg.norm(points - view.eye, axis=-1) / spacing
    offset = np.abs(coordinates - np.round(coordinates)).min(-1)
    return (1.0 - 0.16 * np.clip(1.5 - offset / (0.5 * line_width), 0.0, 1.0)).astype(np.float32)


def _splat(
    picture: NDArray[np.float32], projected: NDArray[np.float64], paint: NDArray[np.float64], radius_at_1m: float
) -> NDArray[np.float64]:
    """Draw discs at (N, 3) pixel u, v and depth into the picture, the nearest on top; returns the depth (H, W)."""
    order = np.argsort(-projected[:, 2], kind="stable")  # far to near, so that the nearest is written last
    (u, v, depth), paint = projected[order].T, paint[order]
    radius = np.clip(radius_at_1m / depth, 0.5 * _SUPERSAMPLING, _LARGEST_SPLAT)
    column, row = np.floor(u + 0.5).astype(int), np.floor(v + 0.5).astype(int)
    reach = int(np.ceil(radius.max(initial=0)))
    height, width = picture.shape[:2]
    buffer = np.full((height, width), np.inf)
    for dv in range(-reach, reach + 1):
        for du in range(-reach, reach + 1):
            x, y = column + du, row + dv
            near = (du * du + dv * dv <= radius**2) & (x >= 0) & (y >= 0) & (x < width) & (y < height)
            near[near] = depth[near] < buffer[y[near], x[near]]
            buffer[y[near], x[near]] = depth[near]
            picture[y[near], x[near]] = paint[near]
    return buffer


def _cloud_light(points: NDArray[np.float64], view: View, up: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) light on the points by their neighbourhood's normal: sky, key light and headlight, without shadows."""
    if len(points) < 3:
        return np.ones(len(points))
    positions = o3d.core.Tensor.from_numpy(np.ascontiguousarray(points, dtype=np.float32))
    cloud = o3d.t.geometry.PointCloud(positions)
    cloud.estimate_normals(max_nn=40, radius=_NORMAL_RADIUS)
    normals = cloud.point.normals.numpy().astype(np.float64)
    towards = view.eye - points
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    facing = (normals * towards).sum(-1)
    normals *= np.where(facing < 0, -1.0, 1.0)[:, None]
    directions, radiance = lights(1, up, view)
    return np.clip(normals @ directions.T, 0, None) @ radiance + HEADLIGHT * np.abs(facing)


def _eye_dome(depth: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """(H, W) factor, darker where neighbours are nearer to the eye (C. Boucheny, 2009); 1 where there is no point."""
    finite = np.isfinite(depth)
    log_depth = np.log(np.where(finite, depth, 1.0))
    step = _SUPERSAMPLING
    padded = np.pad(np.where(finite, log_depth, np.inf), step, mode="edge")
    height, width = depth.shape
    response = np.zeros_like(depth)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        neighbour = padded[step + dy * step :, step + dx * step :][:height, :width]
        response += np.clip(log_depth - neighbour, 0.0, 0.03)  # nothing beyond an empty neighbour, at inf
    return np.where(finite, np.exp(-12.0 * strength * response), 1.0)


def _background_layer(background: ArrayLike, view: View) -> NDArray[np.float32]:
    """(H*s, W*s, 3) linear: a colour everywhere, or an image's pixels repeated."""
    layer = linear_from_srgb(unit_colours(background)).astype(np.float32)
    if layer.ndim < 3:
        return np.tile(layer, (view.height * _SUPERSAMPLING, view.width * _SUPERSAMPLING, 1))
    if layer.shape[:2] != (view.height, view.width):
        raise ValueError(f"background is {layer.shape[1]} x {layer.shape[0]} px, the view {view.width} x {view.height}")
    return _repeated(layer)


def _repeated(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H*s, W*s, ...) from (H, W, ...): what a pixel has, each of its sub-pixels has."""
    return pixels.repeat(_SUPERSAMPLING, axis=0).repeat(_SUPERSAMPLING, axis=1)


def _downsample(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = (extent // _SUPERSAMPLING for extent in picture.shape[:2])
    blocks = np.clip(picture, 0, 1).reshape(height, _SUPERSAMPLING, width, _SUPERSAMPLING, 3)
    return blocks.mean(axis=(1, 3))


def _colour_per_mesh(meshes: Sequence[trimesh.Trimesh], colours: Any) -> list[Any]:
    """One entry per mesh, from one colour for all or from a sequence with an entry each."""
    entries = list(CLAY if colours is None else colours)
    if entries and np.ndim(entries[0]) == 0:
        return [entries] * len(meshes)
    if len(entries) != len(meshes):
        raise ValueError(f"{len(entries)} colours for {len(meshes)} meshes")
    return entries


def _without_empty(
    meshes: Sequence[trimesh.Trimesh], colours: Sequence[Any]
) -> tuple[list[trimesh.Trimesh], list[Any]]:
    kept = [number for number, mesh in enumerate(meshes) if len(mesh.faces)]
    return [meshes[number] for number in kept], [colours[number] for number in kept]


def _vertex_colours(mesh: trimesh.Trimesh, colour: ArrayLike) -> NDArray[np.float64]:
    values = linear_from_srgb(unit_colours(colour))
    if values.shape not in ((3,), (len(mesh.vertices), 3)):
        raise ValueError(f"colours of a mesh with {len(mesh.vertices)} vertices have shape {values.shape}")
    return np.broadcast_to(values, (len(mesh.vertices), 3))
