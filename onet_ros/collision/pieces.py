"""Convex pieces of a closed mesh that keep its hollows free.

By CoACD (X. Wei et al., "Approximate Convex Decomposition for 3D Meshes with Collision-Aware Concavity and Tree
Search", ACM TOG 2022), with what comes out of it checked: hull code has crashed on flat and open meshes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.spatial import QhullError

from onet_ros.collision.settings import CollisionSettings
from onet_ros.ray_casting import ray_scene
from onet_ros.surface import SurfaceError, is_sound, volume

THINNEST = 0.0005  # metres: pieces flatter than that are thickened
SAMPLES = 4000  # of each surface, and of the volume, by which deviations are measured
INSIDE = 1e-6  # metres: how far from the surface a point is not on it
SEAM = 0.00025  # metres: pieces nearer to each other than this have no surface between them


@dataclass(frozen=True)
class ConvexPieces:
    """Convex pieces that together stand for a mesh; source frame, metres.

    Attributes:
        pieces: each closed, convex, outward, of positive volume.
        deviation: largest distance found between the surfaces of the mesh and of the pieces' union, both ways.
        filled: volume of the pieces outside the mesh, over the mesh's.
        uncovered: share of the mesh's volume that no piece contains.
        seconds: what they took.
    """

    pieces: list[trimesh.Trimesh]
    deviation: float
    filled: float
    uncovered: float
    seconds: float


def convex_pieces(mesh: trimesh.Trimesh, settings: CollisionSettings | None = None) -> ConvexPieces:
    """At most `max_pieces` convex pieces of at most `max_vertices` vertices; takes seconds.

    Args:
        mesh: closed, outward; few triangles are enough.

    Raises:
        SurfaceError: the mesh is not a solid, or nothing solid comes out of it.
        ImportError: CoACD is not installed.
    """
    settings = settings or CollisionSettings()
    if not is_sound(mesh):
        raise SurfaceError(f"not a solid that could be cut into pieces: {len(mesh.faces)} triangles")
    began = time.perf_counter()
    pieces = []
    for points in _decomposed(mesh, settings):
        try:
            pieces.append(solid_hull(points, settings.max_vertices))
        except SurfaceError:
            continue  # a single point or edge: nothing of the object is in it
    if not pieces:
        raise SurfaceError(f"no solid piece came out of a mesh of {len(mesh.faces)} triangles")
    seconds = time.perf_counter() - began
    return ConvexPieces(pieces, *deviations(mesh, pieces), seconds)


def _decomposed(mesh: trimesh.Trimesh, settings: CollisionSettings) -> Iterable[NDArray[np.float64]]:
    """Vertices (V, 3) of each piece."""
    import coacd  # here: not every platform has it, and loaded before Open3D it would keep that from loading

    coacd.set_log_level("error")
    origin = mesh.bounds.mean(axis=0)
    parts = coacd.run_coacd(
        coacd.Mesh(np.asarray(mesh.vertices) - origin, np.asarray(mesh.faces)),
        threshold=settings.concavity,
        real_metric=True,
        max_convex_hull=settings.max_pieces,
        preprocess_mode="off",  # ours are closed already
        resolution=1000,
        mcts_nodes=10,
        mcts_iterations=60,  # twice as fast as the standard 150, for as good pieces on objects of a table
        decimate=True,
        max_ch_vertex=settings.max_vertices,
    )
    return [np.asarray(vertices, dtype=np.float64) + origin for vertices, _ in parts]


def solid_hull(points: NDArray[np.floating], max_vertices: int) -> trimesh.Trimesh:
    """Convex hull with a vertex budget, thickened where it is flat: closed, outward, of positive volume.

    Within the budget it is the hull of the outermost points along directions spread evenly.

    Args:
        points: (N, 3) metres.

    Raises:
        SurfaceError: fewer than two different points.
    """
    given = np.asarray(points, dtype=np.float64)
    hull = _hull(_thickened(given))
    if len(hull.vertices) > max_vertices:
        outermost = np.unique((np.asarray(hull.vertices) @ _spread(max_vertices).T).argmax(axis=0))
        hull = _hull(_thickened(np.asarray(hull.vertices)[outermost]))
    if not is_sound(hull):
        raise SurfaceError(f"the hull of {len(given)} points within {np.ptp(given, axis=0).tolist()} m is not a solid")
    return hull


def _thickened(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points, twice and apart where they would make a hull thinner than `THINNEST`."""
    if len(points) < 2 or not np.ptp(points, axis=0).max() > 0.0:
        raise SurfaceError(f"{len(points)} points at {points[:1].tolist()} m make no solid")
    axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=True)[2]
    for axis in axes[::-1]:
        if np.ptp(points @ axis) < THINNEST:
            points = np.concatenate([points - THINNEST / 2.0 * axis, points + THINNEST / 2.0 * axis])
    return points


