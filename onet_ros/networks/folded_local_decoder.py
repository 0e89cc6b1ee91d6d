"""The layers of a LocalDecoder, put together so that fewer and larger products do the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from onet_ros.networks.local_decoder import LocalDecoder
from onet_ros.networks.small_products import packed


@dataclass(frozen=True)
class FoldedLocalDecoder:
    """The layers of a LocalDecoder as `LocalField` multiplies them.

    The share of the features that a block adds and the block's own change are one product with [hidden, features]. The
    biases of the residual stream are in it from the start, all of them; a block that should not see those after it
    compares with their sum r instead of 0, since relu(x - r) = max(x, r) - r, and takes r off behind its first layer.

    Attributes:
        decoder: in evaluation mode.
        width: H, of the hidden layers; channels: C, of the planes.
        enter: (C + 4, H), enter_bias: (H,), from features, place and depth.
        blocks: of each block (H,) the sum r, (H, H) and (H,) its first layer, (H + C, H) what it adds.
        last: (H,), last_bias: (1,), to the logit.
    """

    decoder: LocalDecoder
    width: int
    channels: int
    enter: Tensor
    enter_bias: Tensor
    blocks: list[tuple[Tensor, Tensor, Tensor, Tensor]]
    last: Tensor
    last_bias: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, decoder: LocalDecoder) -> FoldedLocalDecoder:
        width, channels = decoder.fc_query.out_features, decoder.fc_features.in_features
        shares = decoder.fc_features.weight.view(-1, width, channels)
        share_biases = decoder.fc_features.bias.view(-1, width)
        blocks: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        later = torch.zeros_like(share_biases[0])
        for i in reversed(range(len(decoder.fc_0))):
            fc_0, fc_1 = cast(nn.Linear, decoder.fc_0[i]), cast(nn.Linear, decoder.fc_1[i])
            later = later + fc_1.bias + share_biases[i + 1]
            leave = torch.cat([fc_1.weight.t(), shares[i + 1].t()])
            blocks.insert(0, (later, fc_0.weight.t().contiguous(), fc_0.bias - fc_0.weight @ later, leave))
        return cls(
            decoder=decoder,
            width=width,
            channels=channels,
            enter=torch.cat([shares[0].t(), decoder.fc_query.weight.t()]),
            enter_bias=decoder.fc_query.bias + share_biases[0] + later,
            blocks=blocks,
            last=decoder.fc_out.weight[0],
            last_bias=decoder.fc_out.bias,
        )

    @cached_property
    def stacked(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The parts of all blocks one after the other, each in a row: (blocks, ...) contiguous."""
        later, first, first_bias, leave = (torch.stack(parts).contiguous() for parts in zip(*self.blocks, strict=True))
        return later, first, first_bias, leave

    @cached_property
    def packed(self) -> tuple[Any, ...]:
        """All of it for `small_products.multiply`, the matrices packed, in the order of the attributes.

        Behind the last block's r come zeros: the last layer takes what is positive.
        """
        later, first, first_bias, leave = (part.numpy() for part in self.stacked)
        return (
            packed(self.enter.numpy()),
            self.enter_bias.numpy(),
            np.concatenate([later, np.zeros_like(later[:1])]),
            np.stack([packed(weights) for weights in first]),
            first_bias,
            np.stack([packed(weights) for weights in leave]),
            self.last.contiguous().numpy(),
            np.float32(self.last_bias.item()),
        )
