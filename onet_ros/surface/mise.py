"""Multiresolution IsoSurface Extraction: a fine grid of a field for the price of its surface.

After Mescheder et al., Occupancy Networks (CVPR 2019), section 3.3, with one change. The paper subdivides every cell
whose corners lie on both sides and asks all new corners, level by level. Here the start grid only has to find the
surface; from there it is followed on the final grid, from one crossed cell to the next (surface tracking: Wyvill et
al., Data structure for soft objects, 1986), so that nearly all values asked are corners of crossed cells.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from onet_ros.surface.field import Field, SurfaceError, evaluate_field
from onet_ros.surface.grid import GridField, axis_coordinates, checked_box
from onet_ros.surface.settings import ExtractionSettings

# State of a grid corner. OUTSIDE + INSIDE is the only pair that adds up to 1: the test for a crossed edge.
OUTSIDE, INSIDE, UNKNOWN, CLAIMED = 0, 1, 2, 3
UNTRACKED, TRACKED = 0, 1  # state of a cell


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
        settings: start_resolution, doublings and chunk_size are used.
        device: where points are made and results stay.
        seeds: (S, 3) metres, points known to lie near the surface (what the camera saw). Where the start grid sees
            nothing in a seed's start cell and the 26 around it, the corners along the three grid lines through the
            seed, to half a start cell on each side, are asked too: a star. Seeds outside the box are left out.

    Raises:
        SurfaceError: an impossible box, threshold or seed; a field with wrong shape, type or non-finite values.
    """
    settings = settings or ExtractionSettings()
    lower, upper, threshold = checked_box(lower, upper, threshold)
    tracker = _SurfaceTracker(field, lower, upper, threshold, settings, device)
    tracker.ask_start_grid()
    tracker.ask_crossed_start_edges()
    if seeds is not None:
        tracker.ask_seed_stars(_checked_seeds(seeds))
    tracker.follow_surface()
    return tracker.result()


