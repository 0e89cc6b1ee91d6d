"""Fields that keep to what the camera saw: outside wherever it saw free space, and outside other objects.

The field is changed and not the mesh, so that whatever is extracted from it stays closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onet_ros.scene import FreeSpace, UnitFrame
from onet_ros.surface import BatchField

SLOPE = 1000.0  # logits per metre into free space: a millimetre in front of what was seen makes 1
# Logits below the level of the surface: what is farther outside than that is outside anyway, and is not looked up.
LOOKED_UP = 6.0


class CarvedField:
    """Logits of B objects, at most `threshold` at the border of the free space that was seen, falling into it.

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
        logits = self._field(points, objects)
        if not self._views:
            return logits
        asked = (logits.detach() > self._threshold - LOOKED_UP).nonzero().squeeze(1)
        own, owners, told = points[asked], objects[asked], logits[asked]
        for view in self._views:
            told = torch.minimum(told, self._threshold + SLOPE * view.margin(own, owners))
        return logits.index_copy(0, asked, told)


class _ImagesOfView:
    """The n-th `FreeSpace` of each of B objects (None where it has none) as tables on a device."""

    def __init__(self, spaces: Sequence[FreeSpace | None], frames: Sequence[UnitFrame], device: torch.device) -> None:
        matrices, shapes, depths = [], [], []
        for space, frame in zip(spaces, frames, strict=True):
            matrix, depth = np.zeros((3, 4)), np.zeros((2, 2), dtype=np.float32)
            if space is not None and min(space.depth.shape) > 1:
                matrix, depth = _to_cells(space, frame), space.depth
            matrices.append(matrix)
            shapes.append(depth.shape)
            depths.append(depth.ravel())
        starts = np.cumsum([0, *(len(depth) for depth in depths[:-1])])
        self._matrices = torch.as_tensor(np.stack(matrices), dtype=torch.float32, device=device)
        self._sizes = torch.as_tensor(np.array(shapes), device=device)
        self._starts = torch.as_tensor(starts, device=device)
        self._depths = torch.as_tensor(np.concatenate(depths), device=device)

    def margin(self, points: Tensor, objects: Tensor) -> Tensor:
        """(N,) metres behind what is free, see `FreeSpace.margin`."""
        matrix = self._matrices[objects]
        along = torch.addcmul(matrix[:, :, 3], matrix[:, :, 0], points[:, :1])
        along = torch.addcmul(along, matrix[:, :, 1], points[:, 1:2])
        along = torch.addcmul(along, matrix[:, :, 2], points[:, 2:])
        depth = along[:, 2]
        place = along[:, :2] / depth.clamp(min=1e-6).unsqueeze(1)
        rows, columns = self._sizes[objects].unbind(1)
        x, y = place.detach().long().unbind(1)  # rounds down: what is negative is not known
        known = (place >= 0.0).all(dim=1) & (x < columns - 1) & (y < rows - 1) & (depth > 1e-3)
        corner = torch.where(known, self._starts[objects] + y * columns + x, 0)
        right, below = (place - torch.stack([x, y], dim=1)).unbind(1)
        step = torch.where(known, columns, 0)
        beside = known.long()
        upper = torch.lerp(self._depths[corner], self._depths[corner + beside], right)
        lower = torch.lerp(self._depths[corner + step], self._depths[corner + step + beside], right)
        free = torch.lerp(upper, lower, below)
        return torch.where(known & (free > 0.0), depth - free, torch.inf)


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
        self._lower, self._upper = (torch.as_tensor(c, dtype=torch.float32, device=device) for c in (lower, upper))
        self._neighbours = {
            number: [
                (other, torch.as_tensor(frames[number].matrix_to(frames[other]), dtype=torch.float32, device=device))
                for other in range(len(frames))
                if other != number and _boxes_meet(frames[number], frames[other], lower, upper)
            ]
            for number in range(len(frames))
        }

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor:
        """points: (N, 3) float32, unit frames, objects: (N,) int64 -> logits (N,) float32."""
        logits = self._field(points, objects)
        if not any(self._neighbours.values()):
            return logits
        limited = logits
        inside = (logits.detach() > self._threshold).nonzero().squeeze(1)
        for rows, others, places in self._asked(points, objects, inside):
            limit = self._threshold + 0.5 * (logits[rows] - self._field(places, others))
            limited = limited.index_copy(0, rows, torch.minimum(limited[rows], limit))
        return limited

    def _asked(self, points: Tensor, objects: Tensor, inside: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Rows of points in one object that lie in the box of another, that other, and where they are in its frame."""
        owners = objects[inside]
        for number, neighbours in self._neighbours.items():
            own = inside[owners == number] if neighbours else inside[:0]
            for other, matrix in neighbours:
                places = points[own] @ matrix[:, :3].T + matrix[:, 3]
                within = ((places >= self._lower) & (places <= self._upper)).all(dim=1)
                rows = own[within]
                if len(rows):
                    yield rows, torch.full_like(rows, other), places[within]


def _boxes_meet(one: UnitFrame, other: UnitFrame, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> bool:
    """Whether the balls about the boxes of two objects meet."""
    middle, radius = (lower + upper) / 2.0, float(np.linalg.norm(upper - lower)) / 2.0
    between = float(np.linalg.norm(one.from_unit(middle) - other.from_unit(middle)))
    return between < radius * (one.scale + other.scale)
