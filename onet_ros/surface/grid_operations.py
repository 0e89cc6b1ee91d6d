"""Operations over all grids of a batch at once, in few calls for any number of them."""

from __future__ import annotations

import torch

from onet_ros.surface.grid import INSIDE, OUTSIDE, UNKNOWN, Lattice, any_corner, corners_of_cells, halved

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