def _checked_seeds(seeds: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(seeds, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 3:
        raise SurfaceError(f"seeds must have shape (S, 3), got {array.shape}")
    if not np.isfinite(array).all():
        raise SurfaceError(f"seeds must be finite, got {array[~np.isfinite(array).all(axis=1)][0].tolist()}")
    return array


class _SurfaceTracker:
    """The working state of one extraction: flat arrays over the final grid's corners and one layer of outside around.

    Corners and cells are named by their flat index in the padded grid; a cell has the index of its lower corner.
    """

    def __init__(
        self,
        field: Field,
        lower: NDArray[np.float64],
        upper: NDArray[np.float64],
        threshold: float,
        settings: ExtractionSettings,
        device: torch.device | str,
    ) -> None:
        self.field, self.lower, self.upper, self.threshold = field, lower, upper, threshold
        self.chunk_size = settings.chunk_size
        self.resolution, self.stride = settings.resolution, 1 << settings.doublings
        self.axes = axis_coordinates(lower, upper, self.resolution, device)
        width = self.resolution + 3
        self.width, self.steps = width, (width * width, width, 1)
        self.samples = torch.empty(width**3, dtype=torch.float32, device=device)
        self.state = torch.full((width**3,), OUTSIDE, dtype=torch.uint8, device=device)
        self.box(self.state).fill_(UNKNOWN)
        self.tracked = torch.full((width**3,), UNTRACKED, dtype=torch.uint8, device=device)
        self.cells: list[torch.Tensor] = []
        self.fresh: list[torch.Tensor] = []  # corners asked whose edges have not been looked at
        self.points_asked = self.rounds = 0

    def box(self, flat: torch.Tensor) -> torch.Tensor:
        """(R+1, R+1, R+1) view of a flat array, without the layer around."""
        return flat.view(3 * [self.width])[1:-1, 1:-1, 1:-1]

    def ask(self, corners: torch.Tensor) -> None:
        """Ask the field at corners (K,), all different and none of them known."""
        if not len(corners):
            return
        coordinates = self._coordinates(corners)
        points = torch.stack([axis[coordinate] for axis, coordinate in zip(self.axes, coordinates, strict=True)], dim=1)
        values = evaluate_field(self.field, points, self.chunk_size)
        self.samples[corners] = values
        self.state[corners] = (values > self.threshold).to(torch.uint8)
        self.fresh.append(corners)
        self.points_asked += len(corners)
        self.rounds += 1

    def _coordinates(self, flat: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """x, y and z index in the box of flat indices; -1 and R + 1 in the layer around."""
        plane, z = flat // self.width, flat % self.width
        return plane // self.width - 1, plane % self.width - 1, z - 1

    def _start_corners(self) -> torch.Tensor:
        """(R0+1, R0+1, R0+1) int64 flat indices of the start grid's corners."""
        along = torch.arange(0, self.resolution + 1, self.stride, device=self.state.device) + 1
        x, y, z = (along * step for step in self.steps)
        return x[:, None, None] + y[None, :, None] + z[None, None, :]

    def ask_start_grid(self) -> None:
        self.ask(self._start_corners().flatten())

    def ask_crossed_start_edges(self) -> None:
        """All final corners along the edges of the start grid whose ends lie on opposite sides."""
        corners = self._start_corners()
        inside = self.state.take(corners)
        between = torch.arange(1, self.stride, device=corners.device)
        found = []
        for axis, step in enumerate(self.steps):
            count = corners.shape[axis] - 1
            crossed = inside.narrow(axis, 0, count) != inside.narrow(axis, 1, count)
            found.append((corners.narrow(axis, 0, count)[crossed][:, None] + between * step).flatten())
        self.ask(torch.cat(found))

    def ask_seed_stars(self, seeds: NDArray[np.float64]) -> None:
        """Around one seed in each start cell that has all corners near it on one side; see `sample_grid_mise`."""
        seeds = seeds[((seeds >= self.lower) & (seeds <= self.upper)).all(axis=1)]
        coordinates = np.rint((seeds - self.lower) / (self.upper - self.lower) * self.resolution).astype(np.int64)
        start_cells = np.minimum(coordinates // self.stride, self.resolution // self.stride - 1)
        _, chosen = np.unique(start_cells, axis=0, return_index=True)
        start_cells, coordinates = start_cells[chosen], coordinates[chosen]

        start_inside = self.state.take(self._start_corners()).cpu().numpy()
        offsets = np.array(list(itertools.product(range(-1, 3), repeat=3)))
        nearby = np.clip(start_cells[:, None] + offsets, 0, len(start_inside) - 1)
        sides = start_inside[tuple(np.moveaxis(nearby, -1, 0))]
        coordinates = coordinates[(sides == sides[:, :1]).all(axis=1)]

        reach = np.arange(-(self.stride // 2), self.stride // 2 + 1)
        star = (reach[:, None, None] * np.eye(3, dtype=np.int64)).reshape(-1, 3)
        corners = np.clip(coordinates[:, None] + star, 0, self.resolution).reshape(-1, 3) + 1
        flat = torch.from_numpy(np.unique(corners @ np.array(self.steps))).to(self.state.device)
        self.ask(flat[self.state.take(flat) == UNKNOWN])

    def follow_surface(self) -> None:
        """Track crossed cells until they close."""
        corners_of_cell = self._offsets([range(2)] * 3)
        while self.fresh:
            cells = self._track_cells_at(torch.cat(self.fresh))
            self.fresh = []
            self.cells.append(cells)
            self.ask(_claim(self.state, cells, corners_of_cell, UNKNOWN, CLAIMED))

    def _track_cells_at(self, corners: torch.Tensor) -> torch.Tensor:
        """Mark the cells around those edges of the corners whose ends lie on opposite sides; return the new ones."""
        state = self.state.take(corners)
        found = []
        for axis, step in enumerate(self.steps):
            cells_of_edge = self._offsets([range(1) if other == axis else range(-1, 1) for other in range(3)])
            for shift in (0, -step):
                lower_ends = corners + shift
                other_state = self.state.take(lower_ends if shift else corners + step)
                crossed = lower_ends[state + other_state == 1]
                found.append(_claim(self.tracked, crossed, cells_of_edge, UNTRACKED, TRACKED))
        return torch.cat(found)

    def _offsets(self, ranges: list[range]) -> list[int]:
        """Flat index offsets of all combinations of x, y and z offsets."""
        return [sum(o * step for o, step in zip(xyz, self.steps, strict=True)) for xyz in itertools.product(*ranges)]

    def result(self) -> GridField:
        cells = torch.cat(self.cells).sort().values
        return GridField(
            samples=self.box(self.samples).contiguous(),
            asked=self.box(self.state) != UNKNOWN,
            crossed_cells=torch.stack(self._coordinates(cells), dim=1),
            lower=self.lower,
            upper=self.upper,
            threshold=self.threshold,
            points_asked=self.points_asked,
            rounds=self.rounds,
        )


def _claim(states: torch.Tensor, origins: torch.Tensor, offsets: list[int], free: int, claimed: int) -> torch.Tensor:
    """Indices origin + offset that are `free`, each once; they are `claimed` afterwards. Origins must all differ.

    One offset after the other, so that no list of candidates ever holds an index twice and none has to be sorted.
    """
    found = []
    for offset in offsets:
        candidates = origins + offset
        candidates = candidates[states.take(candidates) == free]
        states[candidates] = claimed
        found.append(candidates)
    return torch.cat(found)
