"""Field values on a regular grid: which corners were asked, which cells the surface crosses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from onet_ros.surface.field import Field, SurfaceError, evaluate_field
from onet_ros.surface.settings import ExtractionSettings


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
    lower, upper, threshold = checked_box(lower, upper, threshold)
    resolution = settings.resolution
    axes = axis_coordinates(lower, upper, resolution, device)
    points = torch.cartesian_prod(*axes)
    samples = evaluate_field(field, points, settings.chunk_size).view(3 * [resolution + 1])
    return GridField(
        samples=samples,
        asked=torch.ones_like(samples, dtype=torch.bool),
        crossed_cells=_crossed_cells(samples > threshold),
        lower=lower,
        upper=upper,
        threshold=threshold,
        points_asked=len(points),
        rounds=1,
    )


def _crossed_cells(inside: torch.Tensor) -> torch.Tensor:
    """(M, 3) int64 cells with corners on both sides, the layer beyond the border included; see `GridField`."""
    some = torch.nn.functional.pad(inside, [1] * 6)
    every = some
    for axis in range(3):
        count = some.shape[axis] - 1
        some = some.narrow(axis, 0, count) | some.narrow(axis, 1, count)
        every = every.narrow(axis, 0, count) & every.narrow(axis, 1, count)
    return (some & ~every).nonzero() - 1


def axis_coordinates(
    lower: NDArray[np.float64], upper: NDArray[np.float64], resolution: int, device: torch.device | str
) -> list[torch.Tensor]:
    """Three (R+1,) float32 tensors: x, y and z of the grid's corners, rounded once from float64, metres."""
    steps = np.arange(resolution + 1) / resolution
    table = lower + steps[:, None] * (upper - lower)
    return list(torch.from_numpy(table.astype(np.float32).T.copy()).to(device))


def checked_box(
    lower: ArrayLike, upper: ArrayLike, threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """The box as two (3,) float64 arrays, metres, and the threshold at the precision of the values it is compared to.

    Raises:
        SurfaceError: a box or threshold that means nothing.
    """
    low, high = np.array(lower, dtype=np.float64), np.array(upper, dtype=np.float64)
    if low.shape != (3,) or high.shape != (3,):
        raise SurfaceError(f"lower and upper must have shape (3,), got {low.shape} and {high.shape}")
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise SurfaceError(f"lower must be below upper, got {low.tolist()} and {high.tolist()}")
    if not np.isfinite(threshold):
        raise SurfaceError(f"threshold must be finite, got {threshold!r}")
    return low, high, float(np.float32(threshold))
