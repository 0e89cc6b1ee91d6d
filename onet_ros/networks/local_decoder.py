"""A narrow decoder that reads interpolated plane features at each query (Peng et al., ECCV 2020, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from onet_ros.networks.feature_decoder import FeatureDecoder
from onet_ros.networks.local_encoder import PlaneCode
from onet_ros.networks.planes import place_on_plane, sample_planes


class LocalDecoder(FeatureDecoder):
    """Residual blocks over the query's place, its depth in the camera, and the features found there.

    Args:
        channels: of the planes.
        hidden_size: width.
        blocks: how many residual blocks.
    """

    def __init__(self, channels: int = 32, hidden_size: int = 32, blocks: int = 4) -> None:
        super().__init__(4, channels, hidden_size, blocks)

    def forward(self, queries: Tensor, code: PlaneCode) -> Tensor:
        """queries: (B, M, 3) unit frame -> logits (B, M)."""
        places = torch.stack([place_on_plane(kind, queries, code.view) for kind in code.kinds], dim=1)
        features = sample_planes(code.planes.float(), places)
        depth = code.view.project(queries)[1].unsqueeze(2)
        return self.logits(torch.cat([queries, depth], dim=2), features)
