"""Closed meshes with fewer triangles, for those who read or collide with them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import trimesh
from numpy.typing import NDArray

from onet_ros import columns
from onet_ros.cpu_kernels import over_cores
from onet_ros.surface.edge_collapse import collapse_edges
from onet_ros.surface.soundness import are_sound
from onet_ros.surface.triangles import euler_number

APART = 1e-6  # of the longest edge: vertices nearer to each other become one in files of single precision
_DIRECTION = np.array([0.6731, 0.5477, 0.4968])  # of about unit length
_BY_CHANCE = 8  # vertices that lie between two that are at one place, at most

_logger = logging.getLogger(__name__)


def simplify_mesh(mesh: trimesh.Trimesh, max_triangles: int) -> trimesh.Trimesh:
    """The mesh with at most `max_triangles` triangles; see `collapse_edges` for how.

    The result is sound (`is_sound`) and has the original's Euler number: no hole appears, no handle is lost, and no
    two vertices meet. Where there are none so few, there are as few as can be, at worst the original's, and a warning
    says so.

    Args:
        mesh: closed, wound consistently, outward. Not changed.
        max_triangles: 0 means no limit.
    """
    if max_triangles <= 0 or len(mesh.faces) <= max_triangles:
        return mesh
    vertices, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    low, high = columns.bounds(vertices)
    centre, size = (low + high) / 2, (high - low).max()
    found, fewer = collapse_edges((vertices - centre) / size, faces, max_triangles)
    sound = are_sound(found, fewer) and euler_number(fewer) == euler_number(faces) and not _touches_itself(found)
    if not sound or len(fewer) > max_triangles:
        text = "%d triangles instead of %d: nothing sound with fewer came of the %d given"
        _logger.warning(text, len(fewer) if sound else len(faces), max_triangles, len(faces))
    return trimesh.Trimesh(vertices=found * size + centre, faces=fewer, process=False) if sound else mesh


def simplify_meshes(meshes: Sequence[tuple[trimesh.Trimesh, int]]) -> list[trimesh.Trimesh]:
    """`simplify_mesh` of several, each with its `max_triangles`, shared among the threads."""
    simple = [mesh for mesh, _ in meshes]
    # The longest first, so that no thread has one before it when the others are done.
    order = sorted(range(len(meshes)), key=lambda number: meshes[number][1] - len(simple[number].faces))

    def work(low: int, high: int) -> None:
        for number in order[low:high]:
            simple[number] = simplify_mesh(*meshes[number])

    over_cores(work, len(order), least=1)
    return simple


def _touches_itself(vertices: NDArray[np.float64]) -> bool:
    """Whether two vertices (V, 3) lie at one place: whoever reads the mesh and merges such vertices has an open one."""
    # Those that are as far along some direction, one that no edges run across, lie next to each other in its order,
    # perhaps with a few by chance between them.
    along = vertices @ _DIRECTION
    order = np.argsort(along)
    along = along[order]
    for step in range(1, _BY_CHANCE + 1):
        near = np.flatnonzero(along[step:] - along[:-step] <= APART)
        gaps = vertices[order[near + step]] - vertices[order[near]]
        if (np.einsum("ij,ij->i", gaps, gaps) <= APART**2).any():
            return True
    return False
