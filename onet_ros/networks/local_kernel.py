"""LocalField as one GPU kernel, where Triton is installed: features, hidden layers and logits never leave the chip.

Layer by layer, a point of the field writes and reads some 8 kB of activations, and the memory's bandwidth is what it
waits for. Here it reads twelve rows of the planes, which stay in the cache, and writes one number.
"""

from __future__ import annotations

import torch
from torch import Tensor

from onet_ros.gpu_kernels import GpuKernels, jit, tl
from onet_ros.networks.folded_local_decoder import FoldedLocalDecoder
from onet_ros.networks.planes import PixelProjection

WIDTHS = (16, 32, 64, 128)  # of channels and hidden layers: what the matrix units take


class LocalFieldKernel:
    """What `LocalField` evaluates, in one launch.

    Args:
        layers: the folded decoder.
        projection: of B objects.
        table: (B K R R, C) float32, the planes.
        resolution: R.
    """

    def __init__(self, layers: FoldedLocalDecoder, projection: PixelProjection, table: Tensor, resolution: int) -> None:
        self._layers, self._projection, self._table, self._resolution = layers, projection, table, resolution

    @staticmethod
    def fits(layers: FoldedLocalDecoder, table: Tensor) -> bool:
        """Whether there is Triton, a GPU and sizes that its matrix units take."""
        return _kernels.fit(table) and {layers.width, layers.channels} <= set(WIDTHS)

    def __call__(self, points: Tensor, objects: Tensor) -> Tensor | None:
        """points: (N, 3) float32, objects: (N,) int64, N >= 1 -> logits (N,) float32.

        None where Triton cannot make the kernel for this GPU, which is said once.
        """
        logits = points.new_empty(len(points))
        layers, projection = self._layers, self._projection
        later, first, first_bias, leave = layers.stacked
        made = _kernels.launch(
            _logits,
            len(points),
            points.contiguous(),
            objects,
            projection.matrix,
            projection.distance,
            self._table,
            layers.enter,
            layers.enter_bias,
            later,
            first,
            first_bias,
            leave,
            layers.last,
            layers.last_bias,
            logits,
            len(points),
            PLANES=projection.matrix.shape[2] // 2,
            CAMERAS=projection.camera_bits,
            NEAREST=projection.nearest,
            R=self._resolution,
            C=layers.channels,
            H=layers.width,
            BLOCKS=len(layers.blocks),
            PRECISION=_precision(points.device),
        )
        return logits if made else None


def _precision(device: torch.device) -> str:
    """Of the matrix products: as good as float32 on the matrix units where they can, plain float32 elsewhere."""
    if device.type != "cuda" or torch.version.hip:
        return "ieee"
    return "tf32x3" if torch.cuda.get_device_capability(device) >= (8, 0) else "ieee"


_kernels = GpuKernels("the field is evaluated layer by layer", block=64)


@jit
def _logits(  # type: ignore[no-untyped-def]  # the arguments of a kernel are pointers and constants
    points,  # noqa: ANN001
    objects,  # noqa: ANN001
    matrix,  # noqa: ANN001
    distance,  # noqa: ANN001
    table,  # noqa: ANN001
    enter,  # noqa: ANN001
    enter_bias,  # noqa: ANN001
    later,  # noqa: ANN001
    first,  # noqa: ANN001
    first_bias,  # noqa: ANN001
    leave,  # noqa: ANN001
    last,  # noqa: ANN001
    last_bias,  # noqa: ANN001
    out,  # noqa: ANN001
    count,  # noqa: ANN001
    PLANES: tl.constexpr,
    CAMERAS: tl.constexpr,
    NEAREST: tl.constexpr,
    R: tl.constexpr,
    C: tl.constexpr,
    H: tl.constexpr,
    BLOCKS: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = row < count
    x = tl.load(points + 3 * row, mask, 0.0)
    y = tl.load(points + 3 * row + 1, mask, 0.0)
    z = tl.load(points + 3 * row + 2, mask, 0.0)
    owner = tl.load(objects + row, mask, 0)
    across: tl.constexpr = 2 * PLANES + 1
    own = matrix + owner * (4 * across)
    to_depth = own + 2 * PLANES
    depth = x * tl.load(to_depth) + y * tl.load(to_depth + across)
    depth += z * tl.load(to_depth + 2 * across) + tl.load(to_depth + 3 * across)
    depth = tl.maximum(depth, NEAREST)

    channel = tl.arange(0, C)
    features = tl.zeros((BLOCK, C), tl.float32)
    for plane in tl.static_range(PLANES):
        to_u = own + 2 * plane
        u = x * tl.load(to_u) + y * tl.load(to_u + across)
        u += z * tl.load(to_u + 2 * across) + tl.load(to_u + 3 * across)
        to_v = to_u + 1
        v = x * tl.load(to_v) + y * tl.load(to_v + across)
        v += z * tl.load(to_v + 2 * across) + tl.load(to_v + 3 * across)
        if (CAMERAS >> plane) & 1:
            u = u / depth + (0.5 * R - 0.5)
            v = v / depth + (0.5 * R - 0.5)
        u = tl.minimum(tl.maximum(u, 0.0), R - 1.0)
        v = tl.minimum(tl.maximum(v, 0.0), R - 1.0)
        column = tl.minimum(u.to(tl.int32), R - 2)
        line = tl.minimum(v.to(tl.int32), R - 2)
        right = u - column
        below = v - line
        corner = ((owner * PLANES + plane) * R + line) * R + column
        cell = table + corner[:, None] * C + channel[None, :]
        features += ((1.0 - right) * (1.0 - below))[:, None] * tl.load(cell)
        features += (right * (1.0 - below))[:, None] * tl.load(cell + C)
        features += ((1.0 - right) * below)[:, None] * tl.load(cell + R * C)
        features += (right * below)[:, None] * tl.load(cell + R * C + C)

    hidden = tl.arange(0, H)
    square = hidden[:, None] * H + hidden[None, :]
    oblong = channel[:, None] * H + hidden[None, :]
    stream = (
        tl.dot(features, tl.load(enter + oblong), input_precision=PRECISION) + tl.load(enter_bias + hidden)[None, :]
    )
    place = enter + C * H + hidden
    stream += x[:, None] * tl.load(place)[None, :] + y[:, None] * tl.load(place + H)[None, :]
    stream += z[:, None] * tl.load(place + 2 * H)[None, :]
    stream += (depth - tl.load(distance + owner))[:, None] * tl.load(place + 3 * H)[None, :]
    for block in tl.static_range(BLOCKS):
        active = tl.maximum(stream, tl.load(later + block * H + hidden)[None, :])
        inner = tl.dot(active, tl.load(first + block * H * H + square), input_precision=PRECISION)
        inner = tl.maximum(inner + tl.load(first_bias + block * H + hidden)[None, :], 0.0)
        own_leave = leave + block * (H + C) * H
        stream += tl.dot(inner, tl.load(own_leave + square), input_precision=PRECISION)
        stream += tl.dot(features, tl.load(own_leave + H * H + oblong), input_precision=PRECISION)
    logit = tl.sum(tl.maximum(stream, 0.0) * tl.load(last + hidden)[None, :], axis=1) + tl.load(last_bias)
    tl.store(out + row, logit, mask)
