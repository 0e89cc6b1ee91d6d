"""Decoder with conditional batch normalization (CBN): query points and a code to occupancy logits.

Occupancy Networks (Mescheder et al., CVPR 2019), section 3.4 and supplementary section 1.1; CBN as in de Vries et al.
(NeurIPS 2017) and Dumoulin et al. (ICLR 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose scale and shift are linear in the code: scale(code) * (x - mean) / std + shift(code)."""

    def __init__(self, code_size: int, feature_size: int) -> None:
        super().__init__()
        self.scale = nn.Linear(code_size, feature_size)
        self.shift = nn.Linear(code_size, feature_size)
        self.norm = nn.BatchNorm1d(feature_size, affine=False)
        nn.init.zeros_(self.scale.weight)
        nn.init.ones_(self.scale.bias)
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.shift.bias)

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        """features: (B, M, feature_size), code: (B, code_size) -> (B, M, feature_size)."""
        normalised = self.norm(features.flatten(0, 1)).view_as(features)
        out: Tensor = self.scale(code).unsqueeze(1) * normalised + self.shift(code).unsqueeze(1)
        return out


class ConditionalBlock(nn.Module):
    """CBN, ReLU, linear, CBN, ReLU, linear (zero at the start), around an identity skip."""

    def __init__(self, code_size: int, hidden_size: int) -> None:
        super().__init__()
        self.norm_0 = ConditionalBatchNorm(code_size, hidden_size)
        self.fc_0 = nn.Linear(hidden_size, hidden_size)
        self.norm_1 = ConditionalBatchNorm(code_size, hidden_size)
        self.fc_1 = nn.Linear(hidden_size, hidden_size)
        nn.init.zeros_(self.fc_1.weight)

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        change: Tensor = self.fc_0(torch.relu(self.norm_0(features, code)))
        change = self.fc_1(torch.relu(self.norm_1(change, code)))
        return features + change


class CBNDecoder(nn.Module):
    """Five conditional blocks between a linear lift of the query and a linear logit.

    With the default sizes it has 3,548,417 parameters, of which 659,201 work on each query point.
    """

    def __init__(self, code_size: int = 512, hidden_size: int = 256) -> None:
        super().__init__()
        self.fc_query = nn.Linear(3, hidden_size)
        self.blocks = nn.ModuleList(ConditionalBlock(code_size, hidden_size) for _ in range(5))
        self.norm = ConditionalBatchNorm(code_size, hidden_size)
        self.fc_out = nn.Linear(hidden_size, 1)

    def forward(self, queries: Tensor, code: Tensor) -> Tensor:
        """queries: (B, M, 3) unit frame, code: (B, code_size) -> logits (B, M)."""
        features: Tensor = self.fc_query(queries)
        for block in self.blocks:
            features = block(features, code)
        logits: Tensor = self.fc_out(torch.relu(self.norm(features, code))).squeeze(2)
        return logits
