"""What a device could do, and what the networks get out of it: for a GPU above all, where overheads hide.

    python -m onet_ros.benchmark.device --device cuda --out docs/performance_gpu.md

Needs no ROS. The objects are procedural, seen by the simulated camera that networks are trained with.
"""

from __future__ import annotations

import argparse
import datetime as dt
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm import tqdm

from onet_ros.benchmark.measurement import Timing, machine, measure
from onet_ros.benchmark.paper_network import LOWER, UPPER, fitted_paper_network, observation_of_mug
from onet_ros.completion import CompletionSettings, ObjectCompleter, SeenObject, object_box
from onet_ros.learning.pool import SHEET_STREAM, stream_generator
from onet_ros.learning.world import make_samples
from onet_ros.networks import PRECISIONS, Checkpoint, InferenceNetwork, Observation, OccupancyField, load_checkpoint
from onet_ros.resources import default_model_path
from onet_ros.scene import UnitFrame
from onet_ros.stopwatch import Stopwatch
from onet_ros.surface import ExtractionSettings, SurfaceError, extract_surfaces

REPEATS = 20
PAPER = "paper (512/256)"


@dataclass(frozen=True)
class Ceilings:
    """What the device reaches with a large matrix product and a large copy.

    Attributes:
        flops: floating point operations a second, by precision.
        bandwidth: bytes a second, read and written.
    """

    flops: dict[str, float]
    bandwidth: float


@dataclass(frozen=True)
class Throughput:
    """One network's field, asked at many points at once.

    Attributes:
        seconds: for all points.
        flops: of the matrix products.
        bytes: that the operations read and write, each counted for itself.
        operations: that were sent to the device.
    """

    name: str
    precision: str
    objects: int
    points: int
    seconds: float
    flops: float
    bytes: float
    operations: int


@dataclass(frozen=True)
class MeshTiming:
    """From points on the host to meshes on the host."""

    name: str
    precision: str
    objects: int
    resolution: int
    timing: Timing
    triangles: int


