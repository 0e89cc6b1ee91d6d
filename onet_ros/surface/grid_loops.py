"""What `GridOperations` does, as compiled loops over corners and cells: on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onet_ros.cpu_kernels import compiled
from onet_ros.surface.grid import INSIDE, OUTSIDE, UNKNOWN, Lattice
from onet_ros.surface.grid_operations import CLAIMED, GridOperations

Integers = NDArray[np.int64]
States = NDArray[np.uint8]


class LoopedGridOperations(GridOperations):
    """The same results, lists in the order in which they are found."""

    def located(self, corners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        points, objects = torch.empty(len(corners), 3), torch.empty_like(corners)
        arrays = corners.numpy(), self.lattice.axes.numpy(), self.lattice.width
        _locate(*arrays, points.numpy(), objects.numpy())
        return points, objects

    def learn(self, corners: torch.Tensor, values: torch.Tensor, threshold: float) -> None:
        _learn(corners.numpy(), values.numpy(), self.samples.numpy(), self.sides.numpy(), threshold)

    def newly_crossed(self, corners: torch.Tensor) -> torch.Tensor:
        steps = np.array(self.lattice.steps)
        return torch.from_numpy(_newly_crossed(corners.numpy(), self.sides.numpy(), self.tracked.numpy(), steps))

    def claimed_of(self, cells: torch.Tensor) -> torch.Tensor:
        return claimed_of(cells, self.sides, self.lattice.width, UNKNOWN, CLAIMED)


def maybe_lone(table: torch.Tensor, lattice: Lattice, start: Lattice, start_sides: torch.Tensor) -> torch.Tensor:
    """`grid_kernels.maybe_lone`, for grids of any resolutions."""
    lone = np.empty(len(table), dtype=np.bool_)
    boxes = lattice.lower, lattice.voxel_sizes(), np.array(lattice.resolutions), np.array(start.resolutions)
    _look_around(table.numpy(), boxes, start_sides.numpy(), start.width, lone)
    return torch.from_numpy(lone)


def claimed_of(cells: torch.Tensor, states: torch.Tensor, width: int, before: int, after: int) -> torch.Tensor:
    """(K,) int64 corners of cells (M,) that are in a state; they are in another one from now on.

    Args:
        states: (N,) of all corners; width: of their cubes.
    """
    return torch.from_numpy(_claimed_of(cells.numpy(), states.numpy(), width, before, after))


def crossed_edges(numbers: torch.Tensor, upward: torch.Tensor, sides: torch.Tensor, lattice: Lattice) -> torch.Tensor:
    """(N, 3) bool, of the edges that leave corners (N,) upwards those whose ends lie on opposite sides."""
    crossed = np.empty((len(numbers), 3), dtype=np.bool_)
    _look_up(numbers.numpy(), upward.numpy(), sides.numpy(), np.array(lattice.steps), crossed)
    return torch.from_numpy(crossed)


@compiled
def _look_around(
    table: NDArray[np.float64], boxes: tuple[Any, ...], sides: States, width: int, lone: NDArray[np.bool_]
) -> None:
    lower, voxel_sizes, resolutions, start_resolutions = boxes
    cells = np.empty(3, np.int64)
    for row in range(len(table)):
        owner = int(table[row, 0])
        resolution, last = resolutions[owner], start_resolutions[owner]
        lone[row] = True
        for axis in range(3):
            place = (table[row, 1 + axis] - lower[owner, axis]) / voxel_sizes[owner, axis]
            if not 0.0 <= place <= resolution:
                lone[row] = False
                break
            cells[axis] = min(int(place + 0.5) // (resolution // last), last - 1)
        if not lone[row]:
            continue
        # All corners of the cell and of the 26 around it, in which the layer outside the box counts as the last.
        lone[row] = _alike(sides, owner * width**3, cells, width, last + 3)


@compiled
def _alike(sides: States, first: int, cells: Integers, width: int, end: int) -> bool:
    """Whether 64 corners from these cells on are on one side."""
    x, y, z = cells
    side = sides[first + (x * width + y) * width + z]
    for i in range(x, min(x + 4, end)):
        for j in range(y, min(y + 4, end)):
            for k in range(z, min(z + 4, end)):
                if sides[first + (i * width + j) * width + k] != side:
                    return False
    return True


@compiled
def _look_up(
    numbers: Integers, upward: NDArray[np.bool_], sides: States, steps: Integers, crossed: NDArray[np.bool_]
) -> None:
    for i in range(len(numbers)):
        for axis in range(3):
            crossed[i, axis] = upward[i, axis] and sides[numbers[i]] != sides[numbers[i] + steps[axis]]


@compiled
def _locate(
    corners: Integers, axes: NDArray[np.float32], width: int, points: NDArray[np.float32], objects: Integers
) -> None:
    for i in range(len(corners)):
        line = corners[i] // width
        plane = line // width
        owner = plane // width
        own = 3 * owner * width
        points[i, 0] = axes[own + plane - owner * width - 1]
        points[i, 1] = axes[own + width + line - plane * width - 1]
        points[i, 2] = axes[own + 2 * width + corners[i] - line * width - 1]
        objects[i] = owner


@compiled
def _learn(
    corners: Integers, values: NDArray[np.float32], samples: NDArray[np.float32], sides: States, threshold: float
) -> None:
    for i in range(len(corners)):
        samples[corners[i]] = values[i]
        sides[corners[i]] = INSIDE if values[i] > threshold else OUTSIDE


@compiled
def _newly_crossed(corners: Integers, sides: States, tracked: NDArray[np.bool_], steps: Integers) -> Integers:
    """Each edge to a neighbour on the other side, and the four cells around it."""
    found, count = np.empty(24 * len(corners), np.int64), 0
    for corner in corners:
        for axis in range(3):
            for towards in (0, 1):
                lower_end = corner if towards else corner - steps[axis]
                if sides[lower_end] + sides[lower_end + steps[axis]] != OUTSIDE + INSIDE:
                    continue
                for aside in range(4):
                    cell = lower_end - (aside & 1) * steps[(axis + 1) % 3] - (aside >> 1) * steps[(axis + 2) % 3]
                    if not tracked[cell]:
                        tracked[cell] = True
                        found[count] = cell
                        count += 1
    return found[:count].copy()


@compiled
def _claimed_of(cells: Integers, states: NDArray[Any], width: int, before: int, after: int) -> Integers:
    found, count = np.empty(8 * len(cells), np.int64), 0
    for cell in cells:
        for place in range(8):
            corner = cell + ((place >> 2) * width + (place >> 1 & 1)) * width + (place & 1)
            if states[corner] == before:
                states[corner] = after
                found[count] = corner
                count += 1
    return found[:count].copy()
