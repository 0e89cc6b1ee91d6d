"""Points of many objects in one list, worked on object by object."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def runs_of(objects: Tensor) -> Iterator[tuple[int, int, int]]:
    """Object, first and end of each run of equal numbers in a (N,) int64 list."""
    numbers, counts = torch.unique_consecutive(objects, return_counts=True)
    start = 0
    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        yield number, start, start + count
        start += count


def side_by_side(points: Tensor, objects: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Points of many objects as one table with a row of equal length for each: for batched matrix products.

    Args:
        points: (N, 3), objects: (N,) int64 from 0 to count - 1, in any order.

    Returns:
        (count, M, 3) with zeros after the end of the shorter rows, and (N,) where in its flat list each point went.
    """
    counts = torch.bincount(objects, minlength=count)
    longest = int(counts.max())
    order = objects.argsort(stable=True)
    owner = objects[order]
    within = torch.arange(len(points), device=points.device) - (counts.cumsum(0) - counts)[owner]
    places = torch.empty_like(objects)
    places[order] = owner * longest + within
    table = points.new_zeros(count * longest, 3)
    table[places] = points
    return table.view(count, longest, 3), places


def rows_at_once(device: torch.device, rows_per_core: int, rows_on_gpu: int = 262_144) -> int:
    """How many rows to push through a stack of layers together.

    On a CPU each core takes the same share of the rows in every layer, so what counts is that one share of the
    activations stays in one core's cache.
    """
    return rows_per_core * torch.get_num_threads() if device.type == "cpu" else rows_on_gpu
