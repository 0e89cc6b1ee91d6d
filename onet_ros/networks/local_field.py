"""LocalDecoder for given planes: as few passes over the activations as the arithmetic needs.

Measured on one core of an AMD EPYC (AVX-512; 32 channels, width 32, 4 blocks, 3 planes): matrix products take 0.33 us a
point, reading the planes 0.05 us and everything else 0.1 us, where the plain module takes 0.9 us. On two cores without
AVX-512 it is 0.3 us for the products and 0.15 us for where the points fall and the planes, which is why one coordinate
of many points goes after the other there. There is no bfloat16 mode: it makes matrix products of width 32 a quarter
faster, and the conversions eat that up.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from onet_ros.networks.folded_local_decoder import FoldedLocalDecoder
from onet_ros.networks.local_encoder import PlaneCode
from onet_ros.networks.local_kernel import LocalFieldKernel
from onet_ros.networks.planes import PixelProjection
from onet_ros.runs import rows_at_once, runs_of

ROWS_PER_CORE = 4096  # of 32 features: measured best from 2048 to 8192


class LocalField:
    """Logits of B objects; an `OccupancyField`.

    Args:
        decoder: folded.
        code: of B objects, float32.
        together: project the points of all objects at once, as `CBNField` explains.
    """

    def __init__(self, decoder: FoldedLocalDecoder, code: PlaneCode, together: bool | None = None) -> None:
        self._folded, self._code = decoder, code
        self._together = len(code.planes) > 1 and (code.planes.is_cuda if together is None else together)
        b, k, r, _, c = code.planes.shape
        planes = code.planes.reshape(b * k * r * r, c)
        self._table, self._objects, self._planes, self._resolution = planes, b, k, r
        self._projection = PixelProjection(code.kinds, code.view, r)
        self._fused: LocalFieldKernel | None = None
        if LocalFieldKernel.fits(decoder, planes):
            self._fused = LocalFieldKernel(decoder, self._projection, planes, r)
            return
        self._prepare_layers()

    def _prepare_layers(self) -> None:
        """What is needed to go through the decoder layer by layer."""
        planes, k, r, width = self._table, self._planes, self._resolution, self._folded.width
        plane_starts = torch.arange(k, dtype=torch.int32, device=planes.device) * (r * r)
        corners = torch.tensor([0, 1, r, r + 1], dtype=torch.int32, device=planes.device)
        self._corners = (corners[:, None] + plane_starts).unsqueeze(2)  # (4, K, 1)
        self._first_rows = torch.arange(self._objects, dtype=torch.int32, device=planes.device) * (k * r * r)
        self._rows = rows = rows_at_once(planes.device, ROWS_PER_CORE)
        self._stream, self._active, self._inner = (planes.new_empty(rows, width) for _ in range(3))
        # hidden, features, place, depth: what layers multiply
        self._inputs = planes.new_empty(rows, width + self._folded.channels + 4)
        self._projected = planes.new_empty((2 * k + 1) * rows)

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor:
        """points: (N, 3) float32, unit frame, objects: (N,) int64 -> logits (N,) float32."""
        if points.requires_grad and torch.is_grad_enabled():
            return torch.cat([self._plain(points[start:end], number) for number, start, end in runs_of(objects)])
        if self._fused is not None and len(points):
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
        places, depth, first = self._project(points, objects)
        cells = places.int().clamp_(max=r - 2)  # rounds down: places are not negative
        right, below = (places - cells).split(k)
        corner = torch.add(cells[:k], cells[k:], alpha=r)
        if first is not None:
            corner += first
        inputs[:, -4:-1] = points
        inputs[:, -1] = depth
        index, weights = (
            of_corners.flatten(0, 1).t().contiguous()
            for of_corners in (corner + self._corners, bilinear_weights(right, below, dim=0))
        )
        inputs[:, width : width + self._folded.channels] = F.embedding_bag(
            index, self._table, per_sample_weights=weights, mode="sum"
        )

    def _project(self, points: Tensor, objects: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """(2 K, M) columns and then rows on the planes, (M,) depth beyond the middle of the box, and (M,) int32 the
        first row of each point's object in the table; None where there is but one object."""
        first = None if self._objects == 1 else self._first_rows.take(objects)
        if self._together:
            places, depth = self._projection.finish(self._projection.project_mixed(objects, points))
            return places, depth - self._projection.distance.take(objects), first
        runs = [(0, 0, len(points))] if self._objects == 1 else list(runs_of(objects))
        size = 2 * self._planes + 1
        projected = self._projected[: size * len(points)].view(size, -1)
        for number, start, end in runs:
            self._projection.project(number, points[start:end], projected[:, start:end])
        places, depth = self._projection.finish(projected)
        for number, start, end in runs:
            depth[start:end] -= self._projection.distance[number]
        return places, depth, first


def bilinear_weights(right: Tensor, below: Tensor, dim: int) -> Tensor:
    """Shares of the right and of the lower neighbours -> weights of the four corners, along a new dimension."""
    both = right * below
    return torch.stack([1.0 - right - below + both, right - both, below - both, both], dim=dim)
