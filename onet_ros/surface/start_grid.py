"""The coarse grids from which surfaces are looked for, so that little can hide from them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from onet_ros.surface import grid_loops
from onet_ros.surface.field import BatchField, SurfaceError, evaluate_batch
from onet_ros.surface.grid import AXIS_STEPS, INSIDE, OUTSIDE, GridBatch, Lattice, any_corner, halved, mixed_cell_mask
from onet_ros.surface.grid_kernels import maybe_lone

FEWEST_HALVED = 16  # cells of a start grid for which half as many are a beginning
# Edges over which values are taken to change on as steeply as they do at a cell. A place in it is up to sqrt(3) / 2 of
# an edge from a corner, and on a diagonal values can change sqrt(3) times as fast as along the axes: 1.5 would be
# needed if both came together. With half of that none of the thin parts that `onet bench` looks for is lost, with a
# third of it some are.
STEEP_FOR = 0.75

_CORNERS_AROUND = tuple(itertools.product((-1, 0, 1, 2), repeat=3))  # those of a cell and of the 26 around it


@dataclass(frozen=True, eq=False)
class StartCorners:
    """The corners of start grids of the same boxes and resolutions, which are the same for any fields.

    Attributes:
        lattice: numbers them.
        objects: (N,) int64, whose corner each is; side by side.
        coordinates: (N, 3) int64, in cells of the start grid.
        points: (N, 3) float32, metres.
        numbers: (N,) int64, in the lattice.
        upward: (N, 3) bool, the edges that leave a corner upwards along x, y and z and end in the box.
        at_border: (N,) bool.
        coarse: (K,) int64, rows of the corners with even coordinates; None where grids of half the resolution make no
            sense, or are not all alike.
    """

    lattice: Lattice
    objects: torch.Tensor
    coordinates: torch.Tensor
    points: torch.Tensor
    numbers: torch.Tensor
    upward: torch.Tensor
    at_border: torch.Tensor
    coarse: torch.Tensor | None

    @classmethod
    def of(
        cls,
        resolutions: Sequence[int],
        lower: NDArray[np.float64],
        upper: NDArray[np.float64],
        device: torch.device | str,
    ) -> StartCorners:
        """Made once for the same arguments, as they are from cloud to cloud."""
        return _start_corners(tuple(resolutions), lower.tobytes(), upper.tobytes(), str(device))


@lru_cache(maxsize=8)
def _start_corners(resolutions: tuple[int, ...], lower: bytes, upper: bytes, device: str) -> StartCorners:
    low, high = (np.frombuffer(corner).reshape(-1, 3).copy() for corner in (lower, upper))
    lattice = Lattice(resolutions, low, high, device)
    along = [torch.arange(resolution + 1, device=lattice.device) for resolution in resolutions]
    corners = [torch.cartesian_prod(line, line, line) for line in along]
    coordinates = torch.cat(corners)
    counts = torch.tensor([len(own) for own in corners], device=lattice.device)
    objects = torch.arange(len(corners), device=lattice.device).repeat_interleave(counts)
    last = torch.tensor(resolutions, device=lattice.device)[objects].unsqueeze(1)
    upward = coordinates < last
    coarse = None
    if lattice.alike and resolutions[0] % 2 == 0 and resolutions[0] >= FEWEST_HALVED:
        coarse = (coordinates % 2 == 0).all(dim=1).nonzero().squeeze(1)
    return StartCorners(
        lattice=lattice,
        objects=objects,
        coordinates=coordinates,
        points=lattice.points(objects, coordinates),
        numbers=lattice.numbers(objects, coordinates),
        upward=upward,
        at_border=((coordinates == 0) | ~upward).any(dim=1),
        coarse=coarse,
    )


class StartGrid:
    """The coarse grids of all objects.

    On a CPU a grid of half their resolution is asked first, and of the rest only what may matter: the corners of cells
    that the surface crosses, or might reach, judged by how fast the values change there.

    Attributes:
        corners: where they are.
        values: (N,) float32; where not asked, that of a corner nearby on the same side.
        asked: (N,) bool, or None for all.
        points_asked: how many.
        seconds: what asking took.
    """

    def __init__(
        self,
        field: BatchField,
        lower: NDArray[np.float64],
        upper: NDArray[np.float64],
        threshold: float,
        resolutions: list[int],
        chunk_size: int,
        device: torch.device | str,
    ) -> None:
        self.field, self.threshold, self.chunk_size = field, threshold, chunk_size
        self.corners = StartCorners.of(resolutions, lower, upper, device)
        self.lattice = self.corners.lattice
        began = time.perf_counter()
        self.values, self.asked = self._ask()
        self.seconds = time.perf_counter() - began
        self.points_asked = len(self.values) if self.asked is None else int(self.asked.sum())
        self._sides = torch.full((self.lattice.size,), OUTSIDE, dtype=torch.uint8, device=self.lattice.device)
        self._sides[self.corners.numbers] = (self.values > threshold).to(torch.uint8)

    @cached_property
    def crossed(self) -> torch.Tensor:
        """(N, 3) bool, the upward edges whose ends lie on opposite sides."""
        numbers, upward = self.corners.numbers, self.corners.upward
        if not numbers.is_cuda:
            return grid_loops.crossed_edges(numbers, upward, self._sides, self.lattice)
        inside = self._sides.take(numbers) == INSIDE
        across = self._sides.take(numbers.unsqueeze(1) + self.lattice.offsets(AXIS_STEPS)) == INSIDE
        return (across != inside.unsqueeze(1)) & upward

    @property
    def crossed_edges(self) -> int:
        """How many edges are crossed."""
        return int(self.crossed.sum())

    def _ask(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        points, objects, coarse = self.corners.points, self.corners.objects, self.corners.coarse
        if coarse is None or points.is_cuda:
            return evaluate_batch(self.field, points, objects, self.chunk_size), None
        size = self.lattice.resolutions[0] // 2 + 1
        own = points.index_select(0, coarse), objects.take(coarse)
        known = evaluate_batch(self.field, *own, self.chunk_size)
        cubes = known.view(-1, size, size, size)
        wanted = halved(_may_matter(cubes, self.threshold)).flatten()
        wanted.index_fill_(0, coarse, False)
        nearby = (torch.arange(2 * size - 1, device=points.device) // 2).clamp(max=size - 1)
        for axis in (1, 2, 3):
            cubes = cubes.index_select(axis, nearby)
        values = cubes.flatten().index_copy_(0, coarse, known)
        rows = wanted.nonzero().squeeze(1)
        own = points.index_select(0, rows), objects.take(rows)
        values.index_copy_(0, rows, evaluate_batch(self.field, *own, self.chunk_size))
        wanted.index_fill_(0, coarse, True)
        return values, wanted

    def grids(self) -> GridBatch:
        """As a batch of grids, whose crossed cells are not looked for; outside the boxes all is minus infinity."""
        samples = torch.full((self.lattice.size,), -torch.inf, device=self.lattice.device)
        samples.index_copy_(0, self.corners.numbers, self.values)
        made_up = None
        if self.asked is not None:
            made_up = torch.zeros_like(self._sides, dtype=torch.bool)
            made_up.index_copy_(0, self.corners.numbers, ~self.asked)
        return GridBatch(
            lattice=self.lattice,
            samples=samples,
            sides=self._sides,
            cells=self.corners.numbers[:0],
            threshold=self.threshold,
            points_asked=self.points_asked,
            rounds=1,
            made_up=made_up,
        )

    def lone_seeds(self, seeds: Sequence[ArrayLike], lattice: Lattice) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the seeds in their boxes one in each start cell where nothing is crossed, nor in the 26 around it.

        Args:
            seeds: B lists (S, 3), metres.
            lattice: of the final grids.

        Returns:
            (K,) int64 objects, ascending; (K, 3) int64 nearest corners of the final grid.

        Raises:
            SurfaceError: not one list for each grid, wrong shapes, coordinates that are not finite.
        """
        table = torch.from_numpy(_seed_table(seeds, len(lattice.resolutions))).to(lattice.device)
        look = maybe_lone if table.is_cuda else grid_loops.maybe_lone
        lone = look(table, lattice, self.lattice, self._sides)
        if lone is not None:
            table = table[lone]
        if not len(table):
            return table[:, 0].long(), table[:, 1:].long()
        owners, places, cells = _one_seed_per_cell(table, self.lattice, lattice)
        alone = self._unseen(owners, cells)
        return owners[alone], places[alone]

    def _unseen(self, objects: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """(K,) bool: nothing is crossed in the start cell (K, 3) int64 of an object (K,), nor in the 26 around it."""
        # All their corners are on one side; a layer of corners outside is around each box, and beyond it nothing.
        corners = (places.unsqueeze(1) + _steps(_CORNERS_AROUND, places.device)).clamp(min=-1)
        last = self.lattice.resolutions_there[objects] + 1
        corners = torch.minimum(corners, last[:, None, None])
        around = self._sides.take(self.lattice.numbers(objects.repeat_interleave(64), corners.flatten(0, 1))).view(
            -1, 64
        )
        low, high = around.aminmax(dim=1)
        return low == high


@lru_cache(maxsize=8)
def _steps(steps: tuple[tuple[int, int, int], ...], device: torch.device) -> torch.Tensor:
    """(K, 3) int64; kept, because a copy to a GPU makes the host wait."""
    return torch.tensor(steps, device=device)


def _may_matter(values: torch.Tensor, threshold: float) -> torch.Tensor:
    """(B, n + 1, n + 1, n + 1) values at the corners of grids -> (B, n, n, n) bool: cells that the surface crosses or
    may reach into.

    It may where a value is as near to the threshold as `STEEP_FOR` edges at the steepest slope, of the edges of the
    cell and those next to it. Of a cell at the border of the box with a corner inside, the outermost corners are
    wanted.
    """
    heights = values - threshold
    inside = heights > 0
    slope = torch.zeros_like(values)
    for axis in (1, 2, 3):
        count = values.shape[axis] - 1
        change = (values.narrow(axis, 1, count) - values.narrow(axis, 0, count)).abs()
        for start in (0, 1):
            part = slope.narrow(axis, start, count)
            torch.maximum(part, change, out=part)
    least = _over_cells(heights.abs(), torch.minimum)
    steepest = _over_cells(slope, torch.maximum)
    wanted: torch.Tensor = (least < STEEP_FOR * steepest) | mixed_cell_mask(inside)
    some_inside = any_corner(inside)
    for axis in (1, 2, 3):
        for end in (0, wanted.shape[axis] - 1):
            wanted.select(axis, end).logical_or_(some_inside.select(axis, end))
    return wanted


def _over_cells(values: torch.Tensor, combined: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """(B, W, W, W) at corners -> (B, W - 1, W - 1, W - 1): what comes of the eight corners of each cell."""
    for axis in (1, 2, 3):
        count = values.shape[axis] - 1
        values = combined(values.narrow(axis, 0, count), values.narrow(axis, 1, count))
    return values


def _one_seed_per_cell(
    table: torch.Tensor, start: Lattice, lattice: Lattice
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of those in their boxes, one in each start cell that has any.

    Args:
        table: (S, 4) float64, of each seed the object and the place, metres.
        start, lattice: of the start grids and of the final grids.

    Returns:
        (K,) int64 objects, ascending; (K, 3) int64 nearest corners of the final grid; (K, 3) int64 start cells.
    """
    owners, points = table[:, 0].long(), table[:, 1:]
    lower, voxel_sizes = lattice.lower_there[owners], lattice.voxel_sizes_there[owners]
    last = lattice.resolutions_there[owners].unsqueeze(1)
    places = (points - lower) / voxel_sizes
    in_box = ((places >= 0.0) & (places <= last)).all(dim=1)
    stride = lattice.resolutions[0] // start.resolutions[0]
    corners = torch.minimum(places.round().long().clamp(min=0), last)
    cells = torch.minimum(corners // stride, last // stride - 1)
    names = start.numbers(owners, cells).where(in_box, start.size)
    row = torch.arange(len(names), device=names.device)
    last_row = torch.full((start.size + 1,), -1, device=names.device).scatter_reduce_(0, names, row, reduce="amax")
    chosen = ((last_row[names] == row) & in_box).nonzero().squeeze(1)
    return owners[chosen], corners[chosen], cells[chosen]


def _seed_table(seeds: Sequence[ArrayLike], count: int) -> NDArray[np.float64]:
    """(S, 4) of all seeds the object and the place."""
    arrays = [np.asarray(array) for array in seeds]
    if len(arrays) != count:
        raise SurfaceError(f"seeds must be one list for each of {count} objects, got {len(arrays)}")
    for array in arrays:
        if array.ndim != 2 or array.shape[1] != 3:
            raise SurfaceError(f"seeds must have shape (S, 3), got {array.shape}")
    table = np.empty((sum(len(array) for array in arrays), 4))
    table[:, 0] = np.repeat(np.arange(count), [len(array) for array in arrays])
    np.concatenate(arrays, out=table[:, 1:])
    finite = np.isfinite(table).all(axis=1)
    if not finite.all():
        raise SurfaceError(f"seeds must be finite, got {table[~finite][0, 1:].tolist()}")
    return table
