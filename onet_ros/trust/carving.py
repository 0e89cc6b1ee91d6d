"""Fields that keep to what the camera saw: outside wherever it saw free space, and outside other objects.

The field is changed and not the mesh, so that whatever is extracted from it stays closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onet_ros.cpu_kernels import compiled, over_cores
from onet_ros.scene import FreeSpace, UnitFrame
from onet_ros.surface import BatchField

SLOPE = 1000.0  # logits per metre into free space: a millimetre in front of what was seen makes 1
# So many logits below the level of the surface, which is 6 mm into free space, nobody needs to know what the network
# says: it is outside, with as good as certainty. Half of a box about an object is such space.
CERTAIN, AS_GOOD_AS = 6.0, 12.0
LEAST = 8192  # points that are worth a thread of their own


class CarvedField:
    """Logits of B objects, at most `threshold` at the border of the free space that was seen, falling into it.

    Deep in free space they are a constant, and the network is not asked.

    A `BatchField` in the objects' unit frames.

    Args:
        field: what the network says.
        seen: of each object, what its views saw to be free; an empty list where nothing is known.
        frames: the objects' unit frames.
        threshold: logit of the surface.
        device: where the field works.
    """

    def __init__(
        self,
        field: BatchField,
        seen: Sequence[Sequence[FreeSpace]],
        frames: Sequence[UnitFrame],
        threshold: float,
        device: torch.device,
    ) -> None:
        self._field, self._threshold = field, threshold
        self._views = [
            _ImagesOfView([views[n] if n < len(views) else None for views in seen], frames, device)
            for n in range(max((len(views) for views in seen), default=0))
        ]

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor:
        """points: (N, 3) float32, unit frames, objects: (N,) int64 -> logits (N,) float32."""
        if not self._views or not len(points):
            return self._field(points, objects)
        limits = self._views[0].margin(points, objects)
        for view in self._views[1:]:
            limits = torch.minimum(limits, view.margin(points, objects))
        # A GPU asks all sooner than it finds out whom to ask; and there is to be a gradient at all of them.
        if points.is_cuda or points.requires_grad:
            limits = self._threshold + SLOPE * limits
            certain = limits.detach() < self._threshold - CERTAIN
            outside = limits.new_tensor(self._threshold - AS_GOOD_AS)
            return torch.where(certain, outside, torch.minimum(self._field(points, objects), limits))
        logits = torch.empty(len(points))
        asked = torch.from_numpy(_undecided(limits.numpy(), self._threshold, logits.numpy()))
        if len(asked):  # not every field can be asked nothing
            told = self._field(points.index_select(0, asked), objects.take(asked))
            _lower(asked.numpy(), told.detach().numpy(), logits.numpy())
        return logits


class _ImagesOfView:
    """The n-th `FreeSpace` of each of B objects (None where it has none) as tables on a device."""

    def __init__(self, spaces: Sequence[FreeSpace | None], frames: Sequence[UnitFrame], device: torch.device) -> None:
        matrices, columns, limits, corners = [], [], [], []
        for space, frame in zip(spaces, frames, strict=True):
            matrix, depth = np.zeros((3, 4)), np.zeros((2, 2), dtype=np.float32)
            if space is not None and min(space.depth.shape) > 1:
                matrix, depth = _to_cells(space, frame), space.depth
            matrices.append(matrix)
            columns.append(depth.shape[1] - 1)
            last = np.array([depth.shape[1] - 1, depth.shape[0] - 1], dtype=np.float32)
            limits.append(np.nextafter(last, np.float32(0.0)))  # a place there has a cell before and after it
            corners.append(np.stack([depth[:-1, :-1], depth[:-1, 1:], depth[1:, :-1], depth[1:, 1:]], axis=2))
        starts = np.cumsum([0, *(own.shape[0] * own.shape[1] for own in corners[:-1])])
        # Of each four cells around a place the depths are side by side, in the last table.
        self._tables = (
            np.stack(matrices).astype(np.float32),
            np.stack(limits),
            np.array(columns),
            starts,
            np.concatenate([own.reshape(-1, 4) for own in corners]),
        )
        self._on_device = [torch.as_tensor(table, device=device) for table in self._tables]

    def margin(self, points: Tensor, objects: Tensor) -> Tensor:
        """(N,) metres behind what is free, see `FreeSpace.margin`."""
        if points.is_cuda or points.requires_grad:
            return self._margin_by_torch(points, objects)
        margins = torch.empty(len(points))
        arrays = points.contiguous().numpy(), objects.contiguous().numpy(), margins.numpy()
        over_cores(_margins, len(points), *arrays, self._tables, least=LEAST)
        return margins

    def _margin_by_torch(self, points: Tensor, objects: Tensor) -> Tensor:
        matrices, limits, columns, starts, depths = self._on_device
        matrix = matrices[objects]
        along = (matrix[:, :, :3] @ points.unsqueeze(2)).squeeze(2) + matrix[:, :, 3]
        depth = along[:, 2]
        place = along[:, :2] / depth.clamp(min=1e-6).unsqueeze(1)
        within = torch.minimum(place.clamp(min=0.0), limits[objects])
        known = (within == place).all(dim=1) & (depth > 1e-3)
        cell = within.detach().long()
        right, below = (within - cell).unbind(1)
        corners = depths.index_select(0, starts[objects] + cell[:, 1] * columns[objects] + cell[:, 0])
        upper = torch.lerp(corners[:, 0], corners[:, 1], right)
        free = torch.lerp(upper, torch.lerp(corners[:, 2], corners[:, 3], right), below)
        return torch.where(known & (free > 0.0), depth - free, torch.inf)


@compiled
def _margins(
    low: int,
    high: int,
    points: NDArray[np.float32],
    objects: NDArray[np.int64],
    out: NDArray[np.float32],
    tables: tuple[Any, ...],
) -> None:
    """`_ImagesOfView.margin`, into `out`; tables are its own."""
    matrices, limits, columns, starts, depths = tables
    for i in range(low, high):
        x, y, z, owner = points[i, 0], points[i, 1], points[i, 2], objects[i]
        u, v, w = matrices[owner, 0], matrices[owner, 1], matrices[owner, 2]
        depth = w[0] * x + w[1] * y + w[2] * z + w[3]
        out[i] = np.inf
        if not depth > np.float32(1e-3):
            continue
        across = (u[0] * x + u[1] * y + u[2] * z + u[3]) / depth
        down = (v[0] * x + v[1] * y + v[2] * z + v[3]) / depth
        if 0.0 <= across <= limits[owner, 0] and 0.0 <= down <= limits[owner, 1]:
            column, row = int(across), int(down)
            right, below = across - np.float32(column), down - np.float32(row)
            corners = depths[starts[owner] + row * columns[owner] + column]
            upper = corners[0] + right * (corners[1] - corners[0])
            lower = corners[2] + right * (corners[3] - corners[2])
            free = upper + below * (lower - upper)
            if free > 0.0:
                out[i] = depth - free


@compiled
def _undecided(margins: NDArray[np.float32], threshold: float, logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """Rows of those whose margins leave open what they are; of all what the logits can be at most, or are."""
    rows, count = np.empty(len(margins), np.int64), 0
    for i in range(len(margins)):
        limit = threshold + SLOPE * margins[i]
        if limit < threshold - CERTAIN:
            logits[i] = threshold - AS_GOOD_AS
        else:
            logits[i] = limit
            rows[count] = i
            count += 1
    return rows[:count].copy()


@compiled
def _lower(rows: NDArray[np.int64], told: NDArray[np.float32], logits: NDArray[np.float32]) -> None:
    for i in range(len(rows)):
        if not logits[rows[i]] <= told[i]:
            logits[rows[i]] = told[i]


def _to_cells(space: FreeSpace, frame: UnitFrame) -> NDArray[np.float64]:
    """(3, 4) matrix and translation from a unit frame to homogeneous cells, counted from the middle of the first one,
    and depth."""
    matrix = frame.scale * space.axes @ frame.rotation.T
    along = np.column_stack([matrix, space.axes @ (frame.origin - space.eye)])
    along[:2] = (along[:2] - space.low[:, None] * along[2]) / space.edge - 0.5 * along[2]
    return along


class ExclusiveField:
    """Logits of B objects of one scene, no place inside two of them: it is left to the one more sure of it.

    A `BatchField` in the objects' unit frames.

    Args:
        field: of all B objects.
        frames: their unit frames, in one source frame.
        lower, upper: (3,) the box in which an object is looked for, unit frame.
        threshold: logit of the surface.
        device: where the field works.
    """

    def __init__(
        self,
        field: BatchField,
        frames: Sequence[UnitFrame],
        lower: NDArray[np.float64],
        upper: NDArray[np.float64],
        threshold: float,
        device: torch.device,
    ) -> None:
        self._field, self._threshold = field, threshold
        self._lower, self._upper = (
            torch.as_tensor(corner, dtype=torch.float32, device=device).unsqueeze(1) for corner in (lower, upper)
        )
        self._neighbours: list[tuple[int, Tensor, Tensor]] = []
        for number, frame in enumerate(frames):
            others = [
                other
                for other in range(len(frames))
                if other != number and _boxes_meet(frame, frames[other], lower, upper)
            ]
            if others:
                matrices = np.stack([frame.matrix_to(frames[other]) for other in others])
                table = torch.as_tensor(matrices, dtype=torch.float32, device=device)
                self._neighbours.append((number, torch.tensor(others, device=device), table))
        if device.type == "cpu" and self._neighbours:
            counts = np.zeros(len(frames) + 1, dtype=np.int64)
            for number, beside, _ in self._neighbours:
                counts[number + 1] = len(beside)
            self._tables = (
                np.cumsum(counts),
                torch.cat([beside for _, beside, _ in self._neighbours]).numpy(),
                torch.cat([table for _, _, table in self._neighbours]).numpy(),
                np.stack([lower, upper]).astype(np.float32),
            )

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor:
        """points: (N, 3) float32, unit frames, objects: (N,) int64 -> logits (N,) float32."""
        logits = self._field(points, objects)
        if not self._neighbours:
            return logits
        if not (points.is_cuda or points.requires_grad):
            return self._divided(points, objects, logits.detach())
        inside = (logits.detach() > self._threshold).nonzero().squeeze(1)
        rows, others, places = self._shared(points, objects, inside)
        if not len(rows):
            return logits
        limits = self._threshold + 0.5 * (logits[rows] - self._field(places, others))
        return logits.scatter_reduce(0, rows, limits, reduce="amin")

    def _divided(self, points: Tensor, objects: Tensor, logits: Tensor) -> Tensor:
        """The same on a CPU, out of what the fields themselves say."""
        arrays = points.contiguous().numpy(), objects.contiguous().numpy(), logits.contiguous().numpy()
        rows, others, places = _find_shared(*arrays, self._threshold, self._tables)
        if not len(rows):
            return logits
        divided = logits.clone()
        told = self._field(torch.from_numpy(places), torch.from_numpy(others)).detach()
        _divide(rows, told.contiguous().numpy(), self._threshold, logits.contiguous().numpy(), divided.numpy())
        return divided

    def _shared(self, points: Tensor, objects: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of points in one object that lie in the box of another, that other, and where they are in its frame."""
        found = [(inside[:0], inside[:0], points[:0])]
        owners = objects[inside]
        for number, others, matrices in self._neighbours:
            own = inside[owners == number]
            places = torch.baddbmm(matrices[:, :, 3:], matrices[:, :, :3], points[own].t().expand(len(others), -1, -1))
            within = ((places >= self._lower) & (places <= self._upper)).all(dim=1)
            which, column = within.nonzero().unbind(1)
            found.append((own[column], others[which], places[which, :, column]))
        rows, owners, places = (torch.cat(parts) for parts in zip(*found, strict=True))
        return rows, owners, places


