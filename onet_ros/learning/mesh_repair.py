"""Meshes as people have them, made solid: closed, wound consistently, each point of space inside or outside.

Libraries do the work (trimesh for winding, VTK through Open3D for holes, Manifold for unions), gentlest first.
What they leave open is rebuilt by a morphological closing of the surface. Each step says what it did.
"""

from __future__ import annotations

from dataclasses import dataclass

import mcubes
import numpy as np
import open3d as o3d
import torch
import trimesh
from manifold3d import Error, Manifold, Mesh, OpType
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from onet_ros.learning.mesh_files import FLAT, RefusedMeshError
from onet_ros.ray_casting import ray_scene
from onet_ros.surface import ExtractionSettings, SurfaceError, extract_surface, is_sound, keep_bodies, simplify_mesh

SEAM_WIDTH = 1e-4  # of the longest edge: open edges nearer than this are sewn together
OVERLAP_TOLERANCE = 0.05  # relative difference of two ways to measure a volume, which overlaps make differ
CLOSING_CELLS = 96  # along the longest edge, of the grid that finds out what is outside
LEAST_DEPTH = 0.03  # of a cell: what is less deep in the rebuilt solid than this is taken for rounding
LOST_SURFACE = 0.02  # share of the surface that rebuilding may leave outside the solid


@dataclass(frozen=True)
class RepairSettings:
    """How far repairs may go.

    Attributes:
        largest_hole: of the longest edge; holes up to this wide are closed. Wider ones may be openings (the mouth of a
            bowl that was drawn without thickness looks just like a hole), and the mesh is refused.
        max_triangles: larger meshes are simplified.
    """

    largest_hole: float = 0.15
    max_triangles: int = 20_000

    def __post_init__(self) -> None:
        if not 0.0 <= self.largest_hole <= 1.0:
            raise ValueError(f"largest_hole must be in [0, 1] of the longest edge, got {self.largest_hole!r}")
        if self.max_triangles < 100:
            raise ValueError(f"max_triangles must be at least 100, got {self.max_triangles!r}")


def make_solid(mesh: trimesh.Trimesh, settings: RepairSettings | None = None) -> tuple[trimesh.Trimesh, list[str]]:
    """A sound mesh (`is_sound`) without hidden hollows, and what had to be done to it.

    Args:
        mesh: metres. Not changed.

    Returns:
        (mesh with its bounding box about the origin, one sentence for each thing done).

    Raises:
        RefusedMeshError: it cannot be made solid; the message says what is wrong.
    """
    settings = settings or RepairSettings()
    done: list[str] = []
    mesh = _without_junk(mesh, done)
    if mesh.extents.min() < FLAT:
        edges = " x ".join(f"{1000.0 * edge:.3g}" for edge in mesh.extents)
        raise RefusedMeshError(f"flat: {edges} mm bound no body")
    mesh = trimesh.Trimesh(mesh.vertices - mesh.bounds.mean(axis=0), mesh.faces, process=False)
    if not mesh.is_watertight:
        mesh = _sewn(mesh, done)
    if not mesh.is_watertight:
        mesh = _holes_closed(mesh, settings.largest_hole, done)
    solid = _united(mesh, done) if mesh.is_watertight else None
    if solid is None or _overlaps_itself(solid):
        solid = _rebuilt(mesh, settings.max_triangles, done)
    if len(solid.faces) > settings.max_triangles:
        before, solid = len(solid.faces), simplify_mesh(solid, settings.max_triangles)
        done.append(f"simplified from {before:,} to {len(solid.faces):,} triangles")
    return solid, done


def _without_junk(mesh: trimesh.Trimesh, done: list[str]) -> trimesh.Trimesh:
    """Without vertices that are no place and triangles that are no triangle or there twice."""
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    finite = np.isfinite(vertices).all(axis=1)[faces].all(axis=1)
    if not finite.all():
        done.append(f"removed {int((~finite).sum())} triangles with coordinates that are not finite")
    faces = faces[finite]
    a, b, c = faces.T
    proper = (a != b) & (b != c) & (c != a)
    faces = faces[proper]
    result = trimesh.Trimesh(vertices, faces, process=False)
    if len(faces):
        result.update_faces(result.unique_faces())
    doubled = len(faces) - len(result.faces)
    for count, what in ((int((~proper).sum()), "collapsed"), (doubled, "doubled")):
        if count:
            done.append(f"removed {count} {what} triangles")
    result.remove_unreferenced_vertices()
    if len(result.faces) < 4:
        raise RefusedMeshError(f"{len(result.faces)} triangles are left of {len(mesh.faces)}: {'; '.join(done)}")
    return result


