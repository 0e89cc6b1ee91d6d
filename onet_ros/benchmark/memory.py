"""Memory over resolution: a field's surface, and a decoder that fills a grid of voxels.

Each is measured in a process of its own, so that nothing that another one left behind is counted.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from onet_ros.benchmark.measurement import PeakMemory
from onet_ros.networks import InferenceNetwork, VoxelObservation, load_checkpoint
from onet_ros.surface import ExtractionSettings, extract_surface

FIELD, DENSE = "field", "dense"
DENSE_START = 4  # cells along an edge where the dense decoder begins
FLOAT_BYTES = 4


@dataclass(frozen=True)
class MemoryUse:
    """Of one extraction.

    Attributes:
        kind: FIELD or DENSE.
        resolution: cells along an edge.
        parameters: of the decoder, how many.
        peak: bytes beyond what the process held before; measured, or for what is too large calculated.
        measured: whether it was.
        seconds: it took; NaN where it was not done.
    """

    kind: str
    resolution: int
    parameters: int
    peak: float
    measured: bool
    seconds: float


class DenseDecoder(nn.Module):
    """A code to a grid of logits: transposed 3D convolutions, each of which doubles the grid, all of one width.

    Args:
        code_size: of the code.
        width: channels at every resolution.
        resolution: cells along an edge, DENSE_START times a power of two.
    """

    def __init__(self, code_size: int, width: int, resolution: int) -> None:
        super().__init__()
        self.width = width
        self.fc_code = nn.Linear(code_size, width * DENSE_START**3)
        doublings = (resolution // DENSE_START).bit_length() - 1
        self.ups = nn.ModuleList(nn.ConvTranspose3d(width, width, 4, stride=2, padding=1) for _ in range(doublings))
        self.out = nn.Conv3d(width, 1, 1)

    def forward(self, code: Tensor) -> Tensor:
        """(B, code_size) -> logits (B, R, R, R)."""
        x: Tensor = self.fc_code(code).view(-1, self.width, *3 * [DENSE_START])
        for up in self.ups:
            x = up(x.relu_())
        logits: Tensor = self.out(x.relu_()).squeeze(1)
        return logits


def dense_peak(width: int, resolution: int) -> int:
    """Bytes that the last doubling of a DenseDecoder needs at least: what goes in and what comes out."""
    return FLOAT_BYTES * width * (resolution**3 + (resolution // 2) ** 3)


def memory_uses(model: Path, resolutions: Sequence[int], largest_dense: int) -> list[MemoryUse]:
    """Both ways at all resolutions; dense ones above `largest_dense` cells are calculated.

    Raises:
        RuntimeError: a measuring process failed; quotes what it said.
    """
    width = _width(model)
    uses = []
    for resolution in resolutions:
        uses.append(_in_a_process(FIELD, model, resolution))
        if resolution <= largest_dense:
            uses.append(_in_a_process(DENSE, model, resolution))
        else:
            count = sum(p.numel() for p in DenseDecoder(256, width, resolution).parameters())
            peak = float(dense_peak(width, resolution))
            uses.append(MemoryUse(DENSE, resolution, count, peak, False, float("nan")))
    return uses


def _width(model: Path) -> int:
    width: int = load_checkpoint(model).network.config["decoder"]["hidden_size"]
    return width


def _in_a_process(kind: str, model: Path, resolution: int) -> MemoryUse:
    command = [sys.executable, "-m", "onet_ros.benchmark.memory", kind, str(model), str(resolution)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
    parameters, peak, seconds = done.stdout.split()[-3:]
    return MemoryUse(kind, resolution, int(parameters), float(peak), True, float(seconds))


def measure(kind: str, model: Path, resolution: int) -> tuple[int, float, float]:
    """Parameters of the decoder, peak bytes and seconds of one extraction in this process."""
    checkpoint = load_checkpoint(model)
    if kind == DENSE:
        width = checkpoint.network.config["decoder"]["hidden_size"]
        dense = DenseDecoder(256, width, resolution).eval().requires_grad_(False)
        code = torch.zeros(1, 256)
        DenseDecoder(256, width, DENSE_START * 2).eval()(code)
        with PeakMemory() as memory:
            began = time.perf_counter()
            dense(code)
            seconds = time.perf_counter() - began
        return sum(p.numel() for p in dense.parameters()), memory.peak, seconds
    network = InferenceNetwork(checkpoint.network)
    ticks = (torch.arange(32) + 0.5) / 32 - 0.5
    ball = (torch.cartesian_prod(ticks, ticks, ticks).norm(dim=1) < 0.4).float().view(1, 32, 32, 32)
    occupancy = network.field(network.encode(VoxelObservation(ball)))

    def field(points: Tensor) -> Tensor:
        return occupancy(points, torch.zeros(len(points), dtype=torch.int64))

    def extract(doublings: int) -> None:
        extract_surface(field, [-0.5] * 3, [0.5] * 3, 0.0, ExtractionSettings(32, doublings, max_triangles=20_000))

    extract(0)
    with PeakMemory() as memory:
        began = time.perf_counter()
        extract((resolution // 32).bit_length() - 1)
        seconds = time.perf_counter() - began
    return sum(p.numel() for p in checkpoint.network.decoder.parameters()), memory.peak, seconds


if __name__ == "__main__":
    print(*measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
