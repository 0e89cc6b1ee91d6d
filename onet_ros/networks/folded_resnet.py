"""ResNet18Encoder in evaluation mode: batch norms within the convolutions."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from onet_ros.networks.observation import ImageObservation
from onet_ros.networks.picture import picture_channels
from onet_ros.networks.resnet import BasicBlock, ResNet18Encoder, basic_blocks


class FoldedResNet18:
    """The function of a ResNet18Encoder in evaluation mode.

    Args:
        encoder: its sizes and weights.
        dtype: of the convolutions.
    """

    def __init__(self, encoder: ResNet18Encoder, dtype: torch.dtype = torch.float32) -> None:
        self._encoder, self._dtype = encoder, dtype
        self._enter = FoldedConvolution(encoder.conv_in, encoder.norm_in, dtype)
        self._blocks = [_FoldedBlock(block, dtype) for block in basic_blocks(encoder)]

    def __call__(self, observation: ImageObservation) -> Tensor:
        """ImageObservation of B objects -> (B, code_size) float32."""
        encoder = self._encoder
        x = self._enter(picture_channels(observation, encoder.image_size).to(self._dtype))
        x = encoder.pool(x.relu_())
        for block in self._blocks:
            x = block(x)
        code: Tensor = encoder.fc_code(x.float().mean(dim=(2, 3)))
        return code


class FoldedConvolution:
    """A convolution with the batch norm behind it worked in, channels last."""

    def __init__(self, convolution: nn.Module, norm: nn.Module, dtype: torch.dtype) -> None:
        fused = fuse_conv_bn_eval(cast(nn.Conv2d, convolution), cast(nn.BatchNorm2d, norm))
        self.weight = fused.weight.to(dtype, memory_format=torch.channels_last)
        self.bias = cast(Tensor, fused.bias).to(dtype)
        self.stride, self.padding = fused.stride, cast(tuple[int, int], fused.padding)

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class _FoldedBlock:
    """The function of a BasicBlock in evaluation mode."""

    def __init__(self, block: BasicBlock, dtype: torch.dtype) -> None:
        self._conv_0 = FoldedConvolution(block.conv_0, block.norm_0, dtype)
        self._conv_1 = FoldedConvolution(block.conv_1, block.norm_1, dtype)
        self._shortcut: FoldedConvolution | None = None
        if isinstance(block.shortcut, nn.Sequential):
            self._shortcut = FoldedConvolution(block.shortcut[0], block.shortcut[1], dtype)

    def __call__(self, x: Tensor) -> Tensor:
        change = self._conv_1(self._conv_0(x).relu_())
        return change.add_(x if self._shortcut is None else self._shortcut(x)).relu_()
