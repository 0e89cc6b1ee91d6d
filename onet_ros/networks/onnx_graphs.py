"""Networks as graphs for ONNX: what is decided once per object in one, what is asked at every point in the other.

The encoder's graph gives what the decoder's graph takes beside the points: with conditional batch norm the scales and
shifts into which the code is folded, with local features the planes and where points fall on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, cast

import torch
from torch import Tensor, nn

from onet_ros.networks.cbn_decoder import CBNDecoder, ConditionalBatchNorm, ConditionalBlock
from onet_ros.networks.cbn_field import folded_norm
from onet_ros.networks.folded_local_decoder import FoldedLocalDecoder
from onet_ros.networks.folded_local_encoder import FoldedLocalEncoder
from onet_ros.networks.local_decoder import LocalDecoder
from onet_ros.networks.local_encoder import LocalEncoder
from onet_ros.networks.local_field import bilinear_weights
from onet_ros.networks.occupancy_network import OBSERVATIONS, OccupancyNetwork
from onet_ros.networks.planes import PixelProjection


class EncoderGraph(nn.Module):
    """The tensors of B observations -> what the decoder's graph needs of the B objects.

    Attributes:
        inputs: names of the tensors taken, in their order: the fields of the observation.
        outputs: names of the tensors given.
    """

    def __init__(self, network: OccupancyNetwork, outputs: list[str]) -> None:
        super().__init__()
        self.network, self.observation = network, OBSERVATIONS[network.observes]
        self.inputs, self.outputs = [field.name for field in fields(self.observation)], outputs

    def observed(self, tensors: Sequence[Tensor]) -> Any:
        """The observation of these tensors. Their values are not checked: a graph cannot."""
        observation = object.__new__(self.observation)
        for name, tensor in zip(self.inputs, tensors, strict=True):
            object.__setattr__(observation, name, tensor)
        return observation


class CBNEncoderGraph(EncoderGraph):
    """-> scales, shifts (B, 2 blocks + 1, H): of the conditional norms in the order in which they come."""

    def __init__(self, network: OccupancyNetwork) -> None:
        super().__init__(network, ["scales", "shifts"])

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        code = self.network.encoder(self.observed(tensors))
        folded = [folded_norm(norm, code) for norm in _norms(cast(CBNDecoder, self.network.decoder))]
        return torch.stack([scale for scale, _ in folded], dim=1), torch.stack([shift for _, shift in folded], dim=1)


class CBNDecoderGraph(nn.Module):
    """points (B, M, 3), scales, shifts -> logits (B, M)."""

    inputs = ("points", "scales", "shifts")

    def __init__(self, decoder: CBNDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, points: Tensor, scales: Tensor, shifts: Tensor) -> Tensor:
        def norm(x: Tensor, number: int) -> Tensor:
            return torch.relu(x * scales[:, number : number + 1] + shifts[:, number : number + 1])

        x: Tensor = self.decoder.fc_query(points)
        for number, module in enumerate(self.decoder.blocks):
            block = cast(ConditionalBlock, module)
            x = x + block.fc_1(norm(block.fc_0(norm(x, 2 * number)), 2 * number + 1))
        logits: Tensor = self.decoder.fc_out(norm(x, 2 * len(self.decoder.blocks))).squeeze(2)
        return logits


class LocalEncoderGraph(EncoderGraph):
    """-> planes (B, K, R, R, C), matrix (B, 4, 2 K + 1) and distance (B, 1) of `PixelProjection`."""

    def __init__(self, network: OccupancyNetwork) -> None:
        super().__init__(network, ["planes", "matrix", "distance"])
        self._encode = FoldedLocalEncoder(cast(LocalEncoder, network.encoder))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        code = self._encode(self.observed(tensors))
        projection = PixelProjection(code.kinds, code.view, code.planes.shape[2])
        return code.planes, projection.matrix, projection.distance


class LocalDecoderGraph(nn.Module):
    """points (B, M, 3), planes, matrix, distance -> logits (B, M)."""

    inputs = ("points", "planes", "matrix", "distance")

    def __init__(self, network: OccupancyNetwork) -> None:
        super().__init__()
        encoder = cast(LocalEncoder, network.encoder)
        self._layers = FoldedLocalDecoder.of(cast(LocalDecoder, network.decoder))
        self._cameras = [2 * number for number, kind in enumerate(encoder.kinds) if kind == "camera"]
        self._planes, self._resolution = len(encoder.kinds), encoder.resolution

    def forward(self, points: Tensor, planes: Tensor, matrix: Tensor, distance: Tensor) -> Tensor:
        k, r, layers = self._planes, self._resolution, self._layers
        projected = points @ matrix[:, :3] + matrix[:, 3:]
        places, depth = PixelProjection.finished(projected, self._cameras, r)
        features = _features(planes, places, k, r)
        x = torch.cat([features, points, depth - distance.unsqueeze(1)], dim=2) @ layers.enter + layers.enter_bias
        for later, weight, bias, leave in layers.blocks:
            inner = torch.relu(torch.maximum(x, later) @ weight + bias)
            x = x + torch.cat([inner, features], dim=2) @ leave
        return torch.relu(x) @ layers.last + layers.last_bias


def _features(planes: Tensor, places: Tensor, k: int, r: int) -> Tensor:
    """(B, K, R, R, C) and (B, M, 2 K) columns and rows on the planes -> (B, M, C), interpolated, summed over planes."""
    batch, count = places.shape[0], places.shape[1]
    pairs = places.reshape(batch, count, k, 2)
    cells = pairs.long().clamp(max=r - 2)
    first = torch.arange(k, device=places.device) * (r * r)
    objects = torch.arange(batch, device=places.device).view(-1, 1, 1) * (k * r * r)
    corner = objects + first + cells[..., 1] * r + cells[..., 0]
    index = corner.unsqueeze(3) + torch.tensor([0, 1, r, r + 1], device=places.device)  # (B, M, K, 4)
    rows = planes.reshape(-1, planes.shape[4])[index.reshape(batch, count, 4 * k)]
    right, below = (pairs - cells).unbind(3)
    weights = bilinear_weights(right, below, dim=3).reshape(batch, count, 1, 4 * k)
    return (weights @ rows).squeeze(2)


def _norms(decoder: CBNDecoder) -> list[ConditionalBatchNorm]:
    blocks = [cast(ConditionalBlock, block) for block in decoder.blocks]
    return [norm for block in blocks for norm in (block.norm_0, block.norm_1)] + [decoder.norm]


def graphs_of(network: OccupancyNetwork) -> tuple[EncoderGraph, nn.Module]:
    """The graphs of an encoder and of a decoder.

    Raises:
        ValueError: an architecture or a frame that has none.
    """
    if network.frame != "unit":
        raise ValueError(f"networks in frame {network.frame!r} cannot be exported, only those in frame 'unit'")
    if isinstance(network.decoder, CBNDecoder):
        return CBNEncoderGraph(network), CBNDecoderGraph(network.decoder)
    if isinstance(network.decoder, LocalDecoder):
        return LocalEncoderGraph(network), LocalDecoderGraph(network)
    raise ValueError(f"architecture {network.config['architecture']!r} cannot be exported to ONNX")