def _sewn(mesh: trimesh.Trimesh, done: list[str]) -> trimesh.Trimesh:
    """Vertices of open edges that lie together made one."""
    tolerance = SEAM_WIDTH * float(mesh.extents.max())
    open_vertices = np.unique(np.asarray(mesh.edges_sorted)[_open_edges(mesh)])
    pairs = cKDTree(np.asarray(mesh.vertices)[open_vertices]).query_pairs(tolerance, output_type="ndarray")
    if not len(pairs):
        return mesh
    links = coo_matrix((np.ones(len(pairs), dtype=bool), tuple(pairs.T)), shape=2 * (len(open_vertices),))
    _, label = connected_components(links, directed=False)
    first = np.unique(label, return_index=True)[1]
    target = np.arange(len(mesh.vertices))
    target[open_vertices] = open_vertices[first[label]]
    result = trimesh.Trimesh(mesh.vertices, target[mesh.faces], process=False)
    result.update_faces((np.diff(np.sort(result.faces, axis=1), axis=1) > 0).all(axis=1))
    result.remove_unreferenced_vertices()
    sewn = len(open_vertices) - len(first)
    done.append(f"sewed open seams narrower than {1000.0 * tolerance:.2g} mm ({sewn:,} vertices)")
    return result


def _open_edges(mesh: trimesh.Trimesh) -> NDArray[np.int64]:
    """(E,) rows of `edges_sorted` that one triangle alone has."""
    return np.asarray(trimesh.grouping.group_rows(mesh.edges_sorted, require_count=1), dtype=np.int64)


def _open_loops(mesh: trimesh.Trimesh) -> NDArray[np.float64]:
    """(L,) metres, how far across each open edge loop is, widest first."""
    single = _open_edges(mesh)
    if not len(single):
        return np.zeros(0)
    loops = trimesh.graph.connected_components(np.asarray(mesh.edges_sorted)[single])
    return np.sort([_width(np.asarray(mesh.vertices)[loop]) for loop in loops])[::-1]


def _width(points: NDArray[np.float64]) -> float:
    """Largest distance within points (N, 3), nearly: from the one that is farthest from their mean."""
    end = points[np.linalg.norm(points - points.mean(axis=0), axis=1).argmax()]
    return float(np.linalg.norm(points - end, axis=1).max())


def _holes_closed(mesh: trimesh.Trimesh, largest: float, done: list[str]) -> trimesh.Trimesh:
    """Small holes filled with triangles, by VTK; the mesh as it was where that does not close it."""
    loops = _open_loops(mesh)
    if not len(loops) or loops[0] > largest * mesh.extents.max():
        return mesh
    wound = mesh.copy()
    trimesh.repair.fix_winding(wound)
    # Kept until the end: what fill_holes returns points into its memory (seen in Open3D 0.20).
    given = o3d.t.geometry.TriangleMesh(
        o3d.core.Tensor(np.asarray(wound.vertices, dtype=np.float32)),
        o3d.core.Tensor(np.asarray(wound.faces, dtype=np.int64)),
    )
    filled = given.fill_holes(float(loops[0]))
    result = trimesh.Trimesh(
        filled.vertex.positions.numpy().astype(np.float64), filled.triangle.indices.numpy(), process=False
    )
    del given
    if not result.is_watertight:
        return mesh
    trimesh.repair.fix_winding(result)  # VTK does not wind them like their neighbours
    done.append(f"closed {len(loops)} hole{'s' * (len(loops) > 1)}, the widest {1000.0 * loops[0]:.3g} mm across")
    return result


def _united(mesh: trimesh.Trimesh, done: list[str]) -> trimesh.Trimesh | None:
    """A closed mesh with its faces turned outward and its bodies united; None where Manifold cannot take it."""
    turned = mesh.copy()
    trimesh.repair.fix_winding(turned)
    bodies = turned.split(only_watertight=False)
    for body in bodies:
        if body.volume < 0.0:
            body.invert()
    if not mesh.is_winding_consistent or (len(bodies) == 1 and mesh.volume < 0.0):
        done.append("turned triangles that faced inward")
    solids = [_manifold(body) for body in bodies]
    if any(solid.status() != Error.NoError for solid in solids):
        return None
    union = solids[0] if len(solids) == 1 else Manifold.batch_boolean(solids, OpType.Add)
    result = _from_manifold(union)
    if len(result.faces) == 0:
        return None
    try:
        result = keep_bodies(result, 0.0)
    except SurfaceError:
        return None
    if len(bodies) > 1:
        left = result.body_count
        what = "one body" if left == 1 else f"{left} separate bodies"
        done.append(f"united {len(bodies)} closed surfaces to {what}, without hidden hollows")
    return result if is_sound(result) else None


