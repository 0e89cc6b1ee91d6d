"""Which connected bodies of a mesh are the object, and which are crumbs, hidden hollows or inventions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import trimesh
from numpy.typing import ArrayLike, NDArray

from onet_ros.nearest import NearestPoint
from onet_ros.surface.body_kernels import within_reach
from onet_ros.surface.field import SurfaceError
from onet_ros.surface.mesh_batch import MeshBatch
from onet_ros.surface.triangles import areas_and_volumes_of_pieces, volume

SAMPLING = (64, 8, 1)  # every so many of the vertices that are left


def keep_bodies(
    mesh: trimesh.Trimesh, min_fraction: float, seeds: ArrayLike | None = None, reach: float = 0.0
) -> trimesh.Trimesh:
    """The mesh without crumbs, without closed hollows, without what lies inside another body and what nobody saw.

    A closed piece of surface that bounds a positive volume is a body, one that bounds a negative volume a hollow in a
    body. No camera and no gripper reaches a closed hollow, so hollows are filled. Bodies with less than `min_fraction`
    of the largest body's area are dropped; area, because a thin plate has next to no volume.

    Args:
        mesh: closed, wound consistently, outward. Not changed.
        min_fraction: 0 to 1; 1 keeps the largest body alone.
        seeds: (S, 3) metres, points known to lie near the surface (what the camera saw). Of several bodies those
            without a vertex within `reach` of a seed are dropped: nothing speaks for them. Should none have one, all
            stay.
        reach: metres.

    Raises:
        SurfaceError: there is no body with positive volume.
    """
    all_seeds = None if seeds is None else [seeds]
    kept = keep_bodies_of_all(MeshBatch.of(mesh), min_fraction, all_seeds, [reach])
    if 0 in kept.errors:
        raise kept.errors[0]
    if kept.face_counts[0] == len(mesh.faces):
        bounded = volume(np.asarray(mesh.vertices), np.asarray(mesh.faces))
        if not bounded > 0:
            raise SurfaceError(f"mesh bounds no positive volume: its pieces have [{bounded}] m^3")
        return mesh
    (smaller,) = kept.meshes()
    assert isinstance(smaller, trimesh.Trimesh)
    return smaller


def keep_bodies_of_all(
    batch: MeshBatch, min_fraction: float, seeds: Sequence[ArrayLike] | None, reach: Sequence[float]
) -> MeshBatch:
    """`keep_bodies` for B objects, on their device.

    Args:
        seeds: B lists.
        reach: B distances.

    Returns:
        The batch with what is kept; an object that has no body with positive volume gets an error.
    """
    if not len(batch.faces):
        return batch
    pieces = batch.pieces()
    count = int(pieces.max()) + 1
    owners = torch.empty(count, dtype=torch.int64, device=pieces.device)
    owners.index_copy_(0, pieces, batch.objects_of_vertices)
    if count == len(batch) - len(batch.errors):
        return batch  # one piece each, and what is outward bounds a positive volume
    own_faces = pieces.take(batch.faces[:, 0])
    areas, volumes = _areas_and_volumes(batch, own_faces, count)
    bodies = volumes > 0
    errors = {
        number: SurfaceError(
            f"mesh bounds no positive volume: its pieces have {volumes[owners == number][:10].tolist()} m^3"
        )
        for number in set(range(len(batch))) - set(owners[bodies].tolist()) - set(batch.errors)
    }
    if seeds is not None:
        bodies &= _supported(batch, pieces, owners, bodies, seeds, reach)
    largest = areas.new_zeros(len(batch)).scatter_reduce(0, owners[bodies], areas[bodies], reduce="amax")
    kept = bodies & (areas >= min_fraction * largest[owners])
    kept = _not_inside_others(batch, own_faces, owners, kept, areas)
    return batch.only(kept.take(own_faces), errors)


def _areas_and_volumes(batch: MeshBatch, own_faces: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(count,) float64 area and signed volume of each piece, m^2 and m^3."""
    if not batch.faces.is_cuda:
        arrays = batch.vertices.numpy(), batch.faces.numpy(), own_faces.numpy()
        areas, volumes = areas_and_volumes_of_pieces(*arrays, count)
        return torch.from_numpy(areas), torch.from_numpy(volumes)
    origin = batch.vertices[batch.faces[0, 0]]  # far from the origin of the frame, digits would be lost
    a, b, c = ((batch.vertices - origin).index_select(0, batch.faces[:, corner]) for corner in range(3))
    normals = torch.linalg.cross(b - a, c - a)
    return (
        torch.bincount(own_faces, 0.5 * normals.norm(dim=1), minlength=count),
        torch.bincount(own_faces, (a * normals).sum(dim=1) / 6.0, minlength=count),
    )