def ceilings(device: torch.device) -> Ceilings:
    """Measured with one product and one copy, each large enough to fill the device."""
    side = 8192 if device.type == "cuda" else 1024
    flops = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        flops[name] = 2.0 * side**3 / _median_seconds(lambda a=a, b=b: a @ b, device)  # type: ignore[misc]
    source = torch.randn(2**28 if device.type == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    seconds = _median_seconds(lambda: target.copy_(source), device)
    return Ceilings(flops, 2.0 * source.numel() * source.element_size() / seconds)


def throughput(
    name: str, network: InferenceNetwork, occupancy: OccupancyField, objects: int, points: int
) -> Throughput:
    """A field at random points of the unit box, as many for each object."""
    device = network.device
    low, high = (torch.tensor(corner, dtype=torch.float32) for corner in object_box())
    places = low + (high - low) * torch.rand(points, 3, generator=torch.Generator().manual_seed(0))
    places, owners = places.to(device), torch.arange(points, device=device) * objects // points
    with _Account() as account:
        occupancy(places, owners)
    weights = sum(p.numel() for layer in network.network.decoder.modules() for p in _weights_at_points(layer))
    seconds = _median_seconds(lambda: occupancy(places, owners), device)
    return Throughput(
        name, network.precision, objects, points, seconds, 2.0 * weights * points, account.bytes, account.operations
    )


def mesh_timing(
    name: str,
    network: InferenceNetwork,
    observe: Callable[[], Observation],
    box: tuple[Any, Any],
    threshold: float,
    resolution: int,
    seconds: float,
    seeded: bool = True,
) -> MeshTiming:
    """Meshes of all objects of an observation on the host; neither simplified nor given collision meshes.

    Args:
        seeded: the seen points are told to the extraction.
    """
    settings = ExtractionSettings(32, (resolution // 32).bit_length() - 1, max_triangles=0)
    count = len(observe().points)
    lower, upper = (np.tile(corner, (count, 1)) for corner in box)
    triangles = 0

    def run(watch: Stopwatch) -> None:
        nonlocal triangles
        with watch.stage("observe"):
            observation = observe()
            seeds = list(observation.points.numpy()) if seeded else None
        with watch.stage("encode"):
            occupancy = network.field(network.encode(observation.to(network.device)))
            if network.device.type == "cuda":
                torch.cuda.synchronize(network.device)
        found = extract_surfaces(
            occupancy, lower, upper, threshold, settings, network.device, seeds, watch=watch, collision_meshes=False
        )
        triangles = sum(len(one.mesh.faces) for one in found if not isinstance(one, SurfaceError))

    return MeshTiming(name, network.precision, count, resolution, measure(run, seconds), triangles)


def procedural_objects(count: int, points: int) -> list[SeenObject]:
    """Objects seen by the camera of the simulated world, metres, each about its own origin; always the same ones."""
    samples = make_samples(2 * count, stream_generator(0, SHEET_STREAM, 1))
    seen = []
    for row in range(count):
        scale = float(samples.scale[row])
        own, around, eye = (
            values[row].double().numpy() * scale for values in (samples.points, samples.background, samples.viewpoint)
        )
        frame = UnitFrame(np.eye(3), np.zeros(3), scale)
        seen.append(SeenObject(own[:points], around, eye, frame, np.arange(min(points, len(own)))))
    return seen


class _Account(TorchDispatchMode):
    """Counts operations and the bytes that they read and write; those that only look at memory otherwise are free."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.operations = 0.0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in str(func):
            tensors = [v for v in (*args, *(kwargs or {}).values(), result) if isinstance(v, Tensor)]
            self.bytes += float(sum(t.numel() * t.element_size() for t in tensors))
            self.operations += 1
        return result


def _weights_at_points(layer: nn.Module) -> list[Tensor]:
    """The weights of a layer of a decoder that work on every query point: all but those that work on a code."""
    from onet_ros.networks.cbn_decoder import CBNDecoder, ConditionalBlock
    from onet_ros.networks.local_decoder import LocalDecoder

    if isinstance(layer, CBNDecoder):
        return [layer.fc_query.weight, layer.fc_out.weight]
    if isinstance(layer, ConditionalBlock):
        return [layer.fc_0.weight, layer.fc_1.weight]
    if isinstance(layer, LocalDecoder):
        return [parameter for name, parameter in layer.named_parameters() if name.endswith("weight")]
    return []


def _median_seconds(act: Callable[[], object], device: torch.device) -> float:
    """Of REPEATS calls after three that do not count, with the device's own clock where it has one."""
    seconds = []
    for _ in range(REPEATS + 3):
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            act()
            end.record()
            end.synchronize()
            seconds.append(start.elapsed_time(end) / 1000.0)
        else:
            began = time.perf_counter()
            act()
            seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[3:]))


@dataclass
class Figures:
    """All that was measured; `update` is called after each figure."""

    top: Ceilings
    update: Callable[[], object]
    rates: list[Throughput] = field(default_factory=list)
    meshes: list[MeshTiming] = field(default_factory=list)

    def add(self, figure: Throughput | MeshTiming) -> None:
        """One more."""
        if isinstance(figure, Throughput):
            self.rates.append(figure)
        else:
            self.meshes.append(figure)
        self.update()


def run(device_name: str, model: Path, seconds: float, quick: bool = False) -> Figures:
    """Measure all there is.

    Args:
        seconds: for each measurement of meshes, about.
        quick: fewer points, objects and resolutions: to see that everything runs.
    """
    device = torch.device(device_name)
    counts = (1, 2) if quick else (1, 4, 12)
    resolutions = (64,) if quick else (64, 128)
    points = 20_000 if quick else 1_000_000 if device.type == "cuda" else 200_000
    with tqdm(desc="device", unit="figure") as bar:
        figures = Figures(ceilings(device), bar.update)
        _measure_model(figures, load_checkpoint(model, device), counts, resolutions, points, seconds)
        paper_points = points // (1 if device.type == "cuda" else 10)
        _measure_paper(figures, device, counts[-1], resolutions[-1], paper_points, seconds)
    return figures


def _measure_model(
    figures: Figures,
    checkpoint: Checkpoint,
    counts: Sequence[int],
    resolutions: Sequence[int],
    points: int,
    seconds: float,
) -> None:
    """The network of a checkpoint, for so many objects each."""
    device = checkpoint.network.device
    seen = procedural_objects(max(counts), checkpoint.observation_points)
    threshold = float(np.log(checkpoint.threshold / (1.0 - checkpoint.threshold)))
    for precision in PRECISIONS:
        completer = ObjectCompleter(checkpoint, CompletionSettings(precision=precision), ExtractionSettings())
        network = InferenceNetwork(checkpoint.network, precision)
        for count in counts:
            observe = partial(completer.observation, seen[:count])
            if precision == "float32" and count in (counts[0], counts[-1]):
                occupancy = network.field(network.encode(observe().to(device)))
                figures.add(throughput("default", network, occupancy, count, points))
            for resolution in resolutions:
                figures.add(mesh_timing("default", network, observe, object_box(), threshold, resolution, seconds))


def _measure_paper(
    figures: Figures, device: torch.device, count: int, resolution: int, points: int, seconds: float
) -> None:
    """The paper's network, for one object and so many."""
    paper = fitted_paper_network()
    paper.network.to(device)
    one = observation_of_mug()
    many = Observation(*(torch.cat([t] * count) for t in (one.points, one.background, one.viewpoint, one.scale)))
    for precision in PRECISIONS:
        network = InferenceNetwork(paper.network, precision)
        for told in (one, many):
            occupancy = network.field(network.encode(told.to(device)))
            figures.add(throughput(PAPER, network, occupancy, len(told.points), points))
        threshold, box = float(np.log(0.25)), (LOWER, UPPER)
        figures.add(mesh_timing(PAPER, network, lambda: one, box, threshold, resolution, seconds, seeded=False))


def page(command: str, device_name: str, figures: Figures) -> str:
    """The figures as Markdown."""
    top = figures.top
    lines = [
        "# What a device reaches",
        "",
        f"Measured {dt.date.today().isoformat()} on {machine(device_name)}, by `{command}`, which wrote this page.",
        "",
        "Ceilings, measured in the same run: "
        + ", ".join(f"{name} {flops / 1e12:.2f} TFLOP/s" for name, flops in top.flops.items())
        + f" in a large matrix product; {top.bandwidth / 1e9:.0f} GB/s in a large copy, bytes read and written.",
        "",
        "## Evaluation",
        "",
        "Fields asked at many points at once. Operations are those of the matrix products; bytes are what each "
        "operation reads and writes of the memory; what a kernel keeps on the chip or finds in the cache is not among "
        "them. What bounds it is the larger share.",
        "",
        "| network | precision | objects | points | ms | Mpoints/s | TFLOP/s | share of peak | GB/s "
        "| share of bandwidth | bound by |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in figures.rates:
        arithmetic = one.flops / one.seconds / top.flops[one.precision]
        memory = one.bytes / one.seconds / top.bandwidth
        bound = "arithmetic" if arithmetic > memory else "memory"
        if max(arithmetic, memory) < 0.3:
            bound = "neither: caches, launches, waiting"
        lines.append(
            f"| {one.name} | {one.precision} | {one.objects} | {one.points:,} | {1e3 * one.seconds:.2f} | "
            f"{one.points / one.seconds / 1e6:.1f} | {one.flops / one.seconds / 1e12:.2f} | {arithmetic:.1%} | "
            f"{one.bytes / one.seconds / 1e9:.0f} | {memory:.1%} | {bound} |"
        )
    stages = list(
        dict.fromkeys(name for one in figures.meshes for name in one.timing.stages if name not in ("simplify",))
    )
    lines += [
        "",
        "## From points to meshes",
        "",
        "Points and meshes in the host's memory; milliseconds, p50 over the runs. Not simplified, no collision meshes. "
        "Start grid of 32 cells; refined by one evaluation of each vertex.",
        "",
        "| network | precision | objects | cells | runs | p50 | p95 | "
        + " | ".join(stages)
        + " | points asked | triangles |",
        "|" + "---|" * (9 + len(stages)),
    ]
    for case in figures.meshes:
        timing = case.timing
        cells = " | ".join(f"{1e3 * timing.stages.get(name, 0.0):.2f}" for name in stages)
        lines.append(
            f"| {case.name} | {case.precision} | {case.objects} | {case.resolution} | {timing.runs} | "
            f"{1e3 * timing.p50:.1f} | {1e3 * timing.p95:.1f} | {cells} | {timing.points_asked:,} | "
            f"{case.triangles:,} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m onet_ros.benchmark.device", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--device", default="cuda", help="torch device (default: %(default)s)")
    parser.add_argument("--model", type=Path, help="checkpoint folder (default: the one that comes with the package)")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/performance_gpu.md"), help="page to write (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="for each mesh measurement (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="small, to see that everything runs")
    options = parser.parse_args(arguments)
    command = shlex.join(
        ["python", "-m", "onet_ros.benchmark.device", *(sys.argv[1:] if arguments is None else arguments)]
    )
    try:
        figures = run(options.device, options.model or default_model_path(), options.seconds, options.quick)
    except (ValueError, OSError, RuntimeError, AssertionError) as error:  # the last two: torch has no such device
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page(command, options.device, figures))
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
