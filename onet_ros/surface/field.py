"""What this room asks of a field, and the one place where a field is called."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from onet_ros.cpu_kernels import compiled

# (N, 3) float32, metres -> (N,) float32; a point is inside where the value is above the threshold.
Field = Callable[[torch.Tensor], torch.Tensor]

# The fields of B objects in one: (N, 3) float32, (N,) int64 from 0 to B - 1, which object each point asks about ->
# (N,) float32. Points of one object come side by side. It knows best how many points it can work on at once.
BatchField = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

CPU_CHUNK_SIZE = 2_048  # keeps a decoder's activations in the cache
GPU_CHUNK_SIZE = 262_144


class SurfaceError(ValueError):
    """A field, box or mesh from which no trustworthy surface can be made; the message quotes what was found."""


def batch_of_one(field: Field, chunk_size: int = 0) -> BatchField:
    """A field as the batch that holds nothing else; `chunk_size` 0 asks it in chunks that suit the device."""

    def batch(points: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
        chunks = points.split(chunk_size or default_chunk_size(points))
        return torch.cat([call_field(field, chunk) for chunk in chunks])

    return batch


def evaluate_batch(field: BatchField, points: torch.Tensor, objects: torch.Tensor, chunk_size: int = 0) -> torch.Tensor:
    """Values of a batch of fields at points, checked.

    Args:
        field: see `BatchField`; gradients are not recorded.
        points: (N, 3) float32, metres, on the device the field works on.
        objects: (N,) int64, on that device.
        chunk_size: points per call; 0 leaves the choice to the field.

    Returns:
        (N,) float32 on the device of `points`.

    Raises:
        SurfaceError: the field returned something that is not (N,) finite floating point.
    """
    if not len(points):
        return points.new_empty(0)
    with torch.no_grad():
        size = chunk_size or len(points)
        pairs = zip(points.split(size), objects.split(size), strict=True)
        parts = [_checked(field(chunk, numbers), chunk) for chunk, numbers in pairs]
        values = parts[0] if len(parts) == 1 else torch.cat(parts)
    if not _all_finite(values):
        finite = torch.isfinite(values)
        first = int((~finite).nonzero()[0])
        raise SurfaceError(
            f"field returned {int((~finite).sum())} non-finite of {len(values)} values, "
            f"first {values[first].item()} at {points[first].tolist()}"
        )
    return values


def _all_finite(values: torch.Tensor) -> bool:
    if values.is_cuda:
        return math.isfinite(float(values.abs().amax()))
    return bool(_are_finite(values.contiguous().numpy()))


@compiled
def _are_finite(values: NDArray[np.float32]) -> bool:
    strange = 0
    for value in values:
        strange += not math.isfinite(value)
    return strange == 0


def evaluate_field(field: Field, points: torch.Tensor, chunk_size: int = 0) -> torch.Tensor:
    """`evaluate_batch` of a single field; `chunk_size` 0 chooses by device."""
    objects = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    return evaluate_batch(batch_of_one(field, chunk_size), points, objects)


def default_chunk_size(points: torch.Tensor) -> int:
    """Points per call that suit the device of `points`."""
    return CPU_CHUNK_SIZE if points.device.type == "cpu" else GPU_CHUNK_SIZE


def call_field(field: Field, points: torch.Tensor) -> torch.Tensor:
    """(N,) float32 values at (N, 3) points in one call; SurfaceError when shape or type are not a field's."""
    return _checked(field(points), points)


def _checked(values: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """What a field returned for the points, as float32; SurfaceError when shape or type are not a field's."""
    if not isinstance(values, torch.Tensor):
        raise SurfaceError(f"field must return a tensor, got {type(values).__name__}")
    if values.shape != points.shape[:1]:
        raise SurfaceError(f"field must return shape {tuple(points.shape[:1])}, got {tuple(values.shape)}")
    if not values.is_floating_point():
        raise SurfaceError(f"field must return floating point values, got {values.dtype}")
    return values.to(device=points.device, dtype=torch.float32)