def _hull(points: NDArray[np.float64]) -> trimesh.Trimesh:
    try:
        hull = trimesh.convex.convex_hull(points - points.mean(axis=0))
    except QhullError as error:
        raise SurfaceError(f"{len(points)} points have no convex hull: {str(error).splitlines()[0]}") from error
    hull = trimesh.Trimesh(np.asarray(hull.vertices) + points.mean(axis=0), hull.faces, process=False)
    if volume(np.asarray(hull.vertices), np.asarray(hull.faces)) < 0.0:
        hull.invert()
    return hull


def _spread(count: int) -> NDArray[np.float64]:
    """(count, 3) unit vectors spread evenly: a Fibonacci lattice."""
    number = np.arange(count) + 0.5
    z, turn = 1.0 - 2.0 * number / count, np.pi * (1.0 + np.sqrt(5.0)) * number
    flat = np.sqrt(1.0 - z**2)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), z], axis=1)


def deviations(mesh: trimesh.Trimesh, pieces: list[trimesh.Trimesh]) -> tuple[float, float, float]:
    """`ConvexPieces.deviation`, `filled` and `uncovered`, by samples."""
    depth = _depths(pieces)
    sampled = [_surface(one, SAMPLES // 4) for one in pieces]
    union, normals = (np.concatenate(parts) for parts in zip(*sampled, strict=True))
    union = union[depth(union + SEAM * normals) < 0.0]  # pieces abut where a body was cut
    scene = ray_scene([mesh])
    outward = float(scene.compute_distance(union.astype(np.float32)).numpy().max()) if len(union) else 0.0
    surface, _ = _surface(mesh, SAMPLES)
    missed = surface[depth(surface) < -INSIDE]
    inward = 0.0
    if len(missed):
        inward = float(ray_scene(pieces).compute_distance(missed.astype(np.float32)).numpy().max())
    low = np.minimum(mesh.bounds[0], np.min([one.bounds[0] for one in pieces], axis=0))
    high = np.maximum(mesh.bounds[1], np.max([one.bounds[1] for one in pieces], axis=0))
    places = np.random.default_rng(0).uniform(low, high, (4 * SAMPLES, 3))
    own = scene.compute_occupancy(places.astype(np.float32)).numpy() > 0.5
    covered, total = depth(places) >= 0.0, max(int(own.sum()), 1)
    return max(outward, inward), float((covered & ~own).sum() / total), float((own & ~covered).sum() / total)


def _surface(mesh: trimesh.Trimesh, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (count, 3) on a mesh, metres, at random but always the same, and the outward unit normals there."""
    places, faces = trimesh.sample.sample_surface(mesh, count, seed=0)
    return np.asarray(places), mesh.face_normals[faces]


def _depths(pieces: list[trimesh.Trimesh]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """A function of points (N, 3): metres that they lie in the piece they are deepest in, negative outside all."""
    planes = [(one.face_normals, np.einsum("ij,ij->i", one.face_normals, one.triangles[:, 0])) for one in pieces]

    def depth(points: NDArray[np.float64]) -> NDArray[np.float64]:
        depths = [(offsets - points @ normals.T).min(axis=1) for normals, offsets in planes]
        return np.asarray(np.max(depths, axis=0), dtype=np.float64)

    return depth