def _manifold(mesh: trimesh.Trimesh) -> Manifold:
    vertices = np.ascontiguousarray(mesh.vertices, dtype=np.float32)
    return Manifold(Mesh(vertices, np.ascontiguousarray(mesh.faces, dtype=np.uint32)))


def _from_manifold(solid: Manifold) -> trimesh.Trimesh:
    mesh = solid.to_mesh()
    vertices = np.asarray(mesh.vert_properties, dtype=np.float64)[:, :3]
    return trimesh.Trimesh(vertices, np.asarray(mesh.tri_verts, dtype=np.int64), process=False)


def _overlaps_itself(mesh: trimesh.Trimesh, samples: int = 100_000) -> bool:
    """Whether the surface runs through itself: rays then count twice covered space as outside, and the volume that the
    faces bound differs from the volume that rays find."""
    low, high = mesh.bounds
    points = np.random.default_rng(0).uniform(low, high, (samples, 3))
    inside = ray_scene([mesh]).compute_occupancy(_tensor(points), nsamples=3).numpy() > 0.5
    share = float(inside.mean())
    found = share * float(np.prod(high - low))
    chance = 3.0 * np.sqrt(share * (1.0 - share) / samples) * float(np.prod(high - low))
    return abs(found - mesh.volume) > OVERLAP_TOLERANCE * mesh.volume + chance


def _rebuilt(mesh: trimesh.Trimesh, max_triangles: int, done: list[str]) -> trimesh.Trimesh:
    """The solid that the surface encloses, by closing: all within a cell of the surface or cut off from the outside by
    it, eroded again by a cell. Gaps narrower than two cells disappear, walls keep their thickness.
    """
    cell = float(mesh.extents.max()) / CLOSING_CELLS
    swollen = _swollen(mesh, cell)
    scene = ray_scene([swollen])

    def depth(p: torch.Tensor) -> torch.Tensor:
        return -torch.from_numpy(scene.compute_signed_distance(_tensor(p.numpy())).numpy()) - cell

    # On one side of the surface there has to be something solid; a sheet without thickness has nothing on either.
    points, faces = trimesh.sample.sample_surface(mesh, 10_000, seed=0)[:2]
    step = 0.25 * cell * mesh.face_normals[faces]
    sides = [depth(torch.from_numpy(side.astype(np.float32))).numpy() for side in (points + step, points - step)]
    deepest = np.maximum(*sides)
    if (deepest < LEAST_DEPTH * cell).mean() > LOST_SURFACE:
        raise RefusedMeshError(_why_open(mesh))
    settings = ExtractionSettings(
        start_resolution=64, doublings=1, max_triangles=max_triangles, min_body_fraction=0.02, chunk_size=262_144
    )
    try:
        lower, upper = swollen.bounds
        result = extract_surface(depth, lower, upper, LEAST_DEPTH * cell, settings, seeds=points)
    except SurfaceError:
        raise RefusedMeshError(_why_open(mesh)) from None
    outside = ray_scene([result]).compute_signed_distance(_tensor(points), nsamples=3).numpy()
    if not is_sound(result) or (outside > cell).mean() > LOST_SURFACE:
        raise RefusedMeshError(_why_open(mesh))
    done.append(f"rebuilt as the solid that its surface encloses; gaps up to {2000.0 * cell:.2g} mm closed")
    return result


def _why_open(mesh: trimesh.Trimesh) -> str:
    loops = _open_loops(mesh)
    if not len(loops):
        return "it encloses no solid, though its edges are closed"
    return (
        f"open: {len(loops)} hole{'s' * (len(loops) > 1)}, the widest {1000.0 * loops[0]:.3g} mm across "
        f"(the mesh is {1000.0 * mesh.extents.max():.3g} mm long), and it encloses no solid without them"
    )


def _swollen(mesh: trimesh.Trimesh, by: float) -> trimesh.Trimesh:
    """The outer surface of all within `by` metres of a mesh or cut off from the outside by that; closed, outward."""
    low = mesh.bounds[0] - 3.0 * by
    shape = np.ceil((mesh.extents + 6.0 * by) / by).astype(int) + 1
    corners = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1) * by + low
    distance = ray_scene([mesh]).compute_distance(_tensor(corners)).numpy()
    regions, _ = ndimage.label(distance > by)
    field = np.where(regions == regions[0, 0, 0], by - distance, np.maximum(by - distance, 0.01 * by))
    vertices, faces = mcubes.marching_cubes(field.astype(np.float64), 0.0)
    result = trimesh.Trimesh(vertices * by + low, faces.astype(np.int64), process=True)
    if result.volume < 0.0:
        result.invert()
    return result


def _tensor(points: NDArray[np.floating]) -> o3d.core.Tensor:
    return o3d.core.Tensor.from_numpy(np.ascontiguousarray(points, dtype=np.float32))
