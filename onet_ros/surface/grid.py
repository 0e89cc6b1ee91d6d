"""Field values on regular grids: which corners were asked, which cells the surface crosses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from onet_ros.surface.field import Field, SurfaceError, evaluate_field
from onet_ros.surface.settings import ExtractionSettings

OUTSIDE, INSIDE, UNKNOWN = 0, 1, 2  # what is known of a corner
AXIS_STEPS = np.eye(3, dtype=np.int64)  # from a corner to its neighbours upwards along x, y and z


@dataclass(frozen=True, eq=False)
class GridField:
    """A field sampled at the corners of R^3 cells that fill an axis-aligned box.

    Outside the box everything counts as outside, so a surface that meets the border is closed there: the lattice
    goes on for one layer of cells, numbered -1 and R, whose outer corners are outside by definition.

    Attributes:
        samples: (R+1, R+1, R+1) float32, the field's values; undefined where not `asked`.
        asked: (R+1, R+1, R+1) bool, on the device of `samples`.
        crossed_cells: (M, 3) int64, lattice coordinates of the lower corners of all cells, border layer included,
            with corners on both sides; lexicographic order. All their corners inside the box are asked.
        lower, upper: (3,) float64, metres, the box.
        threshold: inside is where the value is above it.
        points_asked: how many values the field was asked for.
        rounds: how many times in a row the field had to be asked before the next points were known.
    """

    samples: torch.Tensor
    asked: torch.Tensor
    crossed_cells: torch.Tensor
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    threshold: float
    points_asked: int
    rounds: int

    @property
    def resolution(self) -> int:
        """Cells along an edge."""
        return self.samples.shape[0] - 1

    @property
    def voxel_size(self) -> NDArray[np.float64]:
        """(3,) metres, edge lengths of a cell."""
        return (self.upper - self.lower) / self.resolution

    @cached_property
    def values(self) -> torch.Tensor:
        """(R+1, R+1, R+1) float32: the samples, and where nothing was asked a value from the same side of the surface.

        A corner that was not asked belongs to no crossed cell, so it is on the side of its neighbours; each takes the
        value of the nearest corner before it (or after it) along z, then whole lines along y, then planes along x.
        Costs time and memory by the volume; extraction does not need it.
        """
        values, known = self.samples, self.asked
        for axis in (2, 1, 0):
            values, known = _fill_along(values, known, axis)
        return values

    @property
    def inside(self) -> torch.Tensor:
        """(R+1, R+1, R+1) bool, which corners are inside."""
        return self.values > self.threshold


def _fill_along(values: torch.Tensor, known: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Fill each line along `axis` from its known corners; lines without any stay unknown."""
    position = torch.arange(values.shape[axis], device=values.device)
    position = position.view([-1 if other == axis else 1 for other in range(3)])
    last = torch.where(known, position, -1).cummax(axis).values
    first = known.to(torch.uint8).argmax(axis, keepdim=True)
    values = values.gather(axis, torch.where(last >= 0, last, first))
    return values, known.any(axis, keepdim=True).expand_as(values)


