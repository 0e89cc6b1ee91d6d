"""What decoders that read features at each query have in common, and how their fields go through many queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn

from onet_ros.runs import rows_at_once, runs_of

ROWS_PER_CORE = 4096


class FeatureDecoder(nn.Module):
    """Residual blocks over what is known of a query, each told of the features found there (Peng et al., ECCV 2020).

    Args:
        inputs: how many values are known of a query: its place, and what else there is.
        features: how many are found there.
        hidden_size: width.
        blocks: how many residual blocks.
    """

    def __init__(self, inputs: int, features: int, hidden_size: int, blocks: int) -> None:
        super().__init__()
        self.fc_query = nn.Linear(inputs, hidden_size)
        self.fc_features = nn.Linear(features, hidden_size * (blocks + 1))
        self.fc_0 = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in range(blocks))
        self.fc_1 = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in range(blocks))
        self.fc_out = nn.Linear(hidden_size, 1)
        for layer in self.fc_1:
            nn.init.zeros_(cast(nn.Linear, layer).weight)

    def logits(self, known: Tensor, features: Tensor) -> Tensor:
        """known: (B, M, inputs), features: (B, M, features) -> logits (B, M)."""
        shares = self.fc_features(features).split(self.fc_query.out_features, dim=2)
        x: Tensor = self.fc_query(known) + shares[0]
        for fc_0, fc_1, share in zip(self.fc_0, self.fc_1, shares[1:], strict=True):
            x = x + fc_1(torch.relu(fc_0(torch.relu(x)))) + share
        logits: Tensor = self.fc_out(torch.relu(x)).squeeze(2)
        return logits


class PortionedField(ABC):
    """Logits of B objects, object by object in portions that stay in the cache; an `OccupancyField`.

    Args:
        device: of the codes.
    """

    def __init__(self, device: torch.device) -> None:
        self._rows = rows_at_once(device, ROWS_PER_CORE)

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor:
        """points: (N, 3) float32, the objects' frames, objects: (N,) int64 -> logits (N,) float32."""
        with torch.set_grad_enabled(points.requires_grad and torch.is_grad_enabled()):
            logits = [
                self._portion(points[low : min(low + self._rows, end)].unsqueeze(0), number).squeeze(0)
                for number, start, end in runs_of(objects)
                for low in range(start, end, self._rows)
            ]
        return torch.cat(logits) if logits else points.new_empty(0)

    @abstractmethod
    def _portion(self, queries: Tensor, number: int) -> Tensor:
        """queries: (1, M, 3) of one object -> logits (1, M)."""
