"""Operations over all grids of a batch at once, in few calls for any number of them."""

from __future__ import annotations

import itertools
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from onet_ros.surface.grid import AXIS_STEPS, INSIDE, OUTSIDE, UNKNOWN, Lattice, any_corner, corners_of_cells, halved

_CUBE = np.array(list(itertools.product((0, 1), repeat=3)))  # corners of a cell, from its lower corner

CLAIMED = 4  # a corner that is about to be asked; OUTSIDE + INSIDE stays the only pair of states that adds up to 1


class GridOperations:
    """On the values of grids and on what is known of their corners.

    Args:
        lattice: of B grids.
        samples: (lattice.size,) float32, the values; changed by `learn`.
        sides: (lattice.size,) uint8, OUTSIDE, INSIDE, UNKNOWN or CLAIMED; outside the boxes OUTSIDE. Changed by
            `learn`; corners that are to be asked may be CLAIMED when that is said.
    """

    def __init__(self, lattice: Lattice, samples: torch.Tensor, sides: torch.Tensor) -> None:
        self.lattice, self.samples, self.sides = lattice, samples, sides

    def located(self, corners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Corners (K,) -> (K, 3) float32 metres, where they are, and (K,) int64, whose."""
        objects = self.lattice.objects(corners)
        return self.lattice.points(objects, self.lattice.coordinates(corners)), objects

    def learn(self, corners: torch.Tensor, values: torch.Tensor, threshold: float) -> None:
        """Take down the values (K,) at corners (K,)."""
        self.samples[corners] = values
        self.sides[corners] = (values > threshold).to(torch.uint8)

    def newly_crossed(self, corners: torch.Tensor) -> torch.Tensor:
        """(M,) the cells around those edges of corners (K,) whose ends lie on opposite sides, each named once ever;
        those of an object side by side."""
        others = corners.unsqueeze(1) + self.lattice.offsets(_EDGES)
        crossed = self.sides.take(corners).unsqueeze(1) + self.sides.take(others) == OUTSIDE + INSIDE
        rows, edges = crossed.nonzero(as_tuple=True)
        cells_of_edge = self.lattice.offsets(_CELLS_OF_EDGE.reshape(-1, 3)).view(6, 4)
        cells = (corners[rows].unsqueeze(1) + cells_of_edge[edges]).flatten()
        cells = cells[~self.tracked.take(cells)].unique()
        self.tracked[cells] = True
        return cells

    def claimed_of(self, cells: torch.Tensor) -> torch.Tensor:
        """(K,) the unknown corners of cells (M,), each once, those of an object side by side; they are claimed."""
        corners = (cells.unsqueeze(1) + self.lattice.offsets(_CUBE)).flatten()
        corners = corners[self.sides.take(corners) == UNKNOWN].unique()
        self.sides[corners] = CLAIMED
        return corners

    @cached_property
    def tracked(self) -> torch.Tensor:
        """(lattice.size,) bool, cells that `newly_crossed` has named."""
        return torch.zeros(self.lattice.size, dtype=torch.bool, device=self.lattice.device)

    # What follows is for grids of one resolution.

    def halves(self, stride: int) -> torch.Tensor:
        """(K,) unknown corners every half `stride` along the axes, of crossed cells `stride` wide."""
        # The corners of this level, with a layer outside the box around them.
        level = self.cubes()[:, 1:-1:stride, 1:-1:stride, 1:-1:stride]
        crossed = _crossed(torch.nn.functional.pad(level, [1] * 6, value=OUTSIDE))
        stride //= 2
        wanted = halved(crossed)[:, 2:-2, 2:-2, 2:-2]
        finer = self.cubes()[:, 1:-1:stride, 1:-1:stride, 1:-1:stride]
        objects, x, y, z = ((finer == UNKNOWN) & wanted).nonzero().unbind(1)
        return self.lattice.numbers(objects, stride * torch.stack([x, y, z], dim=1))

    def open_corners(self, near: torch.Tensor | None) -> torch.Tensor:
        """(K,) unknown corners of crossed cells, if there are any perhaps with others about them.

        Args:
            near: (N,) the corners that were asked last, if no others can have made a cell a crossed one.
        """
        cubes = self.cubes()
        unknown = (cubes == UNKNOWN) & corners_of_cells(_crossed(cubes))
        return unknown.flatten().nonzero().squeeze(1)

    def crossed_cells(self) -> torch.Tensor:
        """(M,) ascending."""
        crossed = torch.nn.functional.pad(_crossed(self.cubes()), [0, 1] * 3)  # so that a cell has its number
        return crossed.flatten().nonzero().squeeze(1)

    def cubes(self) -> torch.Tensor:
        """(B, W, W, W) the sides, as a view."""
        return self.sides.view(-1, *(3 * [self.lattice.width]))


def _crossed(states: torch.Tensor) -> torch.Tensor:
    """(B, W, W, W) states of corners -> (B, W - 1, W - 1, W - 1) bool, cells with corners on both sides."""
    return any_corner(states == INSIDE) & any_corner(states == OUTSIDE)


def _edges_and_their_cells() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(6, 3) the six neighbours of a corner, (6, 4, 3) the four cells around the edge to each; all as offsets."""
    edges, cells = [], []
    for axis, direction in itertools.product(range(3), (1, -1)):
        edges.append(direction * AXIS_STEPS[axis])
        lower_end = np.minimum(edges[-1], 0)
        aside = [AXIS_STEPS[other] for other in range(3) if other != axis]
        cells.append([lower_end - i * aside[0] - j * aside[1] for i, j in itertools.product((0, 1), repeat=2)])
    return np.array(edges), np.array(cells)


_EDGES, _CELLS_OF_EDGE = _edges_and_their_cells()
