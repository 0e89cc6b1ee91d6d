"""Vertices of any mesh moved along a field's gradient onto its level set.

The paper (Mescheder et al., Occupancy Networks, CVPR 2019, section 3.3) refines a mesh by descending on the field's
value and gradient at random points of the faces. Here each vertex searches along the gradient at its place with
safeguarded secant steps: two or three evaluations, and never further from the level set than before.

For a mesh fresh from marching cubes, `extract_mesh` can do the same along the grid's edges at a third of the cost. This
is for meshes that have left the grid: simplified, smoothed, or from elsewhere. On a round body simplified to few
triangles it is no gain: quadric collapse puts vertices outside the surface so that the faces lie on it on average.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
import trimesh
from numpy.typing import ArrayLike, NDArray

from onet_ros.surface.field import Field, call_field, default_chunk_size, evaluate_field
from onet_ros.surface.triangles import normals_of_twice_the_area

MAX_MOVE = 0.5  # how far a vertex may go, in shortest cell edges
FIRST_PROBE = 0.25  # where to look first when the slope is unknown, in shortest cell edges
MIN_NORMAL_COSINE = 0.5  # between a triangle's normals before and after
MAX_HALVINGS = 6

_logger = logging.getLogger(__name__)


def refine_vertices(
    mesh: trimesh.Trimesh,
    field: Field,
    threshold: float,
    voxel_size: ArrayLike,
    steps: int = 2,
    chunk_size: int = 0,
    device: torch.device | str = "cpu",
    bounds: tuple[ArrayLike, ArrayLike] | None = None,
) -> trimesh.Trimesh:
    """The mesh with its vertices moved towards the field's level set; the faces stay, and with them closedness.

    A vertex moves against the field's gradient or along it, by at most `MAX_MOVE` cells, to the evaluated place whose
    value is nearest to the threshold. Moves that would turn a triangle by more than 60 degrees are halved until they
    do not, and given up after `MAX_HALVINGS`.

    Args:
        mesh: vertices (V, 3) metres, the field's frame, with outward normals. Not changed.
        field: (N, 3) float32 metres on `device` -> (N,) float32, inside where above the threshold.
        threshold: level of the surface.
        voxel_size: scalar or (3,), metres, edge lengths of a cell.
        steps: evaluations per vertex, besides the one with the gradient; 0 returns the mesh as it is.
        chunk_size: points per call of the field, 0 chooses by device.
        device: where the field is evaluated.
        bounds: lower and upper (3,) metres; no vertex leaves this box, and those outside (of the caps that close the
            mesh at its border) stay where they are.

    Raises:
        SurfaceError: the field returns wrong shapes, wrong types or non-finite values.
    """
    if steps == 0 or not len(mesh.vertices):
        return mesh
    cell = float(np.min(voxel_size))
    points = torch.from_numpy(np.asarray(mesh.vertices, dtype=np.float32)).to(device)
    directions, slopes = outward_directions(mesh, field, chunk_size, device)
    heights = evaluate_field(field, points, chunk_size) - threshold
    probes = torch.where(slopes > 0, heights / slopes, FIRST_PROBE * cell * heights.sign())
    search = _LineSearch(heights, probes, MAX_MOVE * cell)
    for _ in range(steps):
        places = points + search.move[:, None] * directions
        search.update(evaluate_field(field, places, chunk_size) - threshold)
    moves = (search.best[:, None] * directions).cpu().double().numpy()
    vertices, faces = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces)
    if bounds is not None:
        allowed = np.clip(vertices + moves, *bounds) - vertices
        moves = np.where((np.clip(vertices, *bounds) == vertices).all(axis=1, keepdims=True), allowed, 0.0)
    return trimesh.Trimesh(vertices=_move_without_flips(vertices, moves, faces), faces=faces, process=False)


class _LineSearch:
    """Roots of many functions h(move) at once, each on its own line, h > 0 (inside) at moves too small.

    While all values seen have the same sign, the next move is the secant through the last two; as soon as a root is
    bracketed, it stays in the middle four fifths of the bracket.
    """

    def __init__(self, heights: torch.Tensor, probes: torch.Tensor, reach: float) -> None:
        """heights: (V,) h(0); probes: (V,) first moves to try; reach: bound of |move|, metres."""
        self.reach = reach
        self.best, self.best_height = torch.zeros_like(heights), heights
        self.last, self.last_height = self.best, heights
        unknown = torch.full_like(heights, torch.nan)
        self.inner = torch.where(heights > 0, self.best, unknown)  # the latest moves known to be inside and outside
        self.outer = torch.where(heights > 0, unknown, self.best)
        self.move = probes.clamp(-reach, reach)

    def update(self, heights: torch.Tensor) -> None:
        """Take the values at `move` and choose the next `move`."""
        inside = heights > 0
        self.inner = torch.where(inside, self.move, self.inner)
        self.outer = torch.where(inside, self.outer, self.move)
        closer = heights.abs() < self.best_height.abs()
        self.best = torch.where(closer, self.move, self.best)
        self.best_height = torch.where(closer, heights, self.best_height)

        secant = self.move - heights * (self.move - self.last) / (heights - self.last_height)
        span = self.outer - self.inner
        bracketed = self.inner + ((secant - self.inner) / span).nan_to_num(0.5).clamp(0.1, 0.9) * span
        limit = torch.where(inside, self.reach, -self.reach)
        onward = torch.where((secant - self.move) * limit > 0, secant, limit).clamp(-self.reach, self.reach)
        self.last, self.last_height = self.move, heights
        self.move = torch.where(span.isnan(), onward, bracketed)


def vertex_normals(
    mesh: trimesh.Trimesh, field: Field, chunk_size: int = 0, device: torch.device | str = "cpu"
) -> NDArray[np.float64]:
    """(V, 3) float64 outward unit normals of the field's level sets at the vertices; see `outward_directions`."""
    directions, _ = outward_directions(mesh, field, chunk_size, device)
    return directions.cpu().double().numpy()