@compiled
def _find_shared(
    points: NDArray[np.float32],
    objects: NDArray[np.int64],
    logits: NDArray[np.float32],
    threshold: float,
    tables: tuple[Any, ...],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """`ExclusiveField._shared` of points of which those of one object are side by side."""
    firsts, others, matrices, box = tables
    inside, count, most = np.empty(len(points), np.int64), 0, 0
    for i in range(len(points)):
        if logits[i] > threshold:
            inside[count] = i
            count += 1
            most += firsts[objects[i] + 1] - firsts[objects[i]]
    rows, beside, places = np.empty(most, np.int64), np.empty(most, np.int64), np.empty((most, 3), np.float32)
    place, used, start = np.empty(3, np.float32), 0, 0
    while start < count:
        owner, end = objects[inside[start]], start
        while end < count and objects[inside[end]] == owner:
            end += 1
        for number in range(firsts[owner], firsts[owner + 1]):
            matrix = matrices[number]
            for row in inside[start:end]:
                x, y, z = points[row, 0], points[row, 1], points[row, 2]
                within = True
                for axis in range(3):
                    place[axis] = matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 2] * z + matrix[axis, 3]
                    within = within and box[0, axis] <= place[axis] <= box[1, axis]
                if within:
                    rows[used], beside[used], places[used] = row, others[number], place
                    used += 1
        start = end
    return rows[:used].copy(), beside[:used].copy(), places[:used].copy()


@compiled
def _divide(
    rows: NDArray[np.int64],
    told: NDArray[np.float32],
    threshold: float,
    logits: NDArray[np.float32],
    divided: NDArray[np.float32],
) -> None:
    for i in range(len(rows)):
        row = rows[i]
        divided[row] = min(divided[row], threshold + 0.5 * (logits[row] - told[i]))


def _boxes_meet(one: UnitFrame, other: UnitFrame, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> bool:
    """Whether the boxes of two objects meet; True for some that pass each other edge to edge."""
    middle, half = (lower + upper) / 2.0, (upper - lower) / 2.0
    for matrix in (one.matrix_to(other), other.matrix_to(one)):
        between = np.abs(matrix[:, :3] @ middle + matrix[:, 3] - middle)
        if (between > half + np.abs(matrix[:, :3]) @ half).any():
            return False
    return True
