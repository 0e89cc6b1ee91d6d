"""Multiresolution IsoSurface Extraction: fine grids of fields for the price of their surfaces.

After Mescheder et al., Occupancy Networks (CVPR 2019), section 3.3, with one change. The paper subdivides every cell
whose corners lie on both sides and asks all new corners, level by level. Here the start grid only has to find the
surface; from there it is followed on the final grid, from one crossed cell to the next (surface tracking: Wyvill et
al., Data structure for soft objects, 1986), so that nearly all values asked are corners of crossed cells.

A GPU answers a hundred thousand questions as quickly as a hundred, but waits for each round of them. There the surface
is approached level by level as in the paper, which takes few rounds, and followed only where that falls short.

The fields of many objects are worked on side by side, so that each round asks one question for all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike

from onet_ros.surface.field import BatchField, Field, batch_of_one, evaluate_batch
from onet_ros.surface.grid import (
    AXIS_STEPS,
    OUTSIDE,
    UNKNOWN,
    GridBatch,
    GridField,
    Lattice,
    checked_boxes,
    checked_threshold,
)
from onet_ros.surface.grid_kernels import FusedGridOperations
from onet_ros.surface.grid_loops import LoopedGridOperations
from onet_ros.surface.grid_operations import GridOperations
from onet_ros.surface.pace import Pace
from onet_ros.surface.settings import ExtractionSettings
from onet_ros.surface.start_grid import StartCorners, StartGrid


def sample_grid_mise(
    field: Field,
    lower: ArrayLike,
    upper: ArrayLike,
    threshold: float,
    settings: ExtractionSettings | None = None,
    device: torch.device | str = "cpu",
    seeds: ArrayLike | None = None,
) -> GridField:
    """Sample a field on the final grid, asking little more than the corners of cells that its surface crosses.

    1. The start grid is asked everywhere, and every edge of it with ends on opposite sides at all its final corners.
    2. A final edge with ends on opposite sides makes the four cells around it crossed; their corners are asked, which
       shows more such edges, until no new cell is crossed.

    A connected piece of surface (crossed cells that share a crossed edge) is *seen* when it meets an edge of the start
    grid whose ends lie on opposite sides, or a seed's star, or the border of the box where a corner of the start grid
    is inside. For every seen piece, values and sides equal those of `sample_grid_dense`. What a coarse start can miss
    is a piece that passes between the corners of the start grid: a separate body or a closed hollow smaller than a
    start cell, a separate plate or rod thinner than one, a gap thinner than one between two sheets when each start
    edge meets both. Thin parts of a body that is seen elsewhere (a handle, a wall with a rim) are not missed.

    Args:
        field: (N, 3) float32 metres on `device` -> (N,) float32, inside where above the threshold. A value equal to
            the threshold is outside.
        lower, upper: (3,) metres, the box; its edges may differ in length.
        threshold: level of the surface.
        settings: those of the grid and chunk_size are used.
        device: where points are made and results stay.
        seeds: (S, 3) metres, points known to lie near the surface (what the camera saw). Where the start grid sees
            nothing in a seed's start cell and the 26 around it, the corners along the three grid lines through the
            seed, to half a start cell on each side, are asked too: a star. Seeds outside the box are left out.

    Raises:
        SurfaceError: an impossible box, threshold or seed; a field with wrong shape, type or non-finite values.
    """
    settings = settings or ExtractionSettings()
    batch = batch_of_one(field, settings.chunk_size)
    boxes = np.array([lower]), np.array([upper])
    return sample_grids_mise(batch, *boxes, threshold, settings, device, None if seeds is None else [seeds])[0]


def sample_grids_mise(
    field: BatchField,
    lower: ArrayLike,
    upper: ArrayLike,
    threshold: float,
    settings: ExtractionSettings | None = None,
    device: torch.device | str = "cpu",
    seeds: Sequence[ArrayLike] | None = None,
    scales: ArrayLike | None = None,
    pace: Pace | None = None,
    by_levels: bool | None = None,
) -> GridBatch:
    """`sample_grid_mise` for B objects side by side.

    Args:
        field: the fields of all objects, see `BatchField`.
        lower, upper: (B, 3), the boxes, in each object's own frame.
        threshold: level of all surfaces.
        settings: those of the grid, chunk_size and time_budget are used.
        device: where points are made and results stay.
        seeds: B lists of points, see `sample_grid_mise`.
        scales: (B,) metres per unit of the objects' frames, for `settings.voxel_size`; 1 when None.
        pace: what `settings.time_budget` is kept with; without one there is no budget.
        by_levels: approach the surface level by level, with few rounds of many questions, instead of following it with
            many rounds of few; for boxes of one resolution. None: as the device likes it.

    Raises:
        SurfaceError: impossible boxes, threshold or seeds; a field with wrong shape, type or non-finite values.
    """
    settings = settings or ExtractionSettings()
    low, high = checked_boxes(lower, upper)
    threshold = checked_threshold(threshold)
    edges = (high - low).max(axis=1) * (1.0 if scales is None else np.asarray(scales))
    start = StartGrid(field, low, high, threshold, settings.start_resolutions(edges), settings.chunk_size, device)
    doublings = settings.doublings
    if pace is not None and settings.time_budget:
        pace.guess(start.seconds / start.points_asked)
        doublings = pace.affordable_doublings(start.crossed_edges, doublings, settings.refinement_steps)
    if by_levels is None:
        by_levels = start.values.is_cuda
    tracker = (_LevelTracker if by_levels and start.lattice.alike else _SurfaceTracker)(start, doublings)
    tracker.approach()
    if seeds is not None:
        tracker.ask_seed_stars(seeds)
    return tracker.finish()


class _Tracker(ABC):
    """The working state of one extraction: flat lists over the corners of all final grids."""

    def __init__(self, start: StartGrid, doublings: int) -> None:
        self.start, self.stride = start, 1 << doublings
        self.lattice, self.start_numbers = _final_lattice(start.corners, doublings)
        lattice = self.lattice
        self.samples = torch.empty(lattice.size, dtype=torch.float32, device=lattice.device)
        self.sides = torch.full((lattice.size,), OUTSIDE, dtype=torch.uint8, device=lattice.device)
        self.grid = _operations(lattice, self.sides)(lattice, self.samples, self.sides)
        self.points_asked, self.rounds = 0, 0
        cubes = self.grid.cubes()
        boxes = enumerate(lattice.resolutions) if not start.lattice.alike else [(slice(None), lattice.resolutions[0])]
        for numbers, resolution in boxes:
            end = resolution + 2
            cubes[numbers, 1:end, 1:end, 1:end] = UNKNOWN
        if start.asked is None:
            self._learn(self.start_numbers, start.values)
        else:
            self._learn(self.start_numbers[start.asked], start.values[start.asked])

    def ask(self, corners: torch.Tensor) -> None:
        """Ask the field at corners (K,), all different, none of them known, those of an object side by side."""
        if not len(corners):
            return
        points, objects = self.grid.located(corners)
        self._learn(corners, evaluate_batch(self.start.field, points, objects, self.start.chunk_size))

    def _learn(self, corners: torch.Tensor, values: torch.Tensor) -> None:
        self.grid.learn(corners, values, self.start.threshold)
        self.points_asked += len(corners)
        self.rounds += 1

    def ask_seed_stars(self, seeds: Sequence[ArrayLike]) -> None:
        """Around one seed in each start cell that has all corners near it on one side; see `sample_grid_mise`."""
        lattice = self.lattice
        owners, places = self.start.lone_seeds(seeds, lattice)
        if not len(owners):
            return
        last = lattice.resolutions_there[owners]
        reach = torch.arange(-(self.stride // 2), self.stride // 2 + 1, device=lattice.device)
        star = (reach[:, None, None] * torch.from_numpy(AXIS_STEPS).to(reach)).flatten(0, 1)
        corners = torch.minimum((places[:, None] + star).clamp(min=0), last[:, None, None])
        numbers = lattice.numbers(owners.repeat_interleave(len(star)), corners.flatten(0, 1)).unique()
        self.ask(numbers[self.sides.take(numbers) == UNKNOWN])

    @abstractmethod
    def approach(self) -> None:
        """Ask what the start grid says about where the surface is."""

    @abstractmethod
    def finish(self) -> GridBatch:
        """Go on until no new cell is found to be crossed."""

    def _result(self, cells: torch.Tensor) -> GridBatch:
        """cells: (M,) int64, ascending."""
        return GridBatch(
            lattice=self.lattice,
            samples=self.samples,
            sides=self.sides,
            cells=cells,
            threshold=self.start.threshold,
            points_asked=self.points_asked,
            rounds=self.rounds,
            start=self.start.grids(),
        )


class _SurfaceTracker(_Tracker):
    """Follows the surface from crossed cell to crossed cell: what a CPU, which minds every point, is quickest with."""

    def __init__(self, start: StartGrid, doublings: int) -> None:
        super().__init__(start, doublings)
        # Corners asked whose edges have not been looked at. An edge of the final grid that starts at a start corner
        # leads out of the box, or to a corner between start corners.
        self.fresh = [self.start_numbers[start.corners.at_border] if doublings else self.start_numbers]

    def ask(self, corners: torch.Tensor) -> None:
        super().ask(corners)
        self.fresh.append(corners)

    def approach(self) -> None:
        """All final corners along the edges of the start grid whose ends lie on opposite sides."""
        rows, axes = self.start.crossed.nonzero(as_tuple=True)
        steps = self.lattice.offsets(AXIS_STEPS)[axes]
        between = torch.arange(1, self.stride, device=steps.device)
        self.ask((self.start_numbers[rows].unsqueeze(1) + steps.unsqueeze(1) * between).flatten())

    def finish(self) -> GridBatch:
        first = torch.cat([self.grid.newly_crossed(corners) for corners in self.fresh])
        cells = first.sort().values  # of three lists in turn; all later ones keep objects side by side
        tracked = []
        while len(cells):
            tracked.append(cells)
            self.fresh = []
            self.ask(self.grid.claimed_of(cells))
            cells = self.grid.newly_crossed(self.fresh[0])
        return self._result(torch.cat(tracked).sort().values if tracked else cells)


class _LevelTracker(_Tracker):
    """Halves the cells level by level, over whole grids at a time: a few operations a round for any number."""

    def approach(self) -> None:
        """All corners of the halves of crossed cells, then of their halves, down to the final grid."""
        stride = self.stride
        while stride > 1:
            self.ask(self.grid.halves(stride))
            stride //= 2

    def finish(self) -> GridBatch:
        corners = self.grid.open_corners(near=None)
        while len(corners):
            self.ask(corners)
            corners = self.grid.open_corners(near=corners)
        return self._result(self.grid.crossed_cells())


def _operations(lattice: Lattice, sides: torch.Tensor) -> type[GridOperations]:
    if sides.device.type == "cpu":
        return LoopedGridOperations
    return FusedGridOperations if FusedGridOperations.fit(lattice, sides) else GridOperations


@lru_cache(maxsize=8)
def _final_lattice(start: StartCorners, doublings: int) -> tuple[Lattice, torch.Tensor]:
    """The lattice of the final grids of start grids, and (N,) int64 the numbers of the start grids' corners in it."""
    coarse = start.lattice
    resolutions = [resolution << doublings for resolution in coarse.resolutions]
    lattice = Lattice(resolutions, coarse.lower, coarse.upper, coarse.device)
    return lattice, lattice.numbers(start.objects, start.coordinates << doublings)