def outward_directions(
    mesh: trimesh.Trimesh, field: Field, chunk_size: int = 0, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors against the field's gradient at the vertices, and the gradient's length.

    Where the field is flat, or records no gradient (an ONNX engine, inference mode), the mesh's own vertex normals
    take its place and the length is 0. They serve a line search as well as the gradient does, at a third of the cost
    of finite differences.

    Returns:
        (V, 3) float32 and (V,) float32, value per metre, on `device`.
    """
    points = torch.from_numpy(np.asarray(mesh.vertices, dtype=np.float32)).to(device)
    normals = torch.from_numpy(np.array(mesh.vertex_normals, dtype=np.float32)).to(device)
    gradients = _gradients(field, points, chunk_size or default_chunk_size(points))
    slopes = gradients.norm(dim=1)
    usable = torch.isfinite(slopes) & (slopes > 0)
    directions = torch.where(usable[:, None], -gradients / slopes[:, None], normals)
    return directions, torch.where(usable, slopes, 0.0)


def _gradients(field: Field, points: torch.Tensor, chunk_size: int) -> torch.Tensor:
    """(V, 3) float32 gradients of the field by autograd; zero where it records none."""
    gradients = torch.zeros_like(points)
    for chunk, result in zip(points.split(chunk_size), gradients.split(chunk_size), strict=True):
        with torch.enable_grad():
            try:
                inputs = chunk.clone().requires_grad_(True)
                values = call_field(field, inputs)
                if not values.requires_grad:
                    break
                result.copy_(torch.autograd.grad(values.sum(), inputs)[0])
            except RuntimeError as error:  # an operation without derivative, such as one with out=
                _logger.debug("field without gradient, using the mesh's normals: %s", error)
                break
    return gradients


def _move_without_flips(
    vertices: NDArray[np.float64], moves: NDArray[np.float64], faces: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(V, 3) vertices + moves, with the moves of triangles that would turn too far shortened until none does."""
    before = normals_of_twice_the_area(vertices, faces)
    share = np.ones((len(vertices), 1))
    halvings = 0
    while True:
        moved = vertices + share * moves
        after = normals_of_twice_the_area(moved, faces)
        lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        turned = np.einsum("ij,ij->i", before, after) < MIN_NORMAL_COSINE * lengths
        if not turned.any():
            return moved
        # A triangle whose three vertices stay has not turned, so this ends.
        share[faces[turned]] *= 0.5 if halvings < MAX_HALVINGS else 0.0
        halvings += 1
