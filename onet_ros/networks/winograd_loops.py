"""Convolutions of 3 x 3 on a CPU with a quarter of the multiplications.

Winograd's minimal filtering F(4 x 4, 3 x 3), after Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"
(CVPR 2016): a tile of 4 x 4 results needs 36 products instead of 144, between linear maps of the 6 x 6 pixels around it
and of the results. Some tiles go through all of it while they lie in a core's caches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from onet_ros.cpu_kernels import compiled, over_cores
from onet_ros.lanes import LANES, Lanes, Matrix, index, repeated
from onet_ros.networks.small_products import ROWS, multiply, packed

TILE = 4  # pixels along an edge of the result
FEWEST = 12  # tiles that are worth reading four times as many weights
_AROUND = 36  # pixels that a tile depends on, and numbers that they are mapped to
TOGETHER = 4 * ROWS  # tiles that go through it together

# The map of 3 x 3 weights, G in the paper.
_OF_WEIGHTS = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)

Floats = NDArray[np.float32]
Map = Callable[[Sequence[Any]], list[Any]]


def of_pixels(x: Sequence[Any]) -> list[Any]:
    """What the products need of six pixels: B in the paper."""
    even, odd, near, slope = x[4] - 4.0 * x[2], x[3] - 4.0 * x[1], x[4] - x[2], 2.0 * (x[3] - x[1])
    return [
        4.0 * x[0] - 5.0 * x[2] + x[4],
        even + odd,
        even - odd,
        near + slope,
        near - slope,
        4.0 * x[1] - 5.0 * x[3] + x[5],
    ]


def of_enlarged(x: Sequence[Any]) -> list[Any]:
    """The same of the six pixels a, b, b, c, c, d that four become; None is zero."""
    a, b, c, d = x
    return [4.0 * a - 5.0 * b + c, 2.0 * (c - 4.0 * b), None, 3.0 * (c - b), b - c, 4.0 * b - 5.0 * c + d]


def of_results(m: Sequence[Any]) -> list[Any]:
    """Four results of six products: A in the paper."""
    near, far, slope, steep = m[1] + m[2], m[3] + m[4], m[1] - m[2], m[3] - m[4]
    return [m[0] + near + far, slope + 2.0 * steep, near + 4.0 * far, slope + 8.0 * steep + m[5]]


class WinogradConvolution:
    """A 3 x 3 convolution of stride 1 that keeps the size.

    Args:
        weight: (O, I, 3, 3) float32, on the host.
        bias: (O,) float32.
        small: of the I channels, the first so many come from an image of half the size, enlarged by two (nearest).
    """

    def __init__(self, weight: Tensor, bias: Tensor, small: int = 0) -> None:
        mapped = np.einsum("ui,vj,ocij->uvco", _OF_WEIGHTS, _OF_WEIGHTS, weight.detach().double().numpy())
        mapped = mapped.reshape(_AROUND, weight.shape[1], weight.shape[0]).astype(np.float32)
        self._small, self._large = (
            np.stack([packed(one) for one in part]) for part in (mapped[:, :small], mapped[:, small:])
        )
        self._bias = bias.detach().numpy()

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, small: int = 0) -> WinogradConvolution | None:
        """One where there can be: on the host, of float32, of channels that fill vectors."""
        sizes = weight.shape[0], weight.shape[1] - small, small
        fits = weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.shape[2:] == (3, 3)
        return cls(weight, bias, small) if fits and all(size % LANES == 0 for size in sizes) else None

    @staticmethod
    def takes(x: Tensor) -> bool:
        """Whether x: (B, I, R, R) is of whole tiles, enough of them, and not being exported, which loops cannot be."""
        batch, _, height, width = x.shape
        fits = height % TILE == 0 and width % TILE == 0 and batch * height * width >= FEWEST * TILE**2
        return fits and not torch.compiler.is_compiling()

    def __call__(self, x: Tensor, small: Tensor | None = None, floor: float = -np.inf) -> Tensor:
        """x: (B, I, R, R), small: (B, small, R/2, R/2), both float32 -> (B, O, R, R), channels last.

        Args:
            floor: what comes out is at least this; 0 is a ReLU.
        """
        large = x.permute(0, 2, 3, 1).contiguous().numpy()
        batch, height, width = large.shape[:3]
        if small is None:
            halves = np.empty((batch, 0, 0, 0), dtype=np.float32)
        else:
            halves = small.permute(0, 2, 3, 1).contiguous().numpy()
        out = np.empty((batch, height, width, len(self._bias)), dtype=np.float32)
        tiles = batch * height * width // TILE**2
        arguments = large, self._large, halves, self._small, self._bias, np.float32(floor), out
        over_cores(_convolve, -(-tiles // TOGETHER), *arguments, least=1)
        return torch.from_numpy(out).permute(0, 3, 1, 2)


@compiled
def _convolve(
    low: int,
    high: int,
    large: Floats,
    large_weights: Floats,
    small: Floats,
    small_weights: Floats,
    bias: Floats,
    floor: np.float32,
    out: Floats,
) -> None:
    """Some blocks of tiles."""
    of_large, of_small, products = _mapped(large.shape[3]), _mapped(small.shape[3]), _mapped(len(bias))
    patch, nothing = np.empty(_AROUND * max(large.shape[3], small.shape[3]), np.float32), np.zeros_like(bias)
    tiles = len(out) * out.shape[1] * out.shape[2] // TILE**2
    for block in range(low, high):
        first = block * TOGETHER
        count = min(TOGETHER, tiles - first)
        for n in range(count):
            image, line, column = _place(first + n, out)
            flat, start, stride = _around(large, image, line - 1, column - 1, 6, patch)
            _map_pixels(flat, start, stride, of_large, n)  # type: ignore[call-arg]  # Numba adds one
            if small.shape[3]:
                flat, start, stride = _around(small, image, line // 2 - 1, column // 2 - 1, 4, patch)
                _map_enlarged(flat, start, stride, of_small, n)
        rows = count + -count % ROWS  # whole tiles of products
        for f in range(_AROUND):
            own = products[f, :rows]
            multiply(of_large[f, :rows], large_weights[f], nothing, own, None, None)
            if small.shape[3] and f // 6 != 2 and f % 6 != 2:  # which are zero of what is enlarged
                multiply(of_small[f, :rows], small_weights[f], own, own, None, None)
        for n in range(count):
            image, line, column = _place(first + n, out)
            start = ((image * out.shape[1] + line) * out.shape[2] + column) * len(bias)
            _put_results(products, n, bias, floor, out.ravel(), start, out.shape[2] * len(bias))  # type: ignore[call-arg]


@compiled
def _place(tile: int, images: Floats) -> tuple[int, int, int]:
    """Of a tile its image, and line and column of its first pixel."""
    across, down = images.shape[2] // TILE, images.shape[1] // TILE
    image, place = divmod(tile, down * across)
    return image, TILE * (place // across), TILE * (place % across)


@compiled
def _mapped(channels: int) -> Floats:
    """For what is mapped of tiles; one more, so that those of one tile do not meet in the caches."""
    return np.empty((_AROUND, TOGETHER + 1, channels), np.float32)


@compiled
def _around(images: Floats, image: int, line: int, column: int, edge: int, patch: Floats) -> tuple[Floats, int, int]:
    """Where a square of pixels lies: numbers, that of the first, and how many from one line of pixels to the next.

    In the images themselves; with zeros beside them, in the patch.
    """
    _, height, width, channels = images.shape
    if line >= 0 and column >= 0 and line + edge <= height and column + edge <= width:
        return images.ravel(), ((image * height + line) * width + column) * channels, width * channels
    for i in range(edge):
        for j in range(edge):
            y, x, start = line + i, column + j, (i * edge + j) * channels
            inside = 0 <= y < height and 0 <= x < width
            for c in range(channels):
                patch[start + c] = images[image, y, x, c] if inside else np.float32(0.0)
    return patch, 0, edge * channels


@intrinsic
def _map_pixels(typing: Any, pixels: Any, start: Any, stride: Any, out: Any, n: Any) -> tuple[Any, Callable[..., Any]]:
    """6 x 6 pixels of a tile, from one number on with a stride from line to line -> the n-th of what is mapped."""
    return types.void(pixels, types.intp, types.intp, out, types.intp), partial(_write_map, 6, of_pixels)


@intrinsic
def _map_enlarged(
    typing: Any, pixels: Any, start: Any, stride: Any, out: Any, n: Any
) -> tuple[Any, Callable[..., Any]]:
    """The same of 4 x 4 pixels that are to be enlarged."""
    return types.void(pixels, types.intp, types.intp, out, types.intp), partial(_write_map, 4, of_enlarged)


@intrinsic
def _put_results(
    typing: Any, products: Any, n: Any, bias: Any, floor: Any, pixels: Any, start: Any, stride: Any
) -> tuple[Any, Callable[..., Any]]:
    """The n-th products of tiles -> 4 x 4 pixels, from one number on with a stride from line to line."""
    return types.void(products, types.intp, bias, types.float32, pixels, types.intp, types.intp), _write_results


def _write_map(edge: int, mapping: Map, context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
    _, start, stride, _, number = arguments
    pixels, out = (Matrix(context, builder, signature.args[i], arguments[i]) for i in (0, 3))
    channels = out.shape[2]
    places = _places(builder, start, stride, channels, edge)
    first = builder.mul(number, channels)

    def step(channel: ir.Value, _: list[Lanes]) -> list[Lanes]:
        read = [[pixels.lanes(index(0), builder.add(place, channel)) for place in line] for line in places]
        for i, line in enumerate(_on_both(mapping, read)):
            for j, value in enumerate(line):
                if value is not None:
                    out.put(index(6 * i + j), builder.add(first, channel), value)
        return []

    repeated(builder, channels, [], step, LANES)
    return context.get_dummy_value()


def _write_results(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
    _, number, _, floor, _, start, stride = arguments
    products, bias, pixels = (Matrix(context, builder, signature.args[i], arguments[i]) for i in (0, 2, 4))
    (channels,) = bias.shape
    places = _places(builder, start, stride, channels, TILE)
    first, least = builder.mul(number, channels), Lanes.of_one(builder, floor)

    def step(channel: ir.Value, _: list[Lanes]) -> list[Lanes]:
        own = builder.add(first, channel)
        read = [[products.lanes(index(6 * i + j), own) for j in range(6)] for i in range(6)]
        added = bias.lanes(index(0), channel)
        for line, values in zip(places, _on_both(of_results, read), strict=True):
            for place, value in zip(line, values, strict=True):
                pixels.put(index(0), builder.add(place, channel), (value + added).at_least(least))
        return []

    repeated(builder, channels, [], step, LANES)
    return context.get_dummy_value()


def _places(
    builder: ir.IRBuilder, start: ir.Value, stride: ir.Value, channels: ir.Value, edge: int
) -> list[list[ir.Value]]:
    """Where each pixel of a square begins."""
    lines = [builder.add(start, builder.mul(stride, index(i))) for i in range(edge)]
    return [[builder.add(line, builder.mul(channels, index(j))) for j in range(edge)] for line in lines]


def _on_both(mapping: Map, square: list[list[Any]]) -> list[list[Any]]:
    """Apply a map to the columns of a square and then to the lines of what comes out; None where that is zero."""
    lines = list(zip(*[mapping(column) for column in zip(*square, strict=True)], strict=True))
    return [mapping(line) if line[0] is not None else [None] * len(lines) for line in lines]
