"""How often a thing is timed, what is made of the times, and on which machine."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from onet_ros.stopwatch import Stopwatch
from onet_ros.surface import POINTS_ASKED

MOST_RUNS = 30


@dataclass(frozen=True)
class Timing:
    """Of one thing done again and again.

    Attributes:
        runs: how often.
        p50, p95: seconds of a run.
        stages: median seconds of each stage.
        points_asked: of the field, in a run.
        peak_memory: bytes that the process held at most during the runs, over what it held before the first
            measurement; NaN where the system does not tell.
    """

    runs: int
    p50: float
    p95: float
    stages: dict[str, float]
    points_asked: int
    peak_memory: float


def measure(run: Callable[[Stopwatch], object], seconds: float) -> Timing:
    """Time `run`, once unmeasured to warm up unless that takes long, then for about as many seconds as given."""
    began = time.perf_counter()
    watches = [Stopwatch()]
    with PeakMemory() as memory:
        totals = [_timed(run, watches[0])]
        if totals[0] < seconds:
            totals, watches = [], []
        while not totals or (time.perf_counter() - began < seconds and len(totals) < MOST_RUNS):
            watches.append(Stopwatch())
            totals.append(_timed(run, watches[-1]))
    names = dict.fromkeys(name for watch in watches for name in watch.seconds)
    return Timing(
        runs=len(totals),
        p50=float(np.median(totals)),
        p95=float(np.percentile(totals, 95)),
        stages={name: float(np.median([watch.seconds.get(name, 0.0) for watch in watches])) for name in names},
        points_asked=watches[-1].counts[POINTS_ASKED],
        peak_memory=memory.peak,
    )


def _timed(run: Callable[[Stopwatch], object], watch: Stopwatch) -> float:
    began = time.perf_counter()
    run(watch)
    return time.perf_counter() - began


class PeakMemory:
    """The most memory held within the block, by the kernel's own account (Linux); see `Timing.peak_memory`."""

    peak = float("nan")

    def __enter__(self) -> PeakMemory:
        _held_at_start()
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        return self

    def __exit__(self, *_: object) -> None:
        self.peak = _process_memory("VmHWM") - _held_at_start()


@lru_cache(maxsize=1)
def _held_at_start() -> float:
    return _process_memory("VmRSS")


def _process_memory(name: str) -> float:
    """Bytes, by the name that /proc gives them; NaN where there is no such thing."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), float("nan"))


def machine(device: str) -> str:
    """What the figures were measured on, in a line."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    threads = torch.get_num_threads()
    vectors = torch.backends.cpu.get_cpu_capability()  # processors of one name differ by a factor of two in them
    text = f"{processor} ({vectors}), {threads} thread{'s' * (threads != 1)}, PyTorch {torch.__version__}, Python "
    text += f"{platform.python_version()}, {platform.system()}"
    if torch.device(device).type == "cuda":
        text += f"; networks on {torch.cuda.get_device_name(device)}"
    return text
