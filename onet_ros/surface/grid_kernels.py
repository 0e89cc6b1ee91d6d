"""What `GridOperations` does in dozens of operations over whole grids, as one GPU kernel each.

The host of a GPU takes longer to ask for an operation than the GPU to do it, unless there is much to do; then it is the
memory that is waited for, and each operation over a grid reads and writes all of it.
"""

from __future__ import annotations

import torch

from onet_ros.gpu_kernels import GpuKernels, jit, tl
from onet_ros.surface.grid import INSIDE, OUTSIDE, UNKNOWN, Lattice
from onet_ros.surface.grid_operations import CLAIMED, GridOperations

# In a late round few questions are open, and the next few lead on to others: what lies within so many corners of one is
# asked with it. On twelve objects at 128 cells that makes 7 rounds of 13, for 1.3 % more points.
REACH = 3
SPREAD = CLAIMED + 1  # a corner that is asked with another
_STATES = {"UNKNOWN": UNKNOWN, "INSIDE": INSIDE, "OUTSIDE": OUTSIDE, "CLAIMED": CLAIMED}

_kernels = GpuKernels("grids are gone through operation by operation", block=256)


class FusedGridOperations(GridOperations):
    """The same results. What no kernel can be made for is done as its parent does it."""

    @staticmethod
    def fit(lattice: Lattice, sides: torch.Tensor) -> bool:
        """Whether kernels may be had for these grids."""
        return _kernels.fit(sides) and lattice.alike and 27 * lattice.size < 2**31

    def located(self, corners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count, width = len(corners), self.lattice.width
        points, objects = self.samples.new_empty(count, 3), torch.empty_like(corners)
        arguments = (corners, self.lattice.axes, points, objects, count, width)
        if _kernels.launch(_locate, count, *arguments):
            return points, objects
        return super().located(corners)

    def learn(self, corners: torch.Tensor, values: torch.Tensor, threshold: float) -> None:
        arguments = (corners, values, self.samples, self.sides, len(corners), threshold)
        if not _kernels.launch(_learn, len(corners), *arguments):
            super().learn(corners, values, threshold)

    def halves(self, stride: int) -> torch.Tensor:
        return self._claimed() if self._mark_all(stride // 2, stride) else super().halves(stride)

    def open_corners(self, near: torch.Tensor | None) -> torch.Tensor:
        if near is None:
            made = self._mark_all(1, 1)
        else:
            count = 27 * len(near)
            arguments = (self.sides, near, count, self.lattice.width)
            made = _kernels.launch(_mark_near, count, *arguments, REACH=REACH, SPREAD=SPREAD, **_STATES)
        return self._claimed() if made else super().open_corners(near)

    def crossed_cells(self) -> torch.Tensor:
        size, width = self.lattice.size, self.lattice.width
        crossed = torch.empty(size, dtype=torch.bool, device=self.sides.device)
        arguments = (self.sides, crossed.view(torch.uint8), size, width)
        if _kernels.launch(_cross, size, *arguments, INSIDE=INSIDE, OUTSIDE=OUTSIDE):
            return crossed.nonzero().squeeze(1)
        return super().crossed_cells()

    def _mark_all(self, step: int, cell: int) -> bool:
        """Claim the corners every `step` along the axes that are unknown and of crossed cells `cell` wide."""
        cells = self.lattice.resolutions[0] // step
        count = len(self.lattice.resolutions) * (cells + 1) ** 3
        arguments = (self.sides, count, self.lattice.width, cells + 1)
        return _kernels.launch(_mark_all, count, *arguments, STEP=step, RATIO=cell // step, **_STATES)

    def _claimed(self) -> torch.Tensor:
        return (self.sides >= CLAIMED).nonzero().squeeze(1)


def maybe_lone(table: torch.Tensor, lattice: Lattice, start: Lattice, start_sides: torch.Tensor) -> torch.Tensor | None:
    """Seeds of which the start grid may have seen nothing; None where there are no kernels, and it may be any.

    A quick look at all of them: most lie near something that it has seen.

    Args:
        table: (S, 4) float64, of each seed the object and the place, metres.
        lattice, start: of the final grids and of the start grids, all alike.
        start_sides: of the corners of the start grids.

    Returns:
        (S,) bool, true for seeds in the box about which all corners of their start cell and of the 26 around it are
        on one side.
    """
    if not FusedGridOperations.fit(lattice, start_sides) or not len(table):
        return None
    lone = torch.empty(len(table), dtype=torch.bool, device=table.device)
    resolution, cells = lattice.resolutions[0], start.resolutions[0]
    arguments = (table, lattice.lower_there, lattice.voxel_sizes_there, start_sides, lone.view(torch.uint8), len(table))
    numbers = (resolution, resolution // cells, cells)
    return lone if _kernels.launch(_look_around, len(table), *arguments, *numbers) else None


# ruff: noqa: ANN001, ANN202 - the arguments of a kernel are pointers, numbers and constants


@jit
def _locate(corners, axes, points, objects, count, width, BLOCK: tl.constexpr) -> None:  # type: ignore[no-untyped-def]
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = row < count
    corner = tl.load(corners + row, mask, 0).to(tl.int32)
    line = corner // width
    plane = line // width
    owner = plane // width
    tl.store(objects + row, owner, mask)
    x, y, z = plane - owner * width - 1, line - plane * width - 1, corner - line * width - 1
    own = axes + owner * (3 * width)
    tl.store(points + 3 * row, tl.load(own + x, mask, 0.0), mask)
    tl.store(points + 3 * row + 1, tl.load(own + width + y, mask, 0.0), mask)
    tl.store(points + 3 * row + 2, tl.load(own + 2 * width + z, mask, 0.0), mask)


@jit
def _learn(corners, values, samples, sides, count, threshold, BLOCK: tl.constexpr) -> None:  # type: ignore[no-untyped-def]
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = row < count
    corner = tl.load(corners + row, mask, 0)
    value = tl.load(values + row, mask, 0.0)
    tl.store(samples + corner, value, mask)
    tl.store(sides + corner, (value > threshold).to(tl.uint8), mask)


@jit
def _mark_all(  # type: ignore[no-untyped-def]
    sides,
    count,
    width,
    along,
    STEP: tl.constexpr,
    RATIO: tl.constexpr,
    UNKNOWN: tl.constexpr,
    INSIDE: tl.constexpr,
    OUTSIDE: tl.constexpr,
    CLAIMED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Corners every STEP, `along` of them in each direction, and cells RATIO steps wide, RATIO 1 or 2."""
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = number < count
    line = number // along
    plane = line // along
    owner = plane // along
    x, y, z = plane - owner * along, line - plane * along, number - line * along
    start = owner * width * width * width
    corner = start + ((x * STEP + 1) * width + y * STEP + 1) * width + z * STEP + 1
    unknown = mask & (tl.load(sides + corner, mask, OUTSIDE) == UNKNOWN)
    x0, x1, x2 = _cell_ends(x, along, STEP, RATIO)
    y0, y1, y2 = _cell_ends(y, along, STEP, RATIO)
    z0, z1, z2 = _cell_ends(z, along, STEP, RATIO)
    square = width * width
    x0, x1, x2 = start + x0 * square, start + x1 * square, start + x2 * square
    y0, y1, y2 = y0 * width, y1 * width, y2 * width
    found = _in_crossed_cell(sides, unknown, x0, x1, x2, y0, y1, y2, z0, z1, z2, INSIDE, OUTSIDE)
    tl.store(sides + corner, CLAIMED, unknown & found)


@jit
def _cell_ends(place, along, STEP: tl.constexpr, RATIO: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where along an axis the cells around a corner begin and end, in the lattice's own count.

    One begins at the first and ends at the second, where the other begins. In a cell's middle there is only one.
    """
    over = place % RATIO
    first = place - tl.where(over == 0, RATIO, over)
    second = place + tl.where(over == 0, 0, RATIO - over)
    third = place + RATIO - over
    # Outside the box is the layer around it.
    last = (along - 1) * STEP + 2
    return tl.maximum(first * STEP + 1, 0), second * STEP + 1, tl.minimum(third * STEP + 1, last)


@jit
def _mark_near(  # type: ignore[no-untyped-def]
    sides,
    near,
    count,
    width,
    REACH: tl.constexpr,
    UNKNOWN: tl.constexpr,
    INSIDE: tl.constexpr,
    OUTSIDE: tl.constexpr,
    CLAIMED: tl.constexpr,
    SPREAD: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """The 27 corners in and around each of those given, and then what lies about those that were claimed.

    A corner that another program has just found to lie about one of its own is still as good as unknown, so that what
    is claimed in the end does not depend on who comes first.
    """
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = number < count
    step = number % 27
    square = width * width
    corner = tl.load(near + number // 27, mask, 0).to(tl.int32)
    corner += (step // 9 - 1) * square + (step // 3 % 3 - 1) * width + step % 3 - 1
    state = tl.load(sides + corner, mask, OUTSIDE)
    unknown = mask & ((state == UNKNOWN) | (state == SPREAD))
    x0, x2 = corner - square, corner + square
    found = unknown & _in_crossed_cell(sides, unknown, x0, corner, x2, -width, 0, width, -1, 0, 1, INSIDE, OUTSIDE)
    tl.store(sides + corner, CLAIMED, found)
    if tl.max(found.to(tl.int32), axis=0) > 0:
        line = corner // width
        plane = line // width
        x, y, z = plane % width, line - plane * width, corner - line * width
        wide: tl.constexpr = 2 * REACH + 1
        for other in range(wide * wide * wide):
            dx, dy, dz = other // (wide * wide) - REACH, other // wide % wide - REACH, other % wide - REACH
            in_box = (x + dx > 0) & (x + dx < width - 1) & (y + dy > 0) & (y + dy < width - 1)
            in_box = found & in_box & (z + dz > 0) & (z + dz < width - 1)
            place = sides + corner + dx * square + dy * width + dz
            tl.store(place, SPREAD, in_box & (tl.load(place, in_box, OUTSIDE) == UNKNOWN))


@jit
def _in_crossed_cell(  # type: ignore[no-untyped-def]
    sides, mask, x0, x1, x2, y0, y1, y2, z0, z1, z2, INSIDE: tl.constexpr, OUTSIDE: tl.constexpr
):
    """Whether any of the eight cells between given steps in the lattice has corners on both sides."""
    # What is in each cell, as bits: 1 for inside, 2 for outside.
    cell_000 = tl.zeros_like(x0).to(tl.int32)
    cell_001 = cell_000
    cell_010 = cell_000
    cell_011 = cell_000
    cell_100 = cell_000
    cell_101 = cell_000
    cell_110 = cell_000
    cell_111 = cell_000
    for i in tl.static_range(3):
        x = x0 if i == 0 else (x1 if i == 1 else x2)
        for j in tl.static_range(3):
            y = y0 if j == 0 else (y1 if j == 1 else y2)
            for k in tl.static_range(3):
                z = z0 if k == 0 else (z1 if k == 1 else z2)
                state = tl.load(sides + x + y + z, mask, OUTSIDE)
                bits = tl.where(state == INSIDE, 1, tl.where(state == OUTSIDE, 2, 0))
                if i < 2 and j < 2 and k < 2:
                    cell_000 |= bits
                if i < 2 and j < 2 and k > 0:
                    cell_001 |= bits
                if i < 2 and j > 0 and k < 2:
                    cell_010 |= bits
                if i < 2 and j > 0 and k > 0:
                    cell_011 |= bits
                if i > 0 and j < 2 and k < 2:
                    cell_100 |= bits
                if i > 0 and j < 2 and k > 0:
                    cell_101 |= bits
                if i > 0 and j > 0 and k < 2:
                    cell_110 |= bits
                if i > 0 and j > 0 and k > 0:
                    cell_111 |= bits
    found = (cell_000 == 3) | (cell_001 == 3) | (cell_010 == 3) | (cell_011 == 3)
    return found | (cell_100 == 3) | (cell_101 == 3) | (cell_110 == 3) | (cell_111 == 3)


@jit
def _cross(  # type: ignore[no-untyped-def]
    sides, crossed, count, width, INSIDE: tl.constexpr, OUTSIDE: tl.constexpr, BLOCK: tl.constexpr
) -> None:
    """Which cells have corners on both sides; those that the lattice ends in have not."""
    cell = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = cell < count
    line = cell // width
    plane = line // width
    last = width - 1
    whole = mask & (cell - line * width < last) & (line - plane * width < last) & (plane % width < last)
    bits = tl.zeros_like(cell).to(tl.int32)
    for i in tl.static_range(2):
        for j in tl.static_range(2):
            for k in tl.static_range(2):
                state = tl.load(sides + cell + (i * width + j) * width + k, whole, OUTSIDE)
                bits |= tl.where(state == INSIDE, 1, tl.where(state == OUTSIDE, 2, 0))
    tl.store(crossed + cell, (bits == 3).to(tl.uint8), mask)


@jit
def _look_around(  # type: ignore[no-untyped-def]
    table, lower, voxel_sizes, sides, lone, count, resolution, stride, cells, BLOCK: tl.constexpr
) -> None:
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = row < count
    owner = tl.load(table + 4 * row, mask, 0.0).to(tl.int32)
    in_box, x = _start_cell(table + 4 * row + 1, lower + 3 * owner, voxel_sizes + 3 * owner, mask, resolution, stride)
    looking = mask & in_box
    in_box, y = _start_cell(
        table + 4 * row + 2, lower + 3 * owner + 1, voxel_sizes + 3 * owner + 1, mask, resolution, stride
    )
    looking = looking & in_box
    in_box, z = _start_cell(
        table + 4 * row + 3, lower + 3 * owner + 2, voxel_sizes + 3 * owner + 2, mask, resolution, stride
    )
    looking = looking & in_box
    width = cells + 3
    first = tl.zeros_like(row) - 1
    alike = looking
    for i in tl.static_range(4):
        plane = owner * width + tl.minimum(tl.maximum(x + i, 0), cells + 2)
        for j in tl.static_range(4):
            line = plane * width + tl.minimum(tl.maximum(y + j, 0), cells + 2)
            for k in tl.static_range(4):
                corner = line * width + tl.minimum(tl.maximum(z + k, 0), cells + 2)
                side = tl.load(sides + corner, looking, 0).to(tl.int32)
                first = tl.where(first < 0, side, first)
                alike = alike & (side == first)
    tl.store(lone + row, alike.to(tl.uint8), mask)


@jit
def _start_cell(places, lower, voxel_sizes, mask, resolution, stride):  # type: ignore[no-untyped-def]
    """Whether a place is in the box along an axis, and which start cell the nearest final corner is in."""
    place = (tl.load(places, mask, 0.0) - tl.load(lower, mask, 0.0)) / tl.load(voxel_sizes, mask, 1.0)
    in_box = (place >= 0.0) & (place <= resolution)
    corner = tl.where(in_box, place + 0.5, 0.0).to(tl.int32)
    return in_box, tl.minimum(corner // stride, resolution // stride - 1)
