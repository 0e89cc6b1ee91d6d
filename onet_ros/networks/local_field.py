"""LocalDecoder for given planes: as few passes over the activations as the arithmetic needs.

Measured on one core of an AMD EPYC (AVX-512; 32 channels, width 32, 4 blocks, 3 planes): matrix products take 0.33 us a
point, reading the planes 0.05 us and everything else 0.1 us, where the plain module takes 0.9 us. There is no bfloat16
mode: it makes matrix products of width 32 a quarter faster, and the conversions eat that up.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onet_ros.networks.local_decoder import LocalDecoder
from onet_ros.networks.local_encoder import PlaneCode
from onet_ros.networks.planes import CameraView, PixelProjection
from onet_ros.networks.runs import rows_at_once, runs_of

ROWS_PER_CORE = 4096  # of 32 features: measured best from 2048 to 8192


class LocalField:
    """Logits of B objects; an `OccupancyField`.

    The share of the features that a block adds and the block's own change are one product with [hidden, features]. The
    biases of the residual stream are in it from the start, all of them; a block that should not see those after it
    compares with their sum r instead of 0, since relu(x - r) = max(x, r) - r, and takes r off behind its first layer.

    Args:
        decoder: in evaluation mode.
        code: of B objects, float32.
    """

    def __init__(self, decoder: LocalDecoder, code: PlaneCode) -> None:
        self._decoder, self._code = decoder, code
        b, k, r, _, c = code.planes.shape
        planes = code.planes.reshape(b * k * r * r, c)
        self._table, self._objects, self._planes, self._resolution = planes, b, k, r
        self._projection = PixelProjection(code.kinds, code.view, r)
        plane_starts = torch.arange(k, dtype=torch.int32, device=planes.device) * (r * r)
        corners = torch.tensor([0, 1, r, r + 1], dtype=torch.int32, device=planes.device)
        self._corners = plane_starts[:, None] + corners  # (K, 4)
        self._fold(decoder)
        rows, width = rows_at_once(planes.device, ROWS_PER_CORE), self._width
        self._rows = rows
        self._stream, self._active, self._inner = (planes.new_empty(rows, width) for _ in range(3))
        self._inputs = planes.new_empty(rows, width + c + 4)  # hidden, features, place, depth: what layers multiply
        self._projected = planes.new_empty(rows, 2 * k + 1)

    def _fold(self, decoder: LocalDecoder) -> None:
        width, channels = decoder.fc_query.out_features, decoder.fc_features.in_features
        self._width, self._channels = width, channels
        shares = decoder.fc_features.weight.view(-1, width, channels)
        share_biases = decoder.fc_features.bias.view(-1, width)
        self._enter = torch.cat([shares[0].t(), decoder.fc_query.weight.t()])  # (C + 4, H)
        self._blocks: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        later = torch.zeros_like(share_biases[0])
        for i in reversed(range(len(decoder.fc_0))):
            fc_0, fc_1 = cast(nn.Linear, decoder.fc_0[i]), cast(nn.Linear, decoder.fc_1[i])
            later = later + fc_1.bias + share_biases[i + 1]
            leave = torch.cat([fc_1.weight.t(), shares[i + 1].t()])  # (H + C, H)
            self._blocks.insert(0, (later, fc_0.weight.t(), fc_0.bias - fc_0.weight @ later, leave))
        self._enter_bias = decoder.fc_query.bias + share_biases[0] + later
        self._last, self._last_bias = decoder.fc_out.weight[0], decoder.fc_out.bias

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor:
        """points: (N, 3) float32, unit frame, objects: (N,) int64 -> logits (N,) float32."""
        if points.requires_grad and torch.is_grad_enabled():
            return torch.cat([self._plain(points[start:end], number) for number, start, end in runs_of(objects)])
        logits = points.new_empty(len(points))
        with torch.no_grad():
            for low in range(0, len(points), self._rows):
                high = min(low + self._rows, len(points))
                self._evaluate(points[low:high], objects[low:high], logits[low:high])
        return logits

    def _plain(self, points: Tensor, number: int) -> Tensor:
        planes, view = self._code.planes, self._code.view
        own = slice(number, number + 1)
        view = CameraView(view.axes[own], view.viewpoint[own], view.distance[own])
        logits: Tensor = self._decoder(points.unsqueeze(0), PlaneCode(planes[own], self._code.kinds, view))
        return logits.squeeze(0)

    def _evaluate(self, points: Tensor, objects: Tensor, out: Tensor) -> None:
        rows, width = len(points), self._width
        inputs, x, active, inner = (t[:rows] for t in (self._inputs, self._stream, self._active, self._inner))
        self._read_planes(points, objects, inputs)
        torch.addmm(self._enter_bias, inputs[:, width:], self._enter, out=x)
        hidden_and_features = inputs[:, : width + self._channels]
        for later, weight_0, bias_0, leave in self._blocks:
            torch.maximum(x, later, out=active)
            torch.addmm(bias_0, active, weight_0, out=inner)
            torch.clamp_min(inner, 0.0, out=inputs[:, :width])
            x.addmm_(hidden_and_features, leave)
        torch.addmv(self._last_bias, x.clamp_min_(0.0), self._last, out=out)

    def _read_planes(self, points: Tensor, objects: Tensor, inputs: Tensor) -> None:
        """Fill in the columns for features, place and depth of `inputs`."""
        rows, k, r = len(points), self._planes, self._resolution
        runs = [(0, 0, rows)] if self._objects == 1 else list(runs_of(objects))
        projected = self._projected[:rows]
        for number, start, end in runs:
            self._projection.project(number, points[start:end], projected[start:end])
        places, depth = self._projection.finish(projected)
        cells = places.int().clamp_(max=r - 2)  # rounds down: places are not negative
        shares = (places - cells).view(rows, k, 2)
        cells = cells.view(rows, k, 2)
        corner = torch.add(cells[..., 0], cells[..., 1], alpha=r)
        inputs[:, -4:-1] = points
        for number, start, end in runs:
            torch.sub(depth[start:end], self._projection.distance[number], out=inputs[start:end, -1:])
            if number:
                corner[start:end] += number * k * r * r
        index = (corner.unsqueeze(2) + self._corners).view(rows, 4 * k)
        features = F.embedding_bag(index, self._table, per_sample_weights=_bilinear(shares), mode="sum")
        inputs[:, self._width : self._width + self._channels] = features


def _bilinear(shares: Tensor) -> Tensor:
    """Shares (M, K, 2) of the right and of the lower neighbours -> weights (M, 4 K) of the four corners of each."""
    right, below = shares.unbind(2)
    weights = shares.new_empty(*right.shape, 4)
    both = right * below
    weights[..., 3] = both
    torch.sub(below, both, out=weights[..., 2])
    torch.sub(right, both, out=weights[..., 1])
    torch.sub(1.0 - right, weights[..., 2], out=weights[..., 0])
    return weights.flatten(1)
