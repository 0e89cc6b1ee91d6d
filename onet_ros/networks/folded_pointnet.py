"""ResidualPointNet without the work it repeats: the maximum of the points goes through a layer once, not per point."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from onet_ros.networks.observation import Observation
from onet_ros.networks.pointnet import ResidualBlock, ResidualPointNet


class FoldedPointNet:
    """The function of a ResidualPointNet in evaluation mode.

    Args:
        encoder: its sizes and weights.
        dtype: of the matrix products.
    """

    def __init__(self, encoder: ResidualPointNet, dtype: torch.dtype = torch.float32) -> None:
        self._encoder = encoder
        first, *others = (cast(ResidualBlock, block) for block in encoder.blocks)
        self._first = _HalvedBlock(first, first.fc_0.in_features, dtype)
        self._others = [_HalvedBlock(block, block.fc_1.out_features, dtype) for block in others]

    def __call__(self, observation: Observation) -> Tensor:
        """Observation of B objects -> (B, code_size) float32."""
        features = self._first(self._encoder.fc_pos(observation.points), None)
        for block in self._others:
            features = block(features, features.amax(dim=1, keepdim=True))
        code: Tensor = self._encoder.fc_code(torch.relu(features.amax(dim=1).float()))
        return code


class _HalvedBlock:
    """A ResidualBlock whose input is a part that differs from point to point, and after it one that does not."""

    def __init__(self, block: ResidualBlock, own: int, dtype: torch.dtype) -> None:
        """own: how many of the inputs differ from point to point."""
        self.dtype = dtype
        weights = (block.fc_0.weight, block.shortcut.weight)
        self.own_0, self.own_shortcut = (weight[:, :own].to(dtype).contiguous() for weight in weights)
        self.same_0, self.same_shortcut = (weight[:, own:].to(dtype).contiguous() for weight in weights)
        self.bias_0, self.bias_1 = block.fc_0.bias.to(dtype), block.fc_1.bias.to(dtype)
        self.fc_1 = block.fc_1.weight.to(dtype)

    def __call__(self, own: Tensor, same: Tensor | None) -> Tensor:
        """own: (B, N, own), same: (B, 1, the rest) -> (B, N, size_out)."""
        own = own.to(self.dtype)
        hidden, shortcut = F.linear(own.relu(), self.own_0), F.linear(own, self.own_shortcut)
        if same is None:
            hidden += self.bias_0
        else:
            hidden += F.linear(same.relu(), self.same_0, self.bias_0)
            shortcut += F.linear(same, self.same_shortcut)
        return shortcut.add_(F.linear(hidden.relu_(), self.fc_1, self.bias_1))
