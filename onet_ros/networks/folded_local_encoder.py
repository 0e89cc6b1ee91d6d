"""LocalEncoder in evaluation mode: batch norms within the convolutions, channels last, no plane enlarged in memory."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from onet_ros.networks.image_plane import ImagePlaneEncoder, PictureCode
from onet_ros.networks.local_encoder import LocalEncoder, PlaneCode, PlaneUNet
from onet_ros.networks.observation import ImageObservation, Observation
from onet_ros.networks.pooling_loops import PoolingLoops
from onet_ros.networks.winograd_loops import WinogradConvolution


class FoldedLocalEncoder:
    """The function of a LocalEncoder in evaluation mode.

    Args:
        encoder: its sizes and weights.
        dtype: of the convolutions; features of points stay in float32.
    """

    def __init__(self, encoder: LocalEncoder, dtype: torch.dtype = torch.float32) -> None:
        self._encoder = encoder
        self._loops = None if encoder.fc_point.weight.is_cuda else PoolingLoops(encoder)
        self._nets = [FoldedPlaneUNet(cast(PlaneUNet, net), dtype) for net in encoder.nets]

    def __call__(self, observation: Observation) -> PlaneCode:
        """Observation of B objects -> their planes, float32."""
        # Loops cannot be exported.
        pooled = self._encoder.pooled if self._loops is None or torch.compiler.is_compiling() else self._loops
        return self._encoder.encode_with(pooled, self._nets, observation)


class FoldedImagePlaneEncoder:
    """The function of an ImagePlaneEncoder in evaluation mode.

    Args:
        encoder: its sizes and weights.
        dtype: of the convolutions.
    """

    def __init__(self, encoder: ImagePlaneEncoder, dtype: torch.dtype = torch.float32) -> None:
        self._encoder, self._dtype = encoder, dtype
        self._stem = _Convolution(_fused(encoder.stem[0], encoder.stem[1]), dtype)
        self._net = FoldedPlaneUNet(encoder.net, dtype)

    def __call__(self, observation: ImageObservation) -> PictureCode:
        """ImageObservation of B objects -> their plane, float32."""
        return self._encoder.encode_with(self._enter, self._net, observation)

    def _enter(self, images: Tensor) -> Tensor:
        return self._stem.active(images.to(self._dtype))


class FoldedPlaneUNet:
    """The function of a PlaneUNet in evaluation mode."""

    def __init__(self, net: PlaneUNet, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._enter, self._down_1, self._down_2, self._down_3, self._bottom = (
            _convolutions(steps, dtype) for steps in (net.enter, net.down_1, net.down_2, net.down_3, net.bottom)
        )
        self._from_context = net.from_context
        self._up_3, self._up_2, self._up_1 = (_Up(steps, dtype) for steps in (net.up_3, net.up_2, net.up_1))
        self._leave = _Convolution(net.leave, dtype)

    def down(self, plane: Tensor) -> list[Tensor]:
        """(B, C, R, R) -> features at R, R/2, R/4, R/8."""
        levels = []
        x = plane.to(self._dtype, memory_format=torch.channels_last)
        for steps in (self._enter, self._down_1, self._down_2, self._down_3):
            for convolution in steps:
                x = convolution.active(x)
            levels.append(x)
        return levels

    def up(self, levels: list[Tensor], context: Tensor) -> Tensor:
        """Levels and the (B, context) vector -> (B, C, R, R) float32."""
        context = self._from_context(context.float()).to(self._dtype)
        x = self._bottom[0].active(levels[3] + context[:, :, None, None])
        for step, skip in ((self._up_3, levels[2]), (self._up_2, levels[1]), (self._up_1, levels[0])):
            x = step(x, skip)
        return self._leave(x).float()


class _Convolution:
    """A convolution with what follows it folded in."""

    def __init__(self, convolution: nn.Conv2d, dtype: torch.dtype) -> None:
        self.weight = convolution.weight.to(dtype, memory_format=torch.channels_last)
        self.bias = cast(Tensor, convolution.bias).to(dtype)
        self.stride, self.padding = convolution.stride, cast(tuple[int, int], convolution.padding)
        keeps_size = self.stride == (1, 1) and self.padding == (1, 1)
        self._loops = WinogradConvolution.of(self.weight, self.bias) if keeps_size else None

    def __call__(self, x: Tensor) -> Tensor:
        if self._loops is not None and self._loops.takes(x):
            return self._loops(x)
        return self._by_torch(x)

    def active(self, x: Tensor) -> Tensor:
        """With a ReLU after it."""
        if self._loops is not None and self._loops.takes(x):
            return self._loops(x, floor=0.0)
        return self._by_torch(x).relu_()

    def _by_torch(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


def _convolutions(steps: nn.Sequential, dtype: torch.dtype) -> list[_Convolution]:
    """Of (convolution, batch norm, ReLU), once or several times over."""
    return [_Convolution(_fused(steps[i], steps[i + 1]), dtype) for i in range(0, len(steps), 3)]


def _fused(convolution: nn.Module, norm: nn.Module) -> nn.Conv2d:
    return fuse_conv_bn_eval(cast(nn.Conv2d, convolution), cast(nn.BatchNorm2d, norm))


class _Up:
    """Enlarge by two (nearest), join with a skip, convolve, norm, ReLU; without enlarging anything.

    A 3 x 3 convolution of an enlarged image meets each pixel of the small one several times. With the weights that meet
    the same pixel added up it is a transposed convolution of the small image, 4 x 4 with stride 2, for four ninths of
    the multiplications; the skip, which has as many channels as come out, gets a convolution of its own. Compiled loops
    do better still.
    """

    def __init__(self, steps: nn.Sequential, dtype: torch.dtype) -> None:
        fused = _fused(steps[0], steps[1])
        small = fused.in_channels - fused.out_channels
        self._loops = WinogradConvolution.of(fused.weight.to(dtype), cast(Tensor, fused.bias).to(dtype), small)
        meets = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]]).to(fused.weight)
        enlarging = torch.einsum("pk,ql,oikl->iopq", meets, meets, fused.weight[:, :small])
        self.enlarging = enlarging.to(dtype, memory_format=torch.channels_last)
        self.joining = fused.weight[:, small:].to(dtype, memory_format=torch.channels_last)
        self.bias = cast(Tensor, fused.bias).to(dtype)

    def __call__(self, x: Tensor, skip: Tensor) -> Tensor:
        """x: (B, small, R, R), skip: (B, out, 2R, 2R) -> (B, out, 2R, 2R)."""
        if self._loops is not None and self._loops.takes(skip):
            return self._loops(skip, x, floor=0.0)
        joined = F.conv2d(skip, self.joining, self.bias, padding=1)
        return joined.add_(F.conv_transpose2d(x, self.enlarging, stride=2, padding=1)).relu_()
