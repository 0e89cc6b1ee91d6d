"""A narrow decoder that reads interpolated features of a voxel pyramid at each query."""

from __future__ import annotations

import itertools
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onet_ros.networks.runs import rows_at_once, runs_of
from onet_ros.networks.voxel_encoder import VoxelCode

ROWS_PER_CORE = 4096

_CORNERS = torch.tensor(list(itertools.product((0, 1), repeat=3)))  # (8, 3) of a cell, from its lower corner


class VoxelDecoder(nn.Module):
    """Residual blocks over the query's place and the features found there, at all levels together.

    Args:
        channels: of the features.
        hidden_size: width.
        blocks: how many residual blocks.
    """

    def __init__(self, channels: int = 16, hidden_size: int = 64, blocks: int = 3) -> None:
        super().__init__()
        self.fc_query = nn.Linear(3, hidden_size)
        self.fc_features = nn.Linear(channels, hidden_size * (blocks + 1))
        self.fc_0 = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in range(blocks))
        self.fc_1 = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in range(blocks))
        self.fc_out = nn.Linear(hidden_size, 1)
        for layer in self.fc_1:
            nn.init.zeros_(cast(nn.Linear, layer).weight)

    def forward(self, queries: Tensor, code: VoxelCode) -> Tensor:
        """queries: (B, M, 3), the objects' frames -> logits (B, M)."""
        features = sample_pyramid(code, queries)
        shares = self.fc_features(features).split(self.fc_query.out_features, dim=2)
        x: Tensor = self.fc_query(queries) + shares[0]
        for fc_0, fc_1, share in zip(self.fc_0, self.fc_1, shares[1:], strict=True):
            x = x + fc_1(torch.relu(fc_0(torch.relu(x)))) + share
        logits: Tensor = self.fc_out(torch.relu(x)).squeeze(2)
        return logits


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


class VoxelField:
    """Logits of B objects, object by object in portions that stay in the cache; an `OccupancyField`.

    Args:
        decoder: in evaluation mode.
        code: of B objects, float32.
    """

    def __init__(self, decoder: VoxelDecoder, code: VoxelCode) -> None:
        self._decoder, self._code = decoder, code
        self._rows = rows_at_once(code.table.device, ROWS_PER_CORE)

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor:
        """points: (N, 3) float32, the objects' frames, objects: (N,) int64 -> logits (N,) float32."""
        with torch.set_grad_enabled(points.requires_grad and torch.is_grad_enabled()):
            logits = [
                self._portion(points[low : min(low + self._rows, end)], number)
                for number, start, end in runs_of(objects)
                for low in range(start, end, self._rows)
            ]
        return torch.cat(logits) if logits else points.new_empty(0)

    def _portion(self, points: Tensor, number: int) -> Tensor:
        own = VoxelCode(self._code.table[number : number + 1], self._code.resolutions)
        logits: Tensor = self._decoder(points.unsqueeze(0), own)
        return logits.squeeze(0)
