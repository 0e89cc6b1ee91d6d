"""3D convolutions over a coarse voxel grid: to one code, or to features kept where they are.

`VoxelEncoder` is that of Occupancy Networks (Mescheder et al., CVPR 2019), supplementary section 1.2. `VoxelPyramid`
keeps what each of its layers found in place, where a decoder can read it (after IF-Nets, Chibane et al., CVPR 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from onet_ros.networks.observation import VoxelObservation

HALVINGS = 4


class VoxelEncoder(nn.Module):
    """A 3 x 3 x 3 convolution, four more with stride 2, and a linear layer over all that is left.

    With the default sizes it has 5,750,848 parameters.

    Args:
        code_size: width of the code.
        width: channels of the first convolution, doubled with each of the following.
        resolution: cells along an edge of the grids, a multiple of 16.
    """

    def __init__(self, code_size: int = 256, width: int = 32, resolution: int = 32) -> None:
        super().__init__()
        self.resolution = _checked_resolution(resolution, 1 << HALVINGS)
        self.conv_in = nn.Conv3d(1, width, 3, padding=1)
        self.convs = _halving_convolutions(width)
        self.fc_code = nn.Linear((width << HALVINGS) * (resolution >> HALVINGS) ** 3, code_size)
        _channels_last(self)

    def forward(self, observation: VoxelObservation) -> Tensor:
        """VoxelObservation of B objects -> (B, code_size)."""
        code: Tensor = self.fc_code(_levels(self, observation)[-1].flatten(1))
        return code


@dataclass(frozen=True)
class VoxelCode:
    """Features of B objects in place, on grids of falling resolution over the same cube.

    Attributes:
        table: (B, K, C) the features of all cells, level after level, z running fastest.
        resolutions: cells along an edge at each level.
    """

    table: Tensor
    resolutions: tuple[int, ...]


class VoxelPyramid(nn.Module):
    """The convolutions of `VoxelEncoder`, each level turned into as many channels.

    Args:
        width: channels of the first convolution, doubled with each of the following.
        channels: of the features at each level.
        resolution: cells along an edge of the grids, a multiple of 32.
    """

    def __init__(self, width: int = 16, channels: int = 16, resolution: int = 32) -> None:
        super().__init__()
        self.resolution = _checked_resolution(resolution, 2 << HALVINGS)  # at least two cells are left to go between
        self.conv_in = nn.Conv3d(1, width, 3, padding=1)
        self.convs = _halving_convolutions(width)
        self.to_features = nn.ModuleList(nn.Conv3d(width << level, channels, 1) for level in range(HALVINGS + 1))
        _channels_last(self)

    def forward(self, observation: VoxelObservation) -> VoxelCode:
        """VoxelObservation of B objects -> their features."""
        levels = _levels(self, observation)
        features = [layer(level) for layer, level in zip(self.to_features, levels, strict=True)]
        table = torch.cat([feature.flatten(2) for feature in features], dim=2)  # (B, C, K)
        return VoxelCode(table.transpose(1, 2).contiguous(), tuple(feature.shape[2] for feature in features))


def _halving_convolutions(width: int) -> nn.ModuleList:
    return nn.ModuleList(
        nn.Conv3d(width << level, width << (level + 1), 3, stride=2, padding=1) for level in range(HALVINGS)
    )


def _channels_last(encoder: nn.Module) -> None:
    """Convolutions in bfloat16 take half the time with their channels side by side."""
    encoder.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's stubs leave it out


def _levels(encoder: VoxelEncoder | VoxelPyramid, observation: VoxelObservation) -> list[Tensor]:
    """What each convolution and its ReLU give: (B, width, R, R, R), (B, 2 width, R/2, ...), ...

    Raises:
        ValueError: grids of another size than the encoder is made for.
    """
    r = encoder.resolution
    voxels = observation.voxels
    if voxels.shape[1] != r:
        raise ValueError(f"expected grids of {r} x {r} x {r} voxels, got {tuple(voxels.shape[1:])}")
    levels = [cast(Tensor, encoder.conv_in(voxels.unsqueeze(1))).relu()]
    for convolution in encoder.convs:
        levels.append(convolution(levels[-1]).relu())
    return levels


def _checked_resolution(resolution: int, multiple: int) -> int:
    if resolution < multiple or resolution % multiple:
        raise TypeError(f"resolution must be a multiple of {multiple}, got {resolution}")
    return resolution
