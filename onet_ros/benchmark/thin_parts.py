"""What following the surface from a coarse start misses of shapes with thin and separate parts, against every corner.

Fifty unions of a body, a thin plate, a thin rod and two small balls, at random places: thinner than a cell of the
coarse grid, thicker than one of the final grid, so that what is missed was there to be found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from tqdm import tqdm

from onet_ros.surface import (
    ExtractionSettings,
    Field,
    GridField,
    extract_mesh,
    sample_grid_dense,
    sample_grid_mise,
    surface_deviation,
)

SHAPES = 50
LOWER, UPPER = np.full(3, -0.55), np.full(3, 0.55)
VIEW = np.array([1.0, 0.0, 0.0])  # towards the camera
PIXELS = 96  # of the image that the seeds come from, along an edge


@dataclass(frozen=True)
class Loss:
    """Of all shapes together.

    Attributes:
        start_resolution: cells along an edge of the coarse grid.
        seeded: seen points were given.
        parts: connected pieces of surface that a dense grid shows.
        missed: how many of them were not found.
        chamfer: mean distance between the two surfaces, both ways, in longest edges of the box.
        points_asked: share of the dense grid's.
    """

    start_resolution: int
    seeded: bool
    parts: int
    missed: int
    chamfer: float
    points_asked: float


def losses(resolution: int = 64, starts: tuple[int, ...] = (16, 32), shapes: int = SHAPES) -> list[Loss]:
    """The loss for each start grid, without seeds and with."""
    variants = [(start, seeded) for start in starts for seeded in (False, True)]
    found: dict[tuple[int, bool], list[NDArray[np.float64]]] = {variant: [] for variant in variants}
    for seed in tqdm(range(shapes), desc="shapes with thin parts", leave=False):
        field = thin_parted_shape(seed)
        dense = sample_grid_dense(field, LOWER, UPPER, 0.0, ExtractionSettings(resolution, 0))
        labels = part_labels(dense)
        seeds = visible_points(dense)
        for start, seeded in variants:
            settings = ExtractionSettings(start, (resolution // start).bit_length() - 1)
            grid = sample_grid_mise(field, LOWER, UPPER, 0.0, settings, seeds=seeds if seeded else None)
            found[start, seeded].append(_compared(dense, labels, grid))
    return [
        Loss(start, seeded, *(int(n) for n in np.sum(rows, axis=0)[:2]), *np.mean(rows, axis=0)[2:].tolist())
        for (start, seeded), rows in found.items()
    ]


def thin_parted_shape(seed: int) -> Field:
    """(N, 3) -> (N,) distance, positive inside; plate and rod are 0.036 to 0.06 thick, the balls 0.04 to 0.08 wide."""
    rng = np.random.default_rng(seed)
    body = _box(rng, 0.1 + 0.15 * rng.random(3), spread=0.15)
    plate = _box(rng, np.append(0.08 + 0.12 * rng.random(2), 0.018 + 0.012 * rng.random()), spread=0.3)
    rod = _box(rng, np.append(0.018 + 0.012 * rng.random(2), 0.1 + 0.15 * rng.random()), spread=0.3)
    centres = torch.as_tensor(rng.uniform(-0.45, 0.45, (2, 3)), dtype=torch.float32)
    radii = torch.as_tensor(rng.uniform(0.02, 0.04, 2), dtype=torch.float32)

    def field(points: Tensor) -> Tensor:
        balls = (radii - torch.cdist(points, centres)).amax(dim=1)
        return torch.stack([body(points), plate(points), rod(points), balls]).amax(dim=0)

    return field


def _box(rng: np.random.Generator, half_size: NDArray[np.float64], spread: float) -> Field:
    """A box at a random place, turned at random."""
    rotation = torch.as_tensor(np.linalg.qr(rng.normal(size=(3, 3)))[0], dtype=torch.float32)
    centre = torch.as_tensor(rng.uniform(-spread, spread, 3), dtype=torch.float32)
    half = torch.as_tensor(half_size, dtype=torch.float32)

    def field(points: Tensor) -> Tensor:
        offsets = ((points - centre) @ rotation).abs() - half
        return -(offsets.clamp(min=0).norm(dim=1) + offsets.amax(dim=1).clamp(max=0))

    return field


def part_labels(grid: GridField) -> NDArray[np.int64]:
    """(M,) number of the connected piece of surface that each crossed cell belongs to.

    Two cells with a common face are connected when an edge of that face is crossed.
    """
    cells = grid.crossed_cells.numpy()
    size = grid.resolution + 4
    inside = np.zeros((size, size, size), dtype=bool)
    inside[1:-2, 1:-2, 1:-2] = grid.inside.numpy()
    rank = np.full((size, size, size), -1)
    x, y, z = (cells + 1).T
    rank[x, y, z] = np.arange(len(cells))
    pairs = []
    for axis in range(3):
        step = np.eye(3, dtype=int)[axis]
        neighbour = rank[x + step[0], y + step[1], z + step[2]]
        others = [np.eye(3, dtype=int)[other] for other in range(3) if other != axis]
        corners = [step, step + others[0], step + others[1], step + others[0] + others[1]]
        face = np.stack([inside[x + c[0], y + c[1], z + c[2]] for c in corners])
        joined = (neighbour >= 0) & (face.any(axis=0) & ~face.all(axis=0))
        pairs.append(np.stack([np.flatnonzero(joined), neighbour[joined]]))
    a, b = np.concatenate(pairs, axis=1)
    graph = coo_matrix((np.ones(len(a)), (a, b)), shape=2 * (len(cells),))
    labels: NDArray[np.int64] = connected_components(graph, directed=False)[1]
    return labels


def visible_points(grid: GridField) -> NDArray[np.float64]:
    """(S, 3) the nearest vertex to the camera in each pixel of an orthographic image along `VIEW`: what was seen."""
    vertices = np.asarray(extract_mesh(grid).vertices)
    pixels = np.floor((vertices[:, 1:] - LOWER[1:]) / (UPPER - LOWER)[1:] * PIXELS).astype(int) @ (PIXELS, 1)
    order = np.lexsort((-vertices @ VIEW, pixels))
    _, first = np.unique(pixels[order], return_index=True)
    return vertices[order[first]]


def _compared(dense: GridField, labels: NDArray[np.int64], grid: GridField) -> NDArray[np.float64]:
    """(4,): pieces of surface, pieces missed, Chamfer distance, share of the points asked."""
    size = dense.resolution + 2
    names = np.ravel_multi_index(tuple((dense.crossed_cells.numpy() + 1).T), 3 * (size,))
    found = np.ravel_multi_index(tuple((grid.crossed_cells.numpy() + 1).T), 3 * (size,))
    parts = labels.max() + 1
    seen = np.unique(labels[np.isin(names, found)])
    chamfer = 0.0
    if len(seen) < parts:
        chamfer = surface_deviation(extract_mesh(grid), extract_mesh(dense), 4000)[0] / float((UPPER - LOWER).max())
    return np.array([parts, parts - len(seen), chamfer, grid.points_asked / dense.points_asked])
