"""A narrow decoder that reads interpolated plane features at each query (Peng et al., ECCV 2020, section 3.3)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from onet_ros.networks.local_encoder import PlaneCode
from onet_ros.networks.planes import place_on_plane, sample_planes


class LocalDecoder(nn.Module):
    """Residual blocks over the query's place, its depth in the camera, and the features found there.

    Args:
        channels: of the planes.
        hidden_size: width.
        blocks: how many residual blocks.
    """

    def __init__(self, channels: int = 32, hidden_size: int = 32, blocks: int = 4) -> None:
        super().__init__()
        self.fc_query = nn.Linear(4, hidden_size)
        self.fc_features = nn.Linear(channels, hidden_size * (blocks + 1))
        self.fc_0 = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in range(blocks))
        self.fc_1 = nn.ModuleList(nn.Linear(hidden_size, hidden_size) for _ in range(blocks))
        self.fc_out = nn.Linear(hidden_size, 1)
        for layer in self.fc_1:
            nn.init.zeros_(cast(nn.Linear, layer).weight)

    def forward(self, queries: Tensor, code: PlaneCode) -> Tensor:
        """queries: (B, M, 3) unit frame -> logits (B, M)."""
        places = torch.stack([place_on_plane(kind, queries, code.view) for kind in code.kinds], dim=1)
        features = sample_planes(code.planes.float(), places)
        shares = self.fc_features(features).split(self.fc_query.out_features, dim=2)
        depth = code.view.project(queries)[1].unsqueeze(2)
        x: Tensor = self.fc_query(torch.cat([queries, depth], dim=2)) + shares[0]
        for fc_0, fc_1, share in zip(self.fc_0, self.fc_1, shares[1:], strict=True):
            x = x + fc_1(torch.relu(fc_0(torch.relu(x)))) + share
        logits: Tensor = self.fc_out(torch.relu(x)).squeeze(2)
        return logits
