"""What `onet_ros.surface.coarse` looks up on grids of many corners, as compiled loops: on a CPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onet_ros.cpu_kernels import compiled, over_cores
from onet_ros.surface.grid import INSIDE, GridBatch

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
States = NDArray[np.uint8]

BINS, PER_LOGIT = 1024, 32  # of logits below the threshold


def covering_levels(start: GridBatch, coverage: float, threshold: float) -> torch.Tensor:
    """(B,) float32, of each object the highest level, the threshold at most, above which the probabilities of its
    samples add up to a share of them all."""
    levels = np.empty(len(start), dtype=np.float32)
    lattice = start.lattice
    boxes = start.samples.numpy(), lattice.width, np.array(lattice.resolutions)
    over_cores(_find_levels, len(start), *boxes, coverage, threshold, levels, least=1)
    return torch.from_numpy(levels)


def thicken(
    grids: GridBatch, start: GridBatch, samples: torch.Tensor, made_up: torch.Tensor, threshold: float
) -> torch.Tensor:
    """The samples of the start grids, raised to those of the fine grids where these are inside and no corner of the
    start cell around them is; `made_up` is changed."""
    raised = samples.clone()
    fine, coarse = grids.lattice, start.lattice
    stride = fine.resolutions[0] // coarse.resolutions[0]
    known = grids.sides.numpy(), grids.samples.numpy(), fine.width, coarse.width, stride
    over_cores(_thicken, len(start), *known, threshold, samples.numpy(), raised.numpy(), made_up.numpy(), least=1)
    return raised


def crossed_cells(samples: torch.Tensor, width: int, threshold: float) -> torch.Tensor:
    """(M,) int64, ascending, numbers of the cells with corners on both sides, of grids with `width` corners an edge."""
    count = len(samples) // width**3
    found, counts = np.empty(len(samples), np.int64), np.empty(count, np.int64)
    over_cores(_find_crossed, count, samples.numpy(), width, threshold, found, counts, least=1)
    parts = [found[number * width**3 :][: counts[number]] for number in range(count)]
    return torch.from_numpy(np.concatenate(parts))


@compiled
def _find_levels(
    low: int,
    high: int,
    samples: Floats,
    width: int,
    resolutions: Integers,
    coverage: float,
    threshold: float,
    levels: Floats,
) -> None:
    for owner in range(low, high):
        size = resolutions[owner] + 1
        logits, weights, total = np.empty(size**3, np.float32), np.zeros(BINS + 1), 0.0
        i = 0
        for x in range(1, size + 1):
            for y in range(1, size + 1):
                row = ((owner * width + x) * width + y) * width + 1
                for place in range(row, row + size):
                    logits[i] = samples[place]
                    share = 1.0 / (1.0 + math.exp(-samples[place]))
                    weights[_bin(samples[place], threshold)] += share
                    total += share
                    i += 1
        wanted, last = coverage * total - weights[0], 0
        while wanted > 0.0 and last < BINS:
            last += 1
            wanted -= weights[last]
        levels[owner] = threshold if last == 0 else _lowest(logits, last, threshold, wanted + weights[last])


@compiled
def _bin(logit: float, threshold: float) -> int:
    """0 from the threshold on."""
    return int(min(max(math.ceil((threshold - logit) * PER_LOGIT), 0.0), float(BINS)))


@compiled
def _lowest(logits: Floats, own: int, threshold: float, wanted: float) -> float:
    """Of the logits in one bin the last one that takes part in a sum of probabilities, the largest first."""
    chosen, count = np.empty_like(logits), 0
    for logit in logits:
        if _bin(logit, threshold) == own:
            chosen[count] = logit
            count += 1
    ordered = np.sort(chosen[:count])
    for i in range(count - 1, -1, -1):
        wanted -= 1.0 / (1.0 + math.exp(-ordered[i]))
        if wanted <= 0.0:
            return ordered[i]
    return ordered[0]


@compiled
def _thicken(
    low: int,
    high: int,
    sides: States,
    values: Floats,
    fine_width: int,
    width: int,
    stride: int,
    threshold: float,
    samples: Floats,
    raised: Floats,
    made_up: NDArray[np.bool_],
) -> None:
    first, end = low * fine_width**3, high * fine_width**3
    for corner in range(first, end):
        if sides[corner] == INSIDE:
            row = corner // fine_width
            plane = row // fine_width
            owner = plane // fine_width
            x, y, z = plane - owner * fine_width - 1, row - plane * fine_width - 1, corner - row * fine_width - 1
            base = ((owner * width + x // stride + 1) * width + y // stride + 1) * width + z // stride + 1
            # Most are shown by the first corner that one looks at.
            if samples[base] <= threshold:
                steps = int(x % stride > 0) * width**2, int(y % stride > 0) * width, int(z % stride > 0)
                _raise(base, steps, threshold, values[corner], samples, raised, made_up)


@compiled
def _raise(
    base: int,
    steps: tuple[Any, ...],
    threshold: float,
    value: float,
    samples: Floats,
    raised: Floats,
    made_up: NDArray[np.bool_],
) -> None:
    """All corners of a cell to a value, unless one of them is above the threshold."""
    for place in range(8):
        if samples[base + (place >> 2) * steps[0] + (place >> 1 & 1) * steps[1] + (place & 1) * steps[2]] > threshold:
            return
    for place in range(8):
        corner = base + (place >> 2) * steps[0] + (place >> 1 & 1) * steps[1] + (place & 1) * steps[2]
        raised[corner] = max(raised[corner], value)
        made_up[corner] = True


@compiled
def _find_crossed(
    low: int, high: int, samples: Floats, width: int, threshold: float, found: Integers, counts: Integers
) -> None:
    """Those of each grid from the place of its own first corner on."""
    inside = np.empty(width, np.uint8)
    for owner in range(low, high):
        first = owner * width**3
        count = first
        for x in range(width - 1):
            for y in range(width - 1):
                row = first + (x * width + y) * width
                for z in range(width):
                    inside[z] = (
                        np.uint8(samples[row + z] > threshold)
                        + np.uint8(samples[row + width + z] > threshold)
                        + np.uint8(samples[row + width**2 + z] > threshold)
                        + np.uint8(samples[row + width**2 + width + z] > threshold)
                    )
                for z in range(width - 1):
                    if 0 < inside[z] + inside[z + 1] < 8:
                        found[count] = row + z
                        count += 1
        counts[owner] = count - first
