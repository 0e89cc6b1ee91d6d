"""LocalDecoder for given planes: one kernel on a GPU (`local_kernel`), one loop on a CPU (`local_loops`), and layer by
layer where neither can be.

There is no bfloat16 mode: it makes matrix products of width 32 a quarter faster, and the conversions eat that up.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from onet_ros.networks.folded_local_decoder import FoldedLocalDecoder
from onet_ros.networks.local_encoder import PlaneCode
from onet_ros.networks.local_kernel import LocalFieldKernel
from onet_ros.networks.local_loops import LocalFieldLoops
from onet_ros.networks.planes import PixelProjection
from onet_ros.runs import rows_at_once, runs_of

ROWS_PER_CORE = 4096


class LocalField:
    """Logits of B objects; an `OccupancyField`.

    Args:
        decoder: folded.
        code: of B objects, float32.
        layered: go layer by layer wherever the planes are.
    """

    def __init__(self, decoder: FoldedLocalDecoder, code: PlaneCode, layered: bool = False) -> None:
        self._folded, self._code = decoder, code
        b, k, r, _, c = code.planes.shape
        self._table, self._objects, self._planes, self._resolution = code.planes.reshape(b * k * r * r, c), b, k, r
        self._projection = PixelProjection(code.kinds, code.view, r)
        self._fused: LocalFieldKernel | LocalFieldLoops | None = None
        if not layered and code.planes.device.type == "cpu":
            self._fused = LocalFieldLoops(decoder, self._projection, self._table, r)
        elif not layered and LocalFieldKernel.fits(decoder, self._table):
            self._fused = LocalFieldKernel(decoder, self._projection, self._table, r)
        else:
            self._prepare_layers()

    def _prepare_layers(self) -> None:
        """What is needed to go through the decoder layer by layer."""
        planes, k, r, width = self._table, self._planes, self._resolution, self._folded.width
        plane_starts = torch.arange(k, dtype=torch.int32, device=planes.device) * (r * r)
        corners = torch.tensor([0, 1, r, r + 1], dtype=torch.int32, device=planes.device)
        self._corners = plane_starts[:, None] + corners  # (K, 4)
        self._first_rows = torch.arange(self._objects, dtype=torch.int32, device=planes.device) * (k * r * r)
        self._rows = rows = rows_at_once(planes.device, ROWS_PER_CORE)
        self._stream, self._active, self._inner = (planes.new_empty(rows, width) for _ in range(3))
        # hidden, features, place, depth: what layers multiply
        self._inputs = planes.new_empty(rows, width + self._folded.channels + 4)

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor:
        """points: (N, 3) float32, unit frame, objects: (N,) int64 -> logits (N,) float32."""
        if points.requires_grad and torch.is_grad_enabled():
            return torch.cat([self._plain(points[start:end], number) for number, start, end in runs_of(objects)])
        if not len(points):
            return points.new_empty(0)
        if self._fused is not None:
            logits = self._fused(points, objects)
            if logits is not None:
                return logits
            self._fused = None
            self._prepare_layers()
        logits = points.new_empty(len(points))
        with torch.no_grad():
            for low in range(0, len(points), self._rows):
                high = min(low + self._rows, len(points))
                self._evaluate(points[low:high], objects[low:high], logits[low:high])
        return logits

    def _plain(self, points: Tensor, number: int) -> Tensor:
        own = PlaneCode(self._code.planes[number : number + 1], self._code.kinds, self._code.view.of(number))
        logits: Tensor = self._folded.decoder(points.unsqueeze(0), own)
        return logits.squeeze(0)

    def _evaluate(self, points: Tensor, objects: Tensor, out: Tensor) -> None:
        rows, width, layers = len(points), self._folded.width, self._folded
        inputs, x, active, inner = (t[:rows] for t in (self._inputs, self._stream, self._active, self._inner))
        self._read_planes(points, objects, inputs)
        torch.addmm(layers.enter_bias, inputs[:, width:], layers.enter, out=x)
        hidden_and_features = inputs[:, : width + layers.channels]
        for later, weight_0, bias_0, leave in layers.blocks:
            torch.maximum(x, later, out=active)
            torch.addmm(bias_0, active, weight_0, out=inner)
            torch.clamp_min(inner, 0.0, out=inputs[:, :width])
            x.addmm_(hidden_and_features, leave)
        torch.addmv(layers.last_bias, x.clamp_min_(0.0), layers.last, out=out)

    def _read_planes(self, points: Tensor, objects: Tensor, inputs: Tensor) -> None:
        """Fill in the columns for features, place and depth of `inputs`."""
        k, r, width = self._planes, self._resolution, self._folded.width
        projected = self._projection.project(objects, points)
        places, depth = self._projection.finished(projected, self._projection.cameras, r)
        pairs = places.view(-1, k, 2)
        cells = pairs.int().clamp_(max=r - 2)  # rounds down: places are not negative
        right, below = (pairs - cells).unbind(2)
        corner = torch.add(cells[..., 0], cells[..., 1], alpha=r) + self._first_rows.take(objects).unsqueeze(1)
        inputs[:, -4:-1] = points
        inputs[:, -1:] = depth - self._projection.distance[objects]
        index = (corner.unsqueeze(2) + self._corners).flatten(1)
        weights = bilinear_weights(right, below, dim=2).flatten(1)
        inputs[:, width : width + self._folded.channels] = F.embedding_bag(
            index, self._table, per_sample_weights=weights, mode="sum"
        )


def bilinear_weights(right: Tensor, below: Tensor, dim: int) -> Tensor:
    """Shares of the right and of the lower neighbours -> weights of the four corners, along a new dimension."""
    both = right * below
    return torch.stack([1.0 - right - below + both, right - both, below - both, both], dim=dim)