def _supported(
    batch: MeshBatch,
    pieces: torch.Tensor,
    owners: torch.Tensor,
    bodies: torch.Tensor,
    seeds: Sequence[ArrayLike],
    reach: Sequence[float],
) -> torch.Tensor:
    """(count,) bool, the pieces near a seed of their object; all of an object's whose bodies have none."""
    several = torch.bincount(owners[bodies], minlength=len(batch)) > 1
    arrays = [np.asarray(own, dtype=np.float64).reshape(-1, 3) for own in seeds]
    if batch.vertices.is_cuda:
        supported = torch.zeros_like(bodies)
        supported.index_fill_(0, pieces[_in_reach(batch, several, arrays, reach)], True)
    else:
        asked = several & torch.tensor([len(own) > 0 for own in arrays])
        supported = ~asked[owners]
        for number in asked.nonzero().flatten().tolist():
            own = slice(*np.cumsum([0, *batch.vertex_counts])[number : number + 2])
            vertices = batch.vertices[own].numpy(), pieces[own].numpy()
            _mark_pieces_in_reach(*vertices, NearestPoint(arrays[number]), reach[number], supported.numpy())
    has_any = torch.zeros(len(batch), dtype=torch.bool, device=pieces.device)
    has_any[owners[supported & bodies]] = True
    return supported | ~has_any[owners]


def _in_reach(
    batch: MeshBatch, several: torch.Tensor, seeds: Sequence[NDArray[np.float64]], reach: Sequence[float]
) -> torch.Tensor:
    """(V,) bool, vertices within reach of a seed of their object; all of those objects that have no seeds, or not
    several (B,) bodies. On a GPU."""
    device = batch.vertices.device
    # An object that is not asked about has no end of reach.
    limits = torch.where(several, torch.tensor(reach, dtype=torch.float32, device=device), torch.inf)
    first = torch.tensor(np.cumsum([0, *map(len, seeds)]), device=device)
    others = torch.from_numpy(np.concatenate(seeds).astype(np.float32)).to(device)
    return within_reach(batch.vertices, batch.objects_of_vertices, others, first, limits)


def _mark_pieces_in_reach(
    vertices: NDArray[np.float64],
    pieces: NDArray[np.int64],
    seeds: NearestPoint,
    reach: float,
    supported: NDArray[np.bool_],
) -> None:
    """Mark the pieces (V,) of an object that have a vertex (V, 3) within reach of a seed; few vertices of each first,
    since most that are have many."""
    left = np.arange(len(vertices))
    for step in SAMPLING:
        some = left[::step]
        distances, _ = seeds(vertices.take(some, axis=0), within=reach)
        supported[pieces.take(some[np.isfinite(distances)])] = True
        left = left[~supported.take(pieces.take(left))]


def _not_inside_others(
    batch: MeshBatch, own_faces: torch.Tensor, owners: torch.Tensor, kept: torch.Tensor, areas: torch.Tensor
) -> torch.Tensor:
    """The pieces kept (count,) bool but for those that lie in a larger one of the same object."""
    several = torch.bincount(owners[kept], minlength=len(batch)) > 1
    questionable = (kept & several[owners]).nonzero().squeeze(1)
    if not len(questionable):
        return kept
    kept = kept.clone()
    enclosing: dict[int, list[NDArray[np.float64]]] = {}
    for piece in questionable[areas[questionable].argsort(descending=True, stable=True)].tolist():
        triangles = batch.vertices[batch.faces[own_faces == piece]].cpu().numpy()
        larger = enclosing.setdefault(int(owners[piece]), [])
        if any(_contains(other, triangles[0, 0]) for other in larger):
            kept[piece] = False
        else:
            larger.append(triangles)
    return kept


def _contains(triangles: NDArray[np.float64], point: NDArray[np.float64]) -> bool:
    """Whether a closed surface (F, 3, 3) winds around a point: the sum of the triangles' solid angles.

    Solid angle of a triangle: van Oosterom and Strackee, IEEE Transactions on Biomedical Engineering, 1983.
    """
    if not ((point > triangles.min(axis=(0, 1))) & (point < triangles.max(axis=(0, 1)))).all():
        return False
    a, b, c = np.moveaxis(triangles - point, 1, 0)
    la, lb, lc = (np.linalg.norm(corner, axis=1) for corner in (a, b, c))
    numerator = np.einsum("ij,ij->i", a, np.cross(b, c))
    ab, bc, ca = (np.einsum("ij,ij->i", p, q) for p, q in ((a, b), (b, c), (c, a)))
    denominator = la * lb * lc + ab * lc + bc * la + ca * lb
    return bool(2 * np.arctan2(numerator, denominator).sum() > 2 * np.pi)
