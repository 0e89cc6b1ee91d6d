"""Multiresolution IsoSurface Extraction: fine grids of fields for the price of their surfaces.

After Mescheder et al., Occupancy Networks (CVPR 2019), section 3.3, with one change. The paper subdivides every cell
whose corners lie on both sides and asks all new corners, level by level. Here the start grid only has to find the
surface; from there it is followed on the final grid, from one crossed cell to the next (surface tracking: Wyvill et
al., Data structure for soft objects, 1986), so that nearly all values asked are corners of crossed cells.

The fields of many objects are followed side by side, so that each round asks one question for all of them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from onet_ros.surface.field import BatchField, Field, SurfaceError, batch_of_one, evaluate_batch
from onet_ros.surface.grid import (
    INSIDE,
    OUTSIDE,
    UNKNOWN,
    GridBatch,
    GridField,
    Lattice,
    checked_boxes,
    checked_threshold,
)
from onet_ros.surface.pace import Pace
from onet_ros.surface.settings import ExtractionSettings

CLAIMED = 4  # a corner that is about to be asked; OUTSIDE + INSIDE stays the only pair of states that adds up to 1
UNTRACKED, TRACKED = 0, 1  # state of a cell

_AXIS_STEPS = np.eye(3, dtype=np.int64)
_CUBE = np.array(list(itertools.product((0, 1), repeat=3)))  # corners of a cell, from its lower corner


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

    Raises:
        SurfaceError: impossible boxes, threshold or seeds; a field with wrong shape, type or non-finite values.
    """
    settings = settings or ExtractionSettings()
    low, high = checked_boxes(lower, upper)
    threshold = checked_threshold(threshold)
    edges = (high - low).max(axis=1) * (1.0 if scales is None else np.asarray(scales))
    start = _StartGrid(field, low, high, threshold, settings.start_resolutions(edges), settings.chunk_size, device)
    doublings = settings.doublings
    if pace is not None and settings.time_budget:
        pace.guess(start.seconds / len(start.values))
        doublings = pace.affordable_doublings(start.crossed_edges, doublings, settings.refinement_steps)
    tracker = _SurfaceTracker(start, doublings)
    tracker.ask_crossed_start_edges()
    if seeds is not None:
        tracker.ask_seed_stars(*_checked_seeds(seeds, len(low)))
    tracker.follow_surface()
    return tracker.result()


