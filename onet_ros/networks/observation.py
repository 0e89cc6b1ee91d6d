"""What a network is told about objects, in each one's own frame: points, a picture or a coarse voxel grid."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

IMAGE_CHANNELS = 4  # red, green, blue, mask


@dataclass(frozen=True)
class Observation:
    """Points of a batch of B observed objects.

    Attributes:
        points: (B, N, 3) float32, unit frame: seen points of the object; N is the same for all (resampled).
        background: (B, M, 3) float32, unit frame: points seen around and behind it; M may be 0. The camera saw through
            to them, so the rays up to them are free.
        viewpoint: (B, 3) float32, unit frame: where the camera stood.
        scale: (B,) float32, metres per unit.
    """

    points: Tensor
    background: Tensor
    viewpoint: Tensor
    scale: Tensor

    def __post_init__(self) -> None:
        batch = self.points.shape[0]
        if self.points.ndim != 3 or self.points.shape[2] != 3 or self.points.shape[1] == 0:
            raise ValueError(f"expected points of shape (B, N, 3) with N >= 1, got {tuple(self.points.shape)}")
        if self.background.ndim != 3 or self.background.shape[::2] != (batch, 3):
            raise ValueError(f"expected background of shape ({batch}, M, 3), got {tuple(self.background.shape)}")
        if self.viewpoint.shape != (batch, 3):
            raise ValueError(f"expected viewpoint of shape ({batch}, 3), got {tuple(self.viewpoint.shape)}")
        if self.scale.shape != (batch,):
            raise ValueError(f"expected scale of shape ({batch},), got {tuple(self.scale.shape)}")

    def to(self, device: torch.device | str) -> Observation:
        return Observation(
            *(tensor.to(device) for tensor in (self.points, self.background, self.viewpoint, self.scale))
        )


@dataclass(frozen=True)
class ImageObservation:
    """Pictures of a batch of B objects, as a level camera that looks at the unit box sees them.

    Attributes:
        images: (B, 4, S, S) float32, 0 to 1: sRGB red, green and blue, and the object's mask.
        viewpoint: (B, 3) float32, unit frame: where the camera stood.
    """

    images: Tensor
    viewpoint: Tensor

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if len(shape) != 4 or shape[1] != IMAGE_CHANNELS or shape[2] != shape[3] or shape[2] == 0:
            raise ValueError(f"expected images of shape (B, {IMAGE_CHANNELS}, S, S), got {shape}")
        _check_unit_range("images", self.images)
        if self.viewpoint.shape != (shape[0], 3):
            raise ValueError(f"expected viewpoint of shape ({shape[0]}, 3), got {tuple(self.viewpoint.shape)}")

    def to(self, device: torch.device | str) -> ImageObservation:
        return ImageObservation(self.images.to(device), self.viewpoint.to(device))


@dataclass(frozen=True)
class VoxelObservation:
    """Coarse voxel grids of a batch of B objects; each fills a cube, the object's frame: -0.5 to 0.5 along x, y and z.

    Attributes:
        voxels: (B, R, R, R) float32, indexed x, y, z: 1 occupied, 0 free, 0.5 unknown. Whoever cannot tell unknown
            from free says 0 for both.
    """

    voxels: Tensor

    def __post_init__(self) -> None:
        shape = tuple(self.voxels.shape)
        if len(shape) != 4 or len(set(shape[1:])) != 1 or shape[1] == 0:
            raise ValueError(f"expected voxels of shape (B, R, R, R), got {shape}")
        _check_unit_range("voxels", self.voxels)

    def to(self, device: torch.device | str) -> VoxelObservation:
        return VoxelObservation(self.voxels.to(device))


AnyObservation = Observation | ImageObservation | VoxelObservation


def _check_unit_range(name: str, values: Tensor) -> None:
    """Raises ValueError that quotes the range found, unless all values are from 0 to 1; NaN is outside."""
    if not values.numel():
        return
    low, high = float(values.amin()), float(values.amax())
    if not (low >= 0.0 and high <= 1.0):
        raise ValueError(f"expected {name} from 0 to 1, got {low:g} to {high:g}")
