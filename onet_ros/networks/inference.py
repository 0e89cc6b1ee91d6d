"""A trained network made ready to answer quickly: the same function, folded.

Everything that is constant is worked in once: batch norms into the layers beside them when the network is made ready,
what a code decides when a field is made from it. Nothing here can be trained.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor

from onet_ros.networks.camera_frame import TurnedCode, TurnedField, camera_axes, turned_observation
from onet_ros.networks.cbn_decoder import CBNDecoder
from onet_ros.networks.cbn_field import CBNField
from onet_ros.networks.folded_local_encoder import FoldedLocalEncoder
from onet_ros.networks.folded_pointnet import FoldedPointNet
from onet_ros.networks.local_decoder import LocalDecoder
from onet_ros.networks.local_encoder import LocalEncoder
from onet_ros.networks.local_field import LocalField
from onet_ros.networks.observation import Observation
from onet_ros.networks.occupancy_network import OccupancyNetwork
from onet_ros.networks.pointnet import ResidualPointNet

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class OccupancyField(Protocol):
    """Logits of a batch of B objects at any points.

    `field(points, objects)`: points (N, 3) float32, unit frame; objects (N,) int64, 0 to B - 1, which object each point
    asks about -> (N,) float32. Any order is answered; points of one object side by side are answered quickest.
    Gradients are recorded where `points` requires them.
    """

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor: ...


class InferenceNetwork:
    """An OccupancyNetwork in evaluation mode, folded. Later changes of the network's weights do not reach it.

    Args:
        network: any architecture.
        precision: "float32" equals the network up to rounding. "bfloat16" runs the wide layers, where it pays, in
            bfloat16 with sums in float32: the convolutions of LocalEncoder, ResidualPointNet and CBNDecoder.

    Raises:
        ValueError: an unknown precision.
    """

    def __init__(self, network: OccupancyNetwork, precision: str = "float32") -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        self.network = network
        self.precision = precision
        dtype = PRECISIONS[precision]
        encoder = network.encoder
        with torch.no_grad():
            if isinstance(encoder, LocalEncoder):
                self._encoder: Any = FoldedLocalEncoder(encoder, dtype)
            else:
                self._encoder = FoldedPointNet(cast(ResidualPointNet, encoder), dtype)

    @torch.no_grad()
    def encode(self, observation: Observation) -> Any:
        """The code of B objects, as `OccupancyNetwork.encode` gives it."""
        if self.network.frame == "unit":
            return self._encoder(observation)
        axes = camera_axes(observation)
        return TurnedCode(self._encoder(turned_observation(observation, axes)), axes)

    @torch.no_grad()
    def field(self, code: Any) -> OccupancyField:
        """The field of the B objects of a code."""
        if isinstance(code, TurnedCode):
            return TurnedField(self.field(code.code), code.axes)
        decoder = self.network.decoder
        if isinstance(decoder, LocalDecoder):
            return LocalField(decoder, code)
        return CBNField(cast(CBNDecoder, decoder), code, PRECISIONS[self.precision])

    @property
    def device(self) -> torch.device:
        return self.network.device
