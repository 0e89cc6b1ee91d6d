"""The paper's way from a field to a mesh, written as it is published: what every shortcut here is measured against.

Mescheder et al., Occupancy Networks (CVPR 2019), section 3.3: multiresolution isosurface extraction asks the plain
module level by level, in chunks of 100,000 points, then marching cubes sweep the whole grid. Only the bookkeeping is
kinder than in the authors' code: whole arrays at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import mcubes
import numpy as np
import torch
import trimesh
from numpy.typing import ArrayLike
from torch import Tensor

from onet_ros.networks import Observation, OccupancyNetwork
from onet_ros.stopwatch import Stopwatch
from onet_ros.surface import POINTS_ASKED, Field, GridField

CHUNK_SIZE = 100_000
START_RESOLUTION = 32
OUTSIDE = -1e6  # value around the box, so that the mesh is closed

_CORNERS = torch.tensor(list(itertools.product((0, 1), repeat=3)))
_SUBDIVISION = torch.tensor(list(itertools.product((0, 1, 2), repeat=3)))


def textbook_mesh(
    network: OccupancyNetwork,
    observation: Observation,
    lower: ArrayLike,
    upper: ArrayLike,
    threshold: float,
    doublings: int,
    watch: Stopwatch,
) -> trimesh.Trimesh:
    """The mesh of one object, in its unit frame.

    Args:
        network: in evaluation mode, unfolded.
        observation: of one object.
        lower, upper: (3,), the box.
        threshold: logit of the surface.
        doublings: of 32 cells along an edge.
        watch: told of the stages encode, evaluate, bookkeeping and marching cubes.
    """
    with torch.no_grad():
        with watch.stage("encode"):
            code = network.encode(observation)

        def field(points: Tensor) -> Tensor:
            with watch.stage("evaluate"):
                watch.counts[POINTS_ASKED] += len(points)
                chunks = [network.decode(chunk.unsqueeze(0), code).squeeze(0) for chunk in points.split(CHUNK_SIZE)]
                return torch.cat(chunks)

        with watch.stage("bookkeeping"):
            grid = sample_grid_textbook(field, lower, upper, threshold, START_RESOLUTION, doublings)
            values = np.pad(grid.values.cpu().numpy(), 1, constant_values=OUTSIDE)
    with watch.stage("marching cubes"):
        vertices, faces = mcubes.marching_cubes(values, grid.threshold)
        return trimesh.Trimesh(grid.lower + (vertices - 1) * grid.voxel_size, faces.astype(np.int64), process=False)


def sample_grid_textbook(
    field: Field, lower: ArrayLike, upper: ArrayLike, threshold: float, start_resolution: int, doublings: int
) -> GridField:
    """A field on a grid of `start_resolution << doublings` cells, by the paper's subdivision.

    Level by level, cells whose corners lie on both sides are divided into eight, and all new corners are asked.
    """
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    resolution = start_resolution << doublings
    samples = torch.zeros(3 * [resolution + 1])
    asked = torch.zeros_like(samples, dtype=torch.bool)
    ask = _asker(field, samples, asked, low, high)

    stride = 1 << doublings
    along = torch.arange(0, resolution + 1, stride)
    ask(torch.cartesian_prod(along, along, along))
    cells = torch.cartesian_prod(along[:-1], along[:-1], along[:-1])
    while stride > 1:
        inside = samples[tuple((cells.unsqueeze(1) + stride * _CORNERS).unbind(2))] > threshold
        crossed = cells[inside.any(dim=1) & ~inside.all(dim=1)]
        stride //= 2
        ask((crossed.unsqueeze(1) + stride * _SUBDIVISION).flatten(0, 1))
        cells = (crossed.unsqueeze(1) + stride * _CORNERS).flatten(0, 1)
    return GridField(
        samples=samples,
        asked=asked,
        crossed_cells=cells[:0],
        lower=low,
        upper=high,
        threshold=threshold,
        points_asked=int(asked.sum()),
        rounds=doublings + 1,
    )


def _asker(
    field: Field, samples: Tensor, asked: Tensor, lower: np.ndarray, upper: np.ndarray
) -> Callable[[Tensor], None]:
    """What asks the field at corners (N, 3) that were not asked before, and takes the values down."""
    resolution = samples.shape[0] - 1

    def ask(corners: Tensor) -> None:
        wanted = torch.zeros_like(asked)
        wanted[tuple(corners.unbind(1))] = True
        new = (wanted & ~asked).nonzero()
        points = torch.from_numpy(lower + new.numpy() / resolution * (upper - lower)).float()
        samples[tuple(new.unbind(1))] = field(points).cpu()
        asked[tuple(new.unbind(1))] = True

    return ask