def _checked_seeds(seeds: Sequence[ArrayLike], count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All seeds (S, 3), and the object of each (S,)."""
    arrays = [np.asarray(array, dtype=np.float64) for array in seeds]
    if len(arrays) != count:
        raise SurfaceError(f"seeds must be one list for each of {count} objects, got {len(arrays)}")
    for array in arrays:
        if array.ndim != 2 or array.shape[1] != 3:
            raise SurfaceError(f"seeds must have shape (S, 3), got {array.shape}")
        if not np.isfinite(array).all():
            raise SurfaceError(f"seeds must be finite, got {array[~np.isfinite(array).all(axis=1)][0].tolist()}")
    return np.concatenate(arrays), np.repeat(np.arange(count), [len(array) for array in arrays])


class _StartGrid:
    """The coarse grids of all objects, asked everywhere.

    Attributes:
        objects: (N,) int64, whose corner each is; side by side.
        coordinates: (N, 3) int64, in cells of the start grid.
        values: (N,) float32.
        seconds: what asking took.
        crossed_edges: how many edges have their ends on opposite sides.
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
        self.lattice = Lattice(resolutions, lower, upper, device)
        along = [torch.arange(resolution + 1, device=self.lattice.device) for resolution in resolutions]
        corners = [torch.cartesian_prod(line, line, line) for line in along]
        self.coordinates = torch.cat(corners)
        counts = torch.tensor([len(own) for own in corners], device=self.lattice.device)
        self.objects = torch.arange(len(corners), device=self.lattice.device).repeat_interleave(counts)
        points = self.lattice.points(self.objects, self.coordinates)
        began = time.perf_counter()
        self.values = evaluate_batch(field, points, self.objects, chunk_size)
        self.seconds = time.perf_counter() - began
        self.inside = self.values > threshold
        self._limits = torch.tensor(resolutions, device=self.lattice.device)

        sides = torch.zeros(self.lattice.size, dtype=torch.bool, device=self.lattice.device)
        numbers = self.lattice.numbers(self.objects, self.coordinates)
        sides[numbers] = self.inside
        across = sides.take(numbers.unsqueeze(1) + self.lattice.offsets(_AXIS_STEPS))
        # (N, 3) bool: the edges that leave a corner upwards along x, y and z and have their other end in the box
        self.crossed = (across != self.inside.unsqueeze(1)) & (self.coordinates < self.limits.unsqueeze(1))
        self.crossed_edges = int(self.crossed.sum())

    @property
    def limits(self) -> torch.Tensor:
        """(N,) int64, start cells along an edge of each corner's own grid."""
        return self._limits[self.objects]


class _SurfaceTracker:
    """The working state of one extraction: flat lists over the corners of all final grids."""

    def __init__(self, start: _StartGrid, doublings: int) -> None:
        self.start, self.stride = start, 1 << doublings
        coarse = start.lattice
        resolutions = [resolution << doublings for resolution in coarse.resolutions]
        self.lattice = Lattice(resolutions, coarse.lower, coarse.upper, coarse.device)
        size, device = self.lattice.size, self.lattice.device
        self.samples = torch.empty(size, dtype=torch.float32, device=device)
        self.sides = torch.full((size,), OUTSIDE, dtype=torch.uint8, device=device)
        self.tracked = torch.full((size,), UNTRACKED, dtype=torch.uint8, device=device)
        self.last = torch.empty(size, dtype=torch.int32, device=device)  # see _claim
        self.cells: list[torch.Tensor] = []
        self.fresh: list[torch.Tensor] = []  # corners asked whose edges have not been looked at
        self.points_asked, self.rounds = 0, 0
        boxes = self.sides.view(-1, *(3 * [self.lattice.width]))
        for number, resolution in enumerate(resolutions):
            end = resolution + 2
            boxes[number, 1:end, 1:end, 1:end] = UNKNOWN

        self.start_numbers = self.lattice.numbers(start.objects, start.coordinates * self.stride)
        self._learn(self.start_numbers, start.values)
        # An edge of the final grid that starts here leads out of the box, or to a corner between start corners.
        at_border = (start.coordinates == 0) | (start.coordinates == start.limits.unsqueeze(1))
        self.fresh = [self.start_numbers[at_border.any(dim=1)] if doublings else self.start_numbers]

    def ask(self, corners: torch.Tensor) -> None:
        """Ask the field at corners (K,), all different, none of them known, those of an object side by side."""
        if not len(corners):
            return
        objects = self.lattice.objects(corners)
        points = self.lattice.points(objects, self.lattice.coordinates(corners))
        self._learn(corners, evaluate_batch(self.start.field, points, objects, self.start.chunk_size))
        self.fresh.append(corners)

    def _learn(self, corners: torch.Tensor, values: torch.Tensor) -> None:
        self.samples[corners] = values
        self.sides[corners] = (values > self.start.threshold).to(torch.uint8)
        self.points_asked += len(corners)
        self.rounds += 1

    def ask_crossed_start_edges(self) -> None:
        """All final corners along the edges of the start grid whose ends lie on opposite sides."""
        rows, axes = self.start.crossed.nonzero(as_tuple=True)
        steps = self.lattice.offsets(_AXIS_STEPS)[axes]
        between = torch.arange(1, self.stride, device=steps.device)
        self.ask((self.start_numbers[rows].unsqueeze(1) + steps.unsqueeze(1) * between).flatten())

    def ask_seed_stars(self, seeds: NDArray[np.float64], objects: NDArray[np.int64]) -> None:
        """Around one seed in each start cell that has all corners near it on one side; see `sample_grid_mise`."""
        lattice, stride = self.lattice, self.stride
        owners, places = self._one_seed_per_start_cell(seeds, objects)
        if not len(owners):
            return
        resolutions = torch.tensor(lattice.resolutions, device=lattice.device)
        limits = resolutions[owners].unsqueeze(1)
        # The 64 corners of a start cell and those around it; numbers go with the object and come first.
        cells = torch.minimum(places // stride, limits // stride - 1)
        nearby = (cells.unsqueeze(2) + torch.arange(-1, 3, device=lattice.device)).clamp(min=0)
        x, y, z = (torch.minimum(nearby, (limits // stride).unsqueeze(2)) * stride + 1).unbind(1)
        flat = ((owners * lattice.width)[:, None] + x) * lattice.width
        flat = (flat[:, :, None] + y[:, None, :]).flatten(1) * lattice.width
        sides = self.sides.take((flat[:, :, None] + z[:, None, :]).flatten(1))
        alone = (sides == sides[:, :1]).all(dim=1)

        reach = torch.arange(-(stride // 2), stride // 2 + 1, device=lattice.device)
        star = (reach[:, None, None] * torch.from_numpy(_AXIS_STEPS).to(reach)).flatten(0, 1)
        corners = torch.minimum((places[alone, None] + star).clamp(min=0), limits[alone, None])
        numbers = lattice.numbers(owners[alone].repeat_interleave(len(star)), corners.flatten(0, 1)).unique()
        self.ask(numbers[self.sides.take(numbers) == UNKNOWN])

    def _one_seed_per_start_cell(
        self, seeds: NDArray[np.float64], objects: NDArray[np.int64]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of those in their boxes: (K,) int64 objects and (K, 3) int64 nearest corners of the final grid."""
        lattice, stride = self.lattice, self.stride
        lower, upper = lattice.lower[objects], lattice.upper[objects]
        in_box = ((seeds >= lower) & (seeds <= upper)).all(axis=1)
        seeds, objects, lower, upper = seeds[in_box], objects[in_box], lower[in_box], upper[in_box]
        limits = np.array(lattice.resolutions)[objects, None]
        places = np.rint((seeds - lower) / (upper - lower) * limits).astype(np.int64)
        cells = np.minimum(places // stride, limits // stride - 1)
        names = np.ravel_multi_index((objects, *cells.T), (len(lattice.resolutions), *(3 * [limits.max(initial=1)])))
        _, chosen = np.unique(names, return_index=True)
        owners, corners = (torch.from_numpy(array[chosen]).to(lattice.device) for array in (objects, places))
        return owners, corners

    def follow_surface(self) -> None:
        """Track crossed cells until they close."""
        first = torch.cat([self._track_cells_at(corners) for corners in self.fresh])
        cells = first.sort().values  # of three lists in turn; all later ones keep objects side by side
        corners_of_cell = self.lattice.offsets(_CUBE)
        while len(cells):
            self.cells.append(cells)
            self.fresh = []
            self.ask(self._claim(self.sides, (cells.unsqueeze(1) + corners_of_cell).flatten(), UNKNOWN, CLAIMED))
            cells = self._track_cells_at(self.fresh[0]) if self.fresh else cells[:0]

    def _track_cells_at(self, corners: torch.Tensor) -> torch.Tensor:
        """Mark the cells around those edges of the corners whose ends lie on opposite sides; return the new ones."""
        others = corners.unsqueeze(1) + self.lattice.offsets(_EDGES)
        crossed = self.sides.take(corners).unsqueeze(1) + self.sides.take(others) == OUTSIDE + INSIDE
        rows, edges = crossed.nonzero(as_tuple=True)
        cells_of_edge = self.lattice.offsets(_CELLS_OF_EDGE.reshape(-1, 3)).view(6, 4)
        cells = corners[rows].unsqueeze(1) + cells_of_edge[edges]
        return self._claim(self.tracked, cells.flatten(), UNTRACKED, TRACKED)

    def _claim(self, states: torch.Tensor, candidates: torch.Tensor, free: int, claimed: int) -> torch.Tensor:
        """The candidates that are `free`, each once, in their order; they are `claimed` afterwards.

        Duplicates are told apart without sorting: each writes its row where it points to, and the last to write stays.
        """
        candidates = candidates[states.take(candidates) == free]
        rows = torch.arange(len(candidates), dtype=torch.int32, device=candidates.device)
        self.last.scatter_(0, candidates, rows)
        found = candidates[self.last.take(candidates) == rows]
        if found.is_cuda:  # where any of several writers may have been the last
            found = found.sort().values
        states[found] = claimed
        return found

    def result(self) -> GridBatch:
        return GridBatch(
            lattice=self.lattice,
            samples=self.samples,
            sides=self.sides,
            cells=torch.cat(self.cells).sort().values if self.cells else self.start_numbers[:0],
            threshold=self.start.threshold,
            points_asked=self.points_asked,
            rounds=self.rounds,
        )


def _edges_and_their_cells() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(6, 3) the six neighbours of a corner, (6, 4, 3) the four cells around the edge to each; all as offsets."""
    edges, cells = [], []
    for axis, direction in itertools.product(range(3), (1, -1)):
        edges.append(direction * _AXIS_STEPS[axis])
        lower_end = np.minimum(edges[-1], 0)
        aside = [_AXIS_STEPS[other] for other in range(3) if other != axis]
        cells.append([lower_end - i * aside[0] - j * aside[1] for i, j in itertools.product((0, 1), repeat=2)])
    return np.array(edges), np.array(cells)


_EDGES, _CELLS_OF_EDGE = _edges_and_their_cells()
