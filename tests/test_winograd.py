"""Convolutions with fewer multiplications, against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from onet_ros.networks.winograd_loops import FEWEST, TILE, TOGETHER, WinogradConvolution, of_enlarged, of_pixels


def layer(channels: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(channels + outputs)
    weight = torch.randn(outputs, channels, 3, 3, generator=generator) / (3.0 * channels**0.5)
    return weight, torch.randn(outputs, generator=generator)


def image(*shape: int) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))
    return x.to(memory_format=torch.channels_last)


def exact(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.conv2d(x.double(), weight.double(), bias.double(), padding=1)


# One tile in all, less and more than go together and than threads take, edges beside each other, images not square.
SHAPES = [(1, 4, 4), (6, 8, 8), (1, 16, 16), (5, 12, 20), (3, 64, 64)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("channels", "outputs"), [(8, 8), (32, 24), (128, 128)])
def test_results_are_those_of_the_convolution(shape, channels, outputs):
    batch, height, width = shape
    x, (weight, bias) = image(batch, channels, height, width), layer(channels, outputs)
    expected = exact(x, weight, bias)
    convolution = WinogradConvolution.of(weight, bias)
    assert convolution is not None
    torch.testing.assert_close(convolution(x).double(), expected, atol=1e-4, rtol=0.0)
    torch.testing.assert_close(convolution(x, floor=0.0).double(), expected.relu(), atol=1e-4, rtol=0.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_smaller_image_is_enlarged_on_the_way(shape):
    batch, height, width = shape
    x, small, (weight, bias) = image(batch, 16, height, width), image(batch, 40, height // 2, width // 2), layer(56, 32)
    joined = torch.cat([F.interpolate(small, scale_factor=2.0, mode="nearest"), x], dim=1)
    convolution = WinogradConvolution.of(weight, bias, small=40)
    assert convolution is not None
    torch.testing.assert_close(convolution(x, small).double(), exact(joined, weight, bias), atol=1e-4, rtol=0.0)


def test_channels_may_lie_in_any_order():
    x, (weight, bias) = image(2, 32, 16, 16), layer(32, 32)
    convolution = WinogradConvolution.of(weight, bias)
    assert convolution is not None
    torch.testing.assert_close(convolution(x.contiguous()), convolution(x), atol=0.0, rtol=0.0)


def test_only_pixels_beside_one_that_is_no_number_are_touched():
    x, (weight, bias) = image(1, 8, 32, 32), layer(8, 8)
    convolution = WinogradConvolution.of(weight, bias)
    assert convolution is not None
    x[0, 3, 17, 9] = np.nan
    wrong = convolution(x, floor=0.0).isnan().any(dim=1)[0].nonzero()
    assert len(wrong)
    assert (wrong - torch.tensor([17, 9])).abs().max() <= TILE


def test_what_cannot_be_is_left_to_torch():
    weight, bias = layer(32, 32)
    assert WinogradConvolution.of(*layer(12, 32)) is None
    assert WinogradConvolution.of(*layer(32, 12)) is None
    assert WinogradConvolution.of(weight, bias, small=4) is None
    assert WinogradConvolution.of(weight[..., :1], bias) is None
    assert WinogradConvolution.of(weight.bfloat16(), bias.bfloat16()) is None
    assert WinogradConvolution.takes(image(FEWEST, 8, TILE, TILE))
    assert not WinogradConvolution.takes(image(FEWEST - 1, 8, TILE, TILE))
    assert not WinogradConvolution.takes(image(TOGETHER, 8, TILE + 2, TILE))


def test_the_map_of_enlarged_pixels_is_that_of_the_pixels():
    a, b, c, d = np.random.default_rng(0).normal(size=(4, 10))
    short, full = of_enlarged([a, b, c, d]), of_pixels([a, b, b, c, c, d])
    for one, other in zip(short, full, strict=True):
        np.testing.assert_allclose(0.0 if one is None else one, other, atol=1e-12)
