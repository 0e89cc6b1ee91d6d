"""Residual PointNet: a set of points to one code (Occupancy Networks, CVPR 2019, supplementary section 1.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onet_ros.networks.observation import Observation


class ResidualBlock(nn.Module):
    """ReLU, linear, ReLU, linear (zero at the start), plus a bias-free linear shortcut.

    (..., size_in) -> (..., size_out).
    """

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__()
        self.fc_0 = nn.Linear(size_in, size_out)
        self.fc_1 = nn.Linear(size_out, size_out)
        self.shortcut = nn.Linear(size_in, size_out, bias=False)
        nn.init.zeros_(self.fc_1.weight)

    def forward(self, features: Tensor) -> Tensor:
        change: Tensor = self.fc_1(torch.relu(self.fc_0(torch.relu(features))))
        return self.shortcut(features) + change


class ResidualPointNet(nn.Module):
    """Five residual blocks over each point, after each of which the maximum over the points is told to every point.

    With the default sizes it has 6,825,472 parameters.

    Args:
        hidden_size: width of a point's features between the blocks.
        code_size: width of the code.
    """

    def __init__(self, hidden_size: int = 512, code_size: int = 512) -> None:
        super().__init__()
        self.fc_pos = nn.Linear(3, 2 * hidden_size)
        self.blocks = nn.ModuleList(ResidualBlock(2 * hidden_size, hidden_size) for _ in range(5))
        self.fc_code = nn.Linear(hidden_size, code_size)

    def forward(self, observation: Observation) -> Tensor:
        """Observation of B objects -> (B, code_size)."""
        features: Tensor = self.fc_pos(observation.points)  # (B, N, 2 hidden)
        for block in list(self.blocks)[:-1]:
            features = block(features)  # (B, N, hidden)
            pooled = features.max(dim=1, keepdim=True).values.expand_as(features)
            features = torch.cat([features, pooled], dim=2)
        pooled = self.blocks[-1](features).max(dim=1).values  # (B, hidden)
        code: Tensor = self.fc_code(torch.relu(pooled))
        return code
