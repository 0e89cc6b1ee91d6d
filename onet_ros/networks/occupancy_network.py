"""An encoder and a decoder joined to one field: observation and query points to occupancy logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from onet_ros.networks.cbn_decoder import CBNDecoder
from onet_ros.networks.local_decoder import LocalDecoder
from onet_ros.networks.local_encoder import LocalEncoder
from onet_ros.networks.observation import Observation
from onet_ros.networks.pointnet import ResidualPointNet

# Architectures by the name that a checkpoint's configuration carries: encoder and decoder classes.
ARCHITECTURES: dict[str, tuple[type[nn.Module], type[nn.Module]]] = {
    "pointnet_cbn": (ResidualPointNet, CBNDecoder),
    "local_planes": (LocalEncoder, LocalDecoder),
}


class OccupancyNetwork(nn.Module):
    """f(query | observation) as logits: the probability of being inside the object is sigmoid(logit).

    Args:
        architecture: a key of ARCHITECTURES.
        encoder: keyword arguments of the encoder (sizes).
        decoder: keyword arguments of the decoder (sizes).

    Raises:
        ValueError: unknown architecture, or sizes that it does not take.
    """

    def __init__(self, architecture: str, encoder: dict[str, Any], decoder: dict[str, Any]) -> None:
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise ValueError(f"unknown architecture {architecture!r}; known are {', '.join(sorted(ARCHITECTURES))}")
        encoder_class, decoder_class = ARCHITECTURES[architecture]
        try:
            self.encoder = encoder_class(**encoder)
            self.decoder = decoder_class(**decoder)
        except (TypeError, RuntimeError) as error:
            raise ValueError(
                f"architecture {architecture!r} refuses its sizes {encoder} / {decoder}: {error}"
            ) from error
        self.config: dict[str, Any] = {"architecture": architecture, "encoder": dict(encoder), "decoder": dict(decoder)}

    def encode(self, observation: Observation) -> Any:
        """What the decoder needs to know of the B objects; its form is the architecture's own."""
        return self.encoder(observation)

    def decode(self, queries: Tensor, code: Any) -> Tensor:
        """queries: (B, M, 3) float32, unit frame -> logits (B, M)."""
        logits: Tensor = self.decoder(queries, code)
        return logits

    def forward(self, observation: Observation, queries: Tensor) -> Tensor:
        return self.decode(queries, self.encode(observation))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device
