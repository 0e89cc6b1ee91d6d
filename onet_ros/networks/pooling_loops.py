"""LocalEncoder's features of points, pooled onto its planes, in compiled loops for a CPU."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from onet_ros.cpu_kernels import compiled, over_cores
from onet_ros.networks.local_encoder import LocalEncoder, SeenPoints
from onet_ros.networks.pointnet import ResidualBlock
from onet_ros.networks.small_products import PORTION, multiply, packed

LEAST = 512  # points that are worth a thread of their own

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


class PoolingLoops:
    """`LocalEncoder.pooled` on a CPU.

    Args:
        encoder: its sizes and weights.
    """

    def __init__(self, encoder: LocalEncoder) -> None:
        self._cells, self._planes = encoder.resolution**2, len(encoder.kinds)
        first, second = (_of_block(cast(ResidualBlock, block)) for block in encoder.blocks)
        self._entering = (*_of_layer(encoder.fc_point), first)
        to_planes = [cast(nn.Linear, layer) for layer in encoder.to_plane]
        self._leaving = (second, *_joined(to_planes))
        self._size = encoder.fc_point.out_features // 2

    def __call__(self, points: SeenPoints) -> list[Tensor]:
        """Points of B objects -> of each plane (B, C, R, R) float32, channels last."""
        batch, count = points.inputs.shape[:2]
        inputs, own = points.inputs.flatten(0, 1).contiguous().numpy(), points.own.flatten().numpy()
        indices = torch.stack(points.indices, dim=2).numpy()  # (B, N, K)
        features = np.empty((2, batch * count, self._size), dtype=np.float32)  # of points, and of their cells
        over_cores(_enter, batch * count, inputs, self._entering, features[0], least=LEAST)
        parted = features.reshape(2, batch, count, -1)
        over_cores(_share, batch, parted, indices, self._cells, least=1)
        channels = len(self._leaving[-1]) // self._planes
        pooled = np.empty((batch * count, self._planes * channels), dtype=np.float32)
        over_cores(_leave, batch * count, features, self._leaving, pooled, least=LEAST)
        planes = np.zeros((self._planes, batch, self._cells, channels), dtype=np.float32)
        seen = pooled.reshape(batch, count, self._planes, channels), own.reshape(batch, count), indices
        over_cores(_pool, batch * self._planes, *seen, planes, least=1)
        edge = round(self._cells**0.5)
        return [torch.from_numpy(own).view(batch, edge, edge, -1).permute(0, 3, 1, 2) for own in planes]


def _of_layer(layer: nn.Linear) -> tuple[Floats, Floats]:
    return packed(layer.weight.detach().t().numpy()), layer.bias.detach().numpy()


def _of_block(block: ResidualBlock) -> tuple[Floats, Floats, Floats, Floats]:
    """Its first layer, and what comes of its hidden features and its input, side by side, as one product."""
    leaving = torch.cat([block.fc_1.weight, block.shortcut.weight], dim=1).detach().t()
    return *_of_layer(block.fc_0), packed(leaving.numpy()), block.fc_1.bias.detach().numpy()


def _joined(layers: list[nn.Linear]) -> tuple[Floats, Floats]:
    """All layers as one, with room for two more numbers after those of each, which are zero."""
    weights, biases = (
        torch.cat([F.pad(getattr(layer, name).detach().t(), (0, 2)) for layer in layers], dim=-1)
        for name in ("weight", "bias")
    )
    return packed(weights.numpy()), biases.numpy()


@compiled
def _enter(low: int, high: int, inputs: Floats, layers: tuple[Any, ...], features: Floats) -> None:
    """The first layer and the first block."""
    weight, bias, block = layers
    x = np.empty((PORTION, len(bias)), np.float32)
    buffers = _buffers(block)
    for start in range(low, high, PORTION):
        end = min(start + PORTION, high)
        multiply(inputs[start:end], weight, bias, x[: end - start], None, None)
        _block(x[: end - start], block, buffers, features[start:end])


@compiled
def _buffers(block: tuple[Any, ...]) -> tuple[Floats, Floats]:
    """What `_block` writes to: active inputs; hidden features and inputs, side by side."""
    first, _, leave, _ = block
    return np.empty((PORTION, first.shape[1]), np.float32), np.empty((PORTION, leave.shape[1]), np.float32)


@compiled
def _block(x: Floats, block: tuple[Any, ...], buffers: tuple[Floats, Floats], out: Floats) -> None:
    """A residual block, of as many points as x and `out` have."""
    first, first_bias, leave, leave_bias = block
    count, width, hidden = len(x), x.shape[1], len(first_bias)
    active, joined = buffers[0][:count], buffers[1][:count]
    for i in range(count):
        for h in range(width):
            active[i, h] = max(x[i, h], np.float32(0.0))
            joined[i, hidden + h] = x[i, h]
    multiply(active, first, first_bias, None, joined, np.zeros(hidden, np.float32))
    multiply(joined, leave, leave_bias, out, None, None)


@compiled
def _share(low: int, high: int, features: NDArray[np.float32], indices: Integers, cells: int) -> None:
    """To each point of objects the sum over the planes of the mean of its cell."""
    own, shared = features[0], features[1]
    count, size = own.shape[1:]
    for item in range(low, high):
        shared[item] = np.float32(0.0)
        for plane in range(indices.shape[2]):
            slots, used = np.full(cells, -1), 0
            totals, numbers = np.zeros((count, size), np.float32), np.zeros(count, np.float32)
            for i in range(count):
                cell = indices[item, i, plane]
                if slots[cell] < 0:
                    slots[cell] = used
                    used += 1
                slot = slots[cell]
                numbers[slot] += np.float32(1.0)
                for h in range(size):
                    totals[slot, h] += own[item, i, h]
            for i in range(count):
                slot = slots[indices[item, i, plane]]
                each = np.float32(1.0) / numbers[slot]
                for h in range(size):
                    shared[item, i, h] += totals[slot, h] * each


@compiled
def _leave(low: int, high: int, features: NDArray[np.float32], layers: tuple[Any, ...], pooled: Floats) -> None:
    """The second block, of each point and its cells, and what it brings to the planes."""
    block, weight, bias = layers
    size = features.shape[2]
    x, done = np.empty((PORTION, 2 * size), np.float32), np.empty((PORTION, weight.shape[1]), np.float32)
    buffers = _buffers(block)
    for start in range(low, high, PORTION):
        count = min(PORTION, high - start)
        for i in range(count):
            for h in range(size):
                x[i, h], x[i, size + h] = features[0, start + i, h], features[1, start + i, h]
        _block(x[:count], block, buffers, done[:count])
        multiply(done[:count], weight, bias, pooled[start : start + count], None, None)


@compiled
def _pool(
    low: int, high: int, pooled: NDArray[np.float32], own: Floats, indices: Integers, planes: NDArray[np.float32]
) -> None:
    """Means of what the points of objects bring to the cells of planes, and whether a cell saw object or background."""
    batch, count, _, channels = pooled.shape
    width = channels - 2
    for number in range(low, high):
        plane, item = number // batch, number % batch
        target = planes[plane, item]
        numbers = np.zeros(len(target), np.float32)
        for i in range(count):
            cell = indices[item, i, plane]
            numbers[cell] += np.float32(1.0)
            for h in range(width):
                target[cell, h] += pooled[item, i, plane, h]
            target[cell, width] = max(target[cell, width], own[item, i])
            target[cell, width + 1] = max(target[cell, width + 1], np.float32(1.0) - own[item, i])
        for cell in range(len(target)):
            if numbers[cell] > np.float32(1.0):
                for h in range(width):
                    target[cell, h] /= numbers[cell]
