"""The surface at the resolution of the start grid: for those who only have to keep clear of it, with few triangles.

The start grid alone would lose walls that pass between its corners. Where the fine grid knows of something inside that
no corner of the start cell around it shows, these corners count as inside: what is thinner than a start cell is
thickened to one. Everywhere else the surface lies where the start grid's own values put it.

A surface at a lower level than that of the fine grid contains more of what may be there.
"""

from __future__ import annotations

import itertools

import torch

from onet_ros.surface import coarse_loops
from onet_ros.surface.field import BatchField, evaluate_batch
from onet_ros.surface.grid import INSIDE, GridBatch, mixed_cells
from onet_ros.surface.grid_loops import claimed_of

_CHOICES = list(itertools.product((0, 1), repeat=3))
ROUNDS = 3  # of asking at corners that the start grid had no need of


def coarse_grids(grids: GridBatch, threshold: float) -> GridBatch:
    """B grids at the resolution of their start grids; nothing more is asked for them.

    Args:
        grids: with `GridBatch.start`.
        threshold: level of the surface, that of the fine grids or another one.

    Raises:
        ValueError: the grids were not refined from a start grid.
    """
    start = _start_of(grids)
    known = torch.zeros_like(start.sides, dtype=torch.bool)
    return _thickened(grids, start, start.samples, known, threshold, points_asked=0)


def covering_grids(
    grids: GridBatch, field: BatchField, coverage: float, chunk_size: int = 0
) -> tuple[GridBatch, torch.Tensor]:
    """B grids at the resolution of their start grids, of fields raised so far that their surfaces contain a share of
    the objects.

    What is expected to be inside is the sum of the probabilities. The level of an object is the highest at which the
    places above it hold `coverage` of that sum, and never higher than the level of the fine grids.

    Args:
        grids: with `GridBatch.start`; their values are logits.
        field: that they were asked of. Corners about the new surface that the start grid had no need of are asked now.
        coverage: 0 to 1.

    Returns:
        The grids, which hold the surface of the raised fields at the threshold of `grids`, and by how much those were
        raised, (B,) float32.

    Raises:
        ValueError: the grids were not refined from a start grid.
    """
    start = _start_of(grids)
    raised_by = grids.threshold - _covering_levels(grids, start, coverage)
    lattice = start.lattice
    objects = torch.arange(len(raised_by), device=raised_by.device).repeat_interleave(lattice.width**3)
    samples = start.samples + raised_by[objects]
    asked = 0
    unknown = torch.zeros_like(samples, dtype=torch.bool) if start.made_up is None else start.made_up.clone()
    for _ in range(ROUNDS):
        corners = _unknown_corners(_crossed(samples, start, grids.threshold), unknown, start)
        if not len(corners):
            break
        owners = lattice.objects(corners)
        points = lattice.points(owners, lattice.coordinates(corners))
        samples[corners] = evaluate_batch(raised(field, raised_by), points, owners, chunk_size)
        asked += len(corners)
    return _thickened(grids, start, samples, unknown, grids.threshold, asked), raised_by


def raised(field: BatchField, raised_by: torch.Tensor) -> BatchField:
    """Fields with something added to each, (B,)."""
    return lambda points, objects: field(points, objects) + raised_by[objects]


def _start_of(grids: GridBatch) -> GridBatch:
    if grids.start is None:
        raise ValueError("these grids were not refined from coarser ones")
    return grids.start


def _covering_levels(grids: GridBatch, start: GridBatch, coverage: float) -> torch.Tensor:
    """(B,) float32, see `covering_grids`."""
    if not start.samples.is_cuda:
        return coarse_loops.covering_levels(start, coverage, grids.threshold)
    levels = []
    for number in range(len(grids)):
        logits = start.box(start.samples, number).flatten().sort(descending=True).values
        share = torch.sigmoid(logits).double().cumsum(0)
        enough = int(torch.searchsorted(share, coverage * share[-1]))
        levels.append(logits[min(enough, len(logits) - 1)].clamp(max=grids.threshold))
    return torch.stack(levels)


def _thickened(
    grids: GridBatch,
    start: GridBatch,
    samples: torch.Tensor,
    made_up: torch.Tensor,
    threshold: float,
    points_asked: int,
) -> GridBatch:
    """The start grids with these samples, and with what of the fine grids' insides none of their corners shows.

    Args:
        made_up: which samples are not the field's; changed.
    """
    if samples.is_cuda:
        numbers, values = _unshown(grids, start, samples, threshold)
        thickened = numbers.flatten()
        samples = samples.scatter_reduce(0, thickened, values.repeat(8), reduce="amax")
        made_up[thickened] = True
    else:
        samples = coarse_loops.thicken(grids, start, samples, made_up, threshold)
    return GridBatch(
        lattice=start.lattice,
        samples=samples,
        sides=(samples > threshold).to(torch.uint8),
        cells=_crossed(samples, start, threshold),
        threshold=threshold,
        points_asked=points_asked,
        rounds=0,
        made_up=made_up,
    )


def _crossed(samples: torch.Tensor, start: GridBatch, threshold: float) -> torch.Tensor:
    """(M,) int64, ascending, numbers of the cells with corners on both sides."""
    width = start.lattice.width
    if not samples.is_cuda:
        return coarse_loops.crossed_cells(samples, width, threshold)
    object_, x, y, z = mixed_cells((samples > threshold).view(-1, width, width, width)).unbind(1)
    return ((object_ * width + x) * width + y) * width + z


def _unknown_corners(cells: torch.Tensor, unknown: torch.Tensor, start: GridBatch) -> torch.Tensor:
    """(K,) int64 corners of cells (M,) whose values are unknown (N,), objects side by side; they are taken for known
    from now on."""
    if not cells.is_cuda:
        return claimed_of(cells, unknown, start.lattice.width, before=True, after=False)
    corners = (start.lattice.offsets(_CHOICES) + cells.unsqueeze(1)).flatten().unique()
    corners = corners[unknown[corners]]
    unknown[corners] = False
    return corners


def _unshown(
    grids: GridBatch, start: GridBatch, samples: torch.Tensor, threshold: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The fine corners that are inside while no corner of the start cell in which they lie is.

    Returns:
        (8, N) numbers of the corners of their start cells, some of them more than once; (N,) the fine values.
    """
    corners = (grids.sides == INSIDE).nonzero().squeeze(1)
    stride = grids.lattice.resolutions[0] // start.lattice.resolutions[0]
    base = start.lattice.numbers(grids.lattice.objects(corners), grids.lattice.coordinates(corners) // stride)
    # Most are shown by the first corner that one looks at, and need no second look.
    hidden = samples.take(base) <= threshold
    corners, base = corners[hidden], base[hidden]
    between = (grids.lattice.coordinates(corners) % stride > 0).long()  # 1 where the cell's other corner is another one
    steps = between * torch.tensor(start.lattice.steps, device=corners.device)
    around = torch.stack([base + steps[:, 0] * i + steps[:, 1] * j + steps[:, 2] * k for i, j, k in _CHOICES])
    hidden = (samples.take(around) <= threshold).all(dim=0)
    return around[:, hidden], grids.samples[corners[hidden]]