class Lattice:
    """Numbers for the corners of B grids in one flat list, each with a layer of corners outside its box around it.

    All grids lie in cubes of W corners along an edge, W the largest resolution plus 3, in the corner at the origin of
    theirs. A cell has the number of its lower corner. `axes` is (B * 3 * W,) float32: x, y and z of each box's corners,
    rounded once from float64, metres.
    """

    def __init__(
        self,
        resolutions: Sequence[int],
        lower: NDArray[np.float64],
        upper: NDArray[np.float64],
        device: torch.device | str,
    ) -> None:
        """resolutions: (B,) cells along an edge; lower, upper: (B, 3) metres, the boxes."""
        self.resolutions, self.lower, self.upper = list(resolutions), lower, upper
        self.device = torch.device(device)
        self.width = max(self.resolutions) + 3
        self.steps = (self.width**2, self.width, 1)  # from one corner to the next along x, y, z
        self.size = len(self.resolutions) * self.width**3
        self.axes = self._axis_coordinates()
        self._offsets: dict[bytes, torch.Tensor] = {}

    @property
    def alike(self) -> bool:
        """Whether all grids have one resolution."""
        return len(set(self.resolutions)) == 1

    def _axis_coordinates(self) -> torch.Tensor:
        table = np.zeros((len(self.resolutions), 3, self.width), dtype=np.float32)
        for number, resolution in enumerate(self.resolutions):
            steps = np.arange(resolution + 1) / resolution
            lower, upper = self.lower[number], self.upper[number]
            table[number, :, : resolution + 1] = (lower + steps[:, None] * (upper - lower)).T
        return torch.from_numpy(table).flatten().to(self.device)

    def objects(self, flat: torch.Tensor) -> torch.Tensor:
        """(N,) int64, whose corners they are."""
        if len(self.resolutions) == 1:
            return torch.zeros_like(flat)
        return flat // self.width**3

    def coordinates(self, flat: torch.Tensor) -> torch.Tensor:
        """(N, 3) int64 lattice coordinates of flat numbers; -1 and R + 1 in the layer around."""
        plane = flat // self.width
        z = flat - plane * self.width
        row = plane // self.width
        y = plane - row * self.width
        x = row if len(self.resolutions) == 1 else row % self.width
        return torch.stack([x, y, z], dim=1) - 1

    def numbers(self, objects: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
        """Flat numbers of lattice coordinates (N, 3) int64 of objects (N,)."""
        x, y, z = (coordinates + 1).unbind(1)
        return ((objects * self.width + x) * self.width + y) * self.width + z

    def points(self, objects: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
        """(N, 3) float32 metres, the places of corners in their boxes."""
        rows = (3 * objects).unsqueeze(1) + torch.arange(3, device=self.device)
        return self.axes.take(rows * self.width + coordinates)

    def offsets(self, offsets: ArrayLike) -> torch.Tensor:
        """Flat differences of lattice offsets (K, 3); kept, because a copy to a GPU makes the host wait."""
        flat = np.asarray(offsets) @ np.array(self.steps)
        key = flat.tobytes()
        if key not in self._offsets:
            self._offsets[key] = torch.tensor(flat, device=self.device)
        return self._offsets[key]

    def voxel_sizes(self) -> NDArray[np.float64]:
        """(B, 3) metres, edge lengths of the cells."""
        return (self.upper - self.lower) / np.array(self.resolutions)[:, None]

    # The same on the lattice's device.

    @cached_property
    def resolutions_there(self) -> torch.Tensor:
        """(B,) int64."""
        return torch.tensor(self.resolutions, device=self.device)

    @cached_property
    def lower_there(self) -> torch.Tensor:
        """(B, 3) float64."""
        return torch.from_numpy(self.lower).to(self.device)

    @cached_property
    def voxel_sizes_there(self) -> torch.Tensor:
        """(B, 3) float64."""
        return torch.from_numpy(self.voxel_sizes()).to(self.device)

    @cached_property
    def object_starts(self) -> torch.Tensor:
        """(B + 1,) int64, the number of each object's first corner, and where the last one ends."""
        return torch.arange(len(self.resolutions) + 1, device=self.device) * self.width**3


@dataclass(frozen=True, eq=False)
class GridBatch:
    """The fields of B objects, each sampled on its own grid; `GridField` explains, `batch[i]` is one of them.

    Attributes:
        lattice: numbers all corners.
        samples: (lattice.size,) float32, undefined where nothing was asked.
        sides: (lattice.size,) uint8, OUTSIDE, INSIDE or UNKNOWN.
        cells: (M,) int64, ascending, numbers of the crossed cells.
        threshold: inside is where the value is above it.
        points_asked: how many values were asked for, of all objects together.
        rounds: how many times in a row.
        start: the coarse grids that these were refined from, asked at every corner; None where there were none.
        made_up: (lattice.size,) bool, corners whose samples are not what the field has there; None for none.
    """

    lattice: Lattice
    samples: torch.Tensor
    sides: torch.Tensor
    cells: torch.Tensor
    threshold: float
    points_asked: int
    rounds: int
    start: GridBatch | None = None
    made_up: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.lattice.resolutions)

    def __getitem__(self, number: int) -> GridField:
        lattice = self.lattice
        own = self.cells[lattice.objects(self.cells) == number]
        asked = self.box(self.sides, number) != UNKNOWN
        return GridField(
            samples=self.box(self.samples, number).contiguous(),
            asked=asked,
            crossed_cells=lattice.coordinates(own),
            lower=lattice.lower[number],
            upper=lattice.upper[number],
            threshold=self.threshold,
            points_asked=int(asked.sum()),
            rounds=self.rounds,
        )

    def box(self, flat: torch.Tensor, number: int) -> torch.Tensor:
        """(R+1, R+1, R+1) view of a flat list of all corners: those in an object's box."""
        end = self.lattice.resolutions[number] + 2
        return flat.view(-1, *(3 * [self.lattice.width]))[number, 1:end, 1:end, 1:end]

    @classmethod
    def of(cls, grid: GridField) -> GridBatch:
        """The batch that holds this grid and nothing else."""
        lattice = Lattice([grid.resolution], grid.lower[None], grid.upper[None], grid.samples.device)
        sides = torch.where(grid.asked, (grid.samples > grid.threshold).to(torch.uint8), UNKNOWN)
        return cls(
            lattice=lattice,
            samples=torch.nn.functional.pad(grid.samples, [1] * 6).flatten(),
            sides=torch.nn.functional.pad(sides, [1] * 6, value=OUTSIDE).flatten(),
            cells=lattice.numbers(torch.zeros_like(grid.crossed_cells[:, 0]), grid.crossed_cells),
            threshold=grid.threshold,
            points_asked=grid.points_asked,
            rounds=grid.rounds,
        )


def sample_grid_dense(
    field: Field,
    lower: ArrayLike,
    upper: ArrayLike,
    threshold: float,
    settings: ExtractionSettings | None = None,
    device: torch.device | str = "cpu",
) -> GridField:
    """The field at every corner of the final grid: what `sample_grid_mise` is measured against.

    Arguments, result and errors are those of `sample_grid_mise`.
    """
    settings = settings or ExtractionSettings()
    low, high = checked_boxes(np.array([lower]), np.array([upper]))
    threshold = checked_threshold(threshold)
    lattice = Lattice([settings.resolution], low, high, device)
    along = torch.arange(settings.resolution + 1, device=lattice.device)
    coordinates = torch.cartesian_prod(along, along, along)
    points = lattice.points(torch.zeros_like(coordinates[:, 0]), coordinates)
    samples = evaluate_field(field, points, settings.chunk_size).view(3 * [settings.resolution + 1])
    return GridField(
        samples=samples,
        asked=torch.ones_like(samples, dtype=torch.bool),
        crossed_cells=_crossed_cells(samples > threshold),
        lower=low[0],
        upper=high[0],
        threshold=threshold,
        points_asked=len(points),
        rounds=1,
    )


def _crossed_cells(inside: torch.Tensor) -> torch.Tensor:
    """(M, 3) int64 cells with corners on both sides, the layer beyond the border included; see `GridField`."""
    return mixed_cells(torch.nn.functional.pad(inside, [1] * 6)) - 1


def mixed_cells(inside: torch.Tensor) -> torch.Tensor:
    """(..., W, W, W) bool at the corners of grids -> (M, ... + 3) int64 indices of the lower corners of all cells with
    corners on both sides."""
    return mixed_cell_mask(inside).nonzero()


def mixed_cell_mask(inside: torch.Tensor) -> torch.Tensor:
    """(..., W, W, W) bool at the corners of grids -> (..., W - 1, W - 1, W - 1) bool: the cells with both."""
    return any_corner(inside) & any_corner(~inside)


def any_corner(corners: torch.Tensor) -> torch.Tensor:
    """(..., W, W, W) bool at the corners of grids -> (..., W - 1, W - 1, W - 1) bool: cells with a True corner."""
    for axis in (-3, -2, -1):
        count = corners.shape[axis] - 1
        corners = corners.narrow(axis, 0, count) | corners.narrow(axis, 1, count)
    return corners


def corners_of_cells(cells: torch.Tensor) -> torch.Tensor:
    """(..., W, W, W) bool cells of grids -> (..., W + 1, W + 1, W + 1) bool: corners of True cells."""
    return any_corner(torch.nn.functional.pad(cells, [1] * 6))


def halved(cells: torch.Tensor) -> torch.Tensor:
    """(B, n, n, n) bool cells -> (B, 2 n + 1, 2 n + 1, 2 n + 1) bool: the corners of their eighths."""
    for axis in (1, 2, 3):
        padding = [0] * 6
        padding[2 * (3 - axis)] = padding[2 * (3 - axis) + 1] = 1
        framed = torch.nn.functional.pad(cells, padding)
        count = cells.shape[axis]
        between = framed.narrow(axis, 0, count + 1) | framed.narrow(axis, 1, count + 1)
        woven = torch.stack([between, framed.narrow(axis, 1, count + 1)], dim=axis + 1)
        cells = woven.flatten(axis, axis + 1).narrow(axis, 0, 2 * count + 1)
    return cells


def checked_boxes(lower: ArrayLike, upper: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes as two (B, 3) float64 arrays, metres.

    Raises:
        SurfaceError: boxes that mean nothing.
    """
    low, high = np.array(lower, dtype=np.float64), np.array(upper, dtype=np.float64)
    if low.ndim != 2 or low.shape[1] != 3 or low.shape != high.shape or not len(low):
        raise SurfaceError(f"lower and upper must have shape (3,), got {low.shape[1:]} and {high.shape[1:]}")
    usable = np.isfinite(low).all(axis=1) & np.isfinite(high).all(axis=1) & (low < high).all(axis=1)
    if not usable.all():
        first = int(np.argmin(usable))
        raise SurfaceError(f"lower must be below upper, got {low[first].tolist()} and {high[first].tolist()}")
    return low, high


def checked_threshold(threshold: float) -> float:
    """The threshold at the precision of the values it is compared to.

    Raises:
        SurfaceError: it is not finite.
    """
    if not np.isfinite(threshold):
        raise SurfaceError(f"threshold must be finite, got {threshold!r}")
    return float(np.float32(threshold))
