"""CBNDecoder for given codes: what the codes decide is folded into the layers.

Of an object's code the decoder only needs scales and shifts. With the statistics of the batch norm, the first norm of a
block is one multiplication and addition a feature, and the second goes into the rows of the linear layer before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from onet_ros.networks.cbn_decoder import CBNDecoder, ConditionalBatchNorm, ConditionalBlock
from onet_ros.runs import rows_at_once, runs_of, side_by_side

ROWS_PER_CORE = 1024  # of 256 features: measured best from 512 to 2048, both precisions


@dataclass(frozen=True)
class _FoldedBlock:
    """scale, shift: (B, H) float32; weight_0: (B, H, H), bias_0: (B, H), weight_1: (H, H), in the precision asked."""

    scale: Tensor
    shift: Tensor
    weight_0: Tensor
    bias_0: Tensor
    weight_1: Tensor


class CBNField:
    """Logits of B objects; an `OccupancyField`.

    Args:
        decoder: in evaluation mode.
        code: (B, code_size).
        dtype: of the matrix products of the blocks; sums along the residual stream stay in float32.
        together: put the points of all objects into each product, which a GPU needs to be kept busy; a CPU is quicker
            object by object. None: as the device likes it.
    """

    def __init__(
        self, decoder: CBNDecoder, code: Tensor, dtype: torch.dtype = torch.float32, together: bool | None = None
    ) -> None:
        self._decoder, self._code = decoder, code
        self._together = len(code) > 1 and (code.is_cuda if together is None else together)
        self._first = decoder.fc_query.weight.t().contiguous()
        # The biases of the residual stream are left out of it and added where it is read: in the shifts.
        bias: Tensor = decoder.fc_query.bias
        self._blocks: list[_FoldedBlock] = []
        for module in decoder.blocks:
            block = cast(ConditionalBlock, module)
            scale_0, shift_0 = folded_norm(block.norm_0, code)
            scale_1, shift_1 = folded_norm(block.norm_1, code)
            self._blocks.append(
                _FoldedBlock(
                    scale=scale_0,
                    shift=shift_0 + scale_0 * bias,
                    weight_0=(block.fc_0.weight * scale_1.unsqueeze(2)).to(dtype),
                    bias_0=(block.fc_0.bias * scale_1 + shift_1).to(dtype),
                    weight_1=block.fc_1.weight.to(dtype),
                )
            )
            bias = bias + block.fc_1.bias
        self._scale, shift = folded_norm(decoder.norm, code)
        self._shift = shift + self._scale * bias
        self._last, self._last_bias = decoder.fc_out.weight[0], decoder.fc_out.bias
        self._rows = rows_at_once(code.device, ROWS_PER_CORE)
        self._stream = code.new_empty(self._rows, self._first.shape[1])
        self._normed = torch.empty_like(self._stream)
        self._rounded = None if dtype == torch.float32 else torch.empty_like(self._stream, dtype=dtype)

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor:
        """points: (N, 3) float32, unit frame, objects: (N,) int64 -> logits (N,) float32."""
        if points.requires_grad and torch.is_grad_enabled():
            return torch.cat([self._plain(points[start:end], number) for number, start, end in runs_of(objects)])
        with torch.no_grad():
            if self._together and len(points):
                return self._evaluate_together(points, objects)
            logits = points.new_empty(len(points))
            for number, start, end in runs_of(objects):
                for low in range(start, end, self._rows):
                    high = min(low + self._rows, end)
                    self._evaluate(points[low:high], number, logits[low:high])
            return logits

    def _evaluate_together(self, points: Tensor, objects: Tensor) -> Tensor:
        """(N, 3), (N,) -> (N,), the objects as one batch."""
        table, places = side_by_side(points, objects, len(self._code))
        rows = max(1, self._rows // len(self._code))
        logits = torch.cat([self._evaluate_table(part) for part in table.split(rows, dim=1)], dim=1)
        return logits.flatten()[places]

    def _evaluate_table(self, table: Tensor) -> Tensor:
        """(B, M, 3) -> (B, M)."""
        x = table @ self._first
        for block in self._blocks:
            normed = torch.addcmul(block.shift.unsqueeze(1), x, block.scale.unsqueeze(1)).relu_()
            normed = normed.to(block.weight_0.dtype)
            hidden = torch.baddbmm(block.bias_0.unsqueeze(1), normed, block.weight_0.transpose(1, 2)).relu_()
            x += hidden @ block.weight_1.t()
        normed = torch.addcmul(self._shift.unsqueeze(1), x, self._scale.unsqueeze(1)).relu_()
        return normed @ self._last + self._last_bias

    def _plain(self, points: Tensor, number: int) -> Tensor:
        logits: Tensor = self._decoder(points.unsqueeze(0), self._code[number : number + 1])
        return logits.squeeze(0)

    def _evaluate(self, points: Tensor, number: int, out: Tensor) -> None:
        rows = len(points)
        x, normed = self._stream[:rows], self._normed[:rows]
        torch.mm(points, self._first, out=x)
        for block in self._blocks:
            torch.addcmul(block.shift[number], x, block.scale[number], out=normed).clamp_(min=0.0)
            inputs = normed if self._rounded is None else self._rounded[:rows].copy_(normed)
            hidden = F.linear(inputs, block.weight_0[number], block.bias_0[number]).clamp_(min=0.0)
            if self._rounded is None:
                x.addmm_(hidden, block.weight_1.t())
            else:
                x.add_(F.linear(hidden, block.weight_1))
        torch.addcmul(self._shift[number], x, self._scale[number], out=normed).clamp_(min=0.0)
        torch.addmv(self._last_bias, normed, self._last, out=out)


def folded_norm(norm: ConditionalBatchNorm, code: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift (B, features) that do to a feature what the norm does for each code."""
    statistics = norm.norm
    mean, variance = cast(Tensor, statistics.running_mean), cast(Tensor, statistics.running_var)
    scale = norm.scale(code) * torch.rsqrt(variance + statistics.eps)
    return scale, norm.shift(code) - scale * mean
