"""LocalField as one loop of compiled code for a CPU, in portions that never leave a core's cache.

Layer by layer, each step writes and reads the activations of all points once more. Here a portion of them goes through
all layers while it lies in the innermost caches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onet_ros.cpu_kernels import compiled, over_cores
from onet_ros.networks.folded_local_decoder import FoldedLocalDecoder
from onet_ros.networks.planes import PixelProjection
from onet_ros.networks.small_products import PORTION, ROWS, multiply

LEAST = 1024  # points that are worth a thread of their own

Floats = NDArray[np.float32]


def _size(number: int) -> tuple[int, ...]:
    """A number as the length of a tuple, which belongs to its type: loops over it are compiled for just that many."""
    return (0,) * number


class LocalFieldLoops:
    """What `LocalField` evaluates, on a CPU.

    Args:
        layers: the folded decoder.
        projection: of B objects.
        table: (B K R R, C) float32, the planes.
        resolution: R.
    """

    def __init__(self, layers: FoldedLocalDecoder, projection: PixelProjection, table: Tensor, resolution: int) -> None:
        self._planes = (
            projection.matrix.transpose(1, 2).contiguous().numpy(),
            projection.distance.flatten().numpy(),
            table.flatten().numpy(),
            resolution,
            projection.camera_bits,
            np.float32(projection.nearest),
            _size(layers.channels),
        )
        self._layers = (*layers.packed, _size(layers.width))

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor:
        """points: (N, 3) float32, objects: (N,) int64 -> logits (N,) float32."""
        logits = torch.empty(len(points))
        arrays = points.detach().contiguous().numpy(), objects.contiguous().numpy(), logits.numpy()
        over_cores(_logits, len(points), *arrays, self._planes, self._layers, least=LEAST)
        return logits


@compiled
def _logits(
    low: int,
    high: int,
    points: Floats,
    objects: NDArray[np.int64],
    out: Floats,
    planes: tuple[Any, ...],  # of `LocalFieldLoops`, as are the layers
    layers: tuple[Any, ...],
) -> None:
    enter, enter_bias, later, first, first_bias, leave, last, last_bias, hidden = layers
    width, blocks, channels = len(hidden), len(first), len(planes[6])
    entering_of_all = np.zeros((PORTION, channels + 4), np.float32)  # features, place, depth
    leaving_of_all = np.zeros((PORTION, width + channels), np.float32)  # hidden, features
    streams, actives = np.empty((PORTION, width), np.float32), np.empty((PORTION, width), np.float32)
    none = np.zeros(width, np.float32)
    for start in range(low, high, PORTION):
        count = min(PORTION, high - start)
        _read_planes(start, count, points, objects, planes, entering_of_all, leaving_of_all, hidden)
        rows = min(PORTION, count + -count % ROWS)  # whole tiles
        entering, leaving, stream, active = (
            entering_of_all[:rows],
            leaving_of_all[:rows],
            streams[:rows],
            actives[:rows],
        )
        multiply(entering, enter, enter_bias, stream, active, later[0])
        for block in range(blocks):
            multiply(active, first[block], first_bias[block], None, leaving, none)
            multiply(leaving, leave[block], stream, stream, active, later[block + 1])
        for i in range(count):
            logit = last_bias
            for h in range(width):
                logit += last[h] * active[i, h]
            out[start + i] = logit


@compiled
def _read_planes(
    start: int,
    count: int,
    points: Floats,
    objects: NDArray[np.int64],
    planes: tuple[Any, ...],
    entering: Floats,
    leaving: Floats,
    hidden: tuple[int, ...],
) -> None:
    """Project points onto their objects' planes, and add up what those have there, interpolated bilinearly."""
    matrices, distances, table, resolution, camera_bits, nearest, features_of_planes = planes
    channels = len(features_of_planes)
    width = len(hidden)
    middle, most = np.float32(0.5 * resolution - 0.5), np.float32(resolution - 1)
    count_of_planes = matrices.shape[1] // 2
    features = np.empty(channels, np.float32)
    for i in range(count):
        x, y, z, owner = points[start + i, 0], points[start + i, 1], points[start + i, 2], objects[start + i]
        rows = matrices[owner]
        depth = max(rows[-1, 0] * x + rows[-1, 1] * y + rows[-1, 2] * z + rows[-1, 3], nearest)
        nearness = np.float32(1.0) / depth
        features[:] = np.float32(0.0)
        for plane in range(count_of_planes):
            u, v = rows[2 * plane], rows[2 * plane + 1]
            across = u[0] * x + u[1] * y + u[2] * z + u[3]
            down = v[0] * x + v[1] * y + v[2] * z + v[3]
            if camera_bits >> plane & 1:
                across, down = across * nearness + middle, down * nearness + middle
            across, down = min(max(across, np.float32(0.0)), most), min(max(down, np.float32(0.0)), most)
            # Bounded below as well: a place that is no number must not be read anywhere else.
            column = max(min(int(across), resolution - 2), 0)
            line = max(min(int(down), resolution - 2), 0)
            right, below = across - np.float32(column), down - np.float32(line)
            corner = (((owner * count_of_planes + plane) * resolution + line) * resolution + column) * channels
            upper = table[corner : corner + 2 * channels]
            lower = table[corner + resolution * channels : corner + (resolution + 2) * channels]
            both = right * below
            first, second, third = np.float32(1.0) - right - below + both, right - both, below - both
            for c in range(channels):
                features[c] += (first * upper[c] + second * upper[c + channels]) + (
                    third * lower[c] + both * lower[c + channels]
                )
        for c in range(channels):
            entering[i, c] = leaving[i, width + c] = features[c]
        entering[i, channels], entering[i, channels + 1], entering[i, channels + 2] = x, y, z
        entering[i, channels + 3] = depth - distances[owner]
