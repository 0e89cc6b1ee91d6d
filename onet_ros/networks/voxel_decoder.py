"""A narrow decoder that reads interpolated features of a voxel pyramid at each query."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from onet_ros.networks.feature_decoder import FeatureDecoder, PortionedField
from onet_ros.networks.voxel_encoder import VoxelCode

_CORNERS = torch.tensor(list(itertools.product((0, 1), repeat=3)))  # (8, 3) of a cell, from its lower corner


class VoxelDecoder(FeatureDecoder):
    """Residual blocks over the query's place and the features found there, at all levels together.

    Args:
        channels: of the features.
        hidden_size: width.
        blocks: how many residual blocks.
    """

    def __init__(self, channels: int = 16, hidden_size: int = 64, blocks: int = 3) -> None:
        super().__init__(3, channels, hidden_size, blocks)

    def forward(self, queries: Tensor, code: VoxelCode) -> Tensor:
        """queries: (B, M, 3), the objects' frames -> logits (B, M)."""
        return self.logits(queries, sample_pyramid(code, queries))


def sample_pyramid(code: VoxelCode, queries: Tensor) -> Tensor:
    """Sum over the levels of trilinearly interpolated features; cells carry theirs in their middle.

    Args:
        queries: (B, M, 3); those beyond the cube read at its border.

    Returns:
        (B, M, C). One gather of 8 weighted rows a level, as `planes.sample_planes` does it.
    """
    b, m, _ = queries.shape
    corners = _CORNERS.to(queries.device)
    first = (torch.arange(b, device=queries.device) * code.table.shape[1])[:, None, None]
    indices, weights = [], []
    for r in code.resolutions:
        position = ((queries + 0.5) * r - 0.5).clamp(0.0, r - 1.0)
        low = position.detach().floor().clamp(max=r - 2.0)
        share = (position - low).unsqueeze(2)  # (B, M, 1, 3)
        cell = low.long().unsqueeze(2) + corners  # (B, M, 8, 3)
        indices.append(first + (cell[..., 0] * r + cell[..., 1]) * r + cell[..., 2])
        weights.append(torch.where(corners.bool(), share, 1.0 - share).prod(dim=3))
        first = first + r**3
    index = torch.cat(indices, dim=2).view(b * m, -1)
    weight = torch.cat(weights, dim=2).view(b * m, -1).to(code.table.dtype)
    table = code.table.flatten(0, 1)
    return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum").view(b, m, -1)


class VoxelField(PortionedField):
    """Logits of B objects, object by object in portions that stay in the cache; an `OccupancyField`.

    Args:
        decoder: in evaluation mode.
        code: of B objects, float32.
    """

    def __init__(self, decoder: VoxelDecoder, code: VoxelCode) -> None:
        super().__init__(code.table.device)
        self._decoder, self._code = decoder, code

    def _portion(self, queries: Tensor, number: int) -> Tensor:
        own = VoxelCode(self._code.table[number : number + 1], self._code.resolutions)
        logits: Tensor = self._decoder(queries, own)
        return logits
