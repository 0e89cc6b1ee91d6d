"""A long run with everything at once: does the node live through it, and is every cloud accounted for?

    python -m onet_ros.ros.soak --minutes 30

A simulator (a process of its own, with a clock of its own) shows a table where objects come and go, 15 times a second.
It is killed and started again, sometimes with its clock set back. Meanwhile parameters are changed, services and the
action are called several at a time, and the node is paused and resumed. At the end: no exception, memory at rest that
did not grow by more than 2 %, every cloud accounted for, ids that stayed with their objects and were given to no other.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from scipy.stats import theilslopes
from tqdm import tqdm

from onet_ros.ros.memory import resident_memory
from onet_ros.ros.processes import NodeProcess, private_domain
from onet_ros.ros.soak_monitor import ANSWER_TIMEOUT, Findings, SoakMonitor

WARM_UP = 0.3  # share of the run after which memory has to be flat
PARTS = 20  # of a run, for each of which memory at rest is told
# Percentile of a part's samples that is memory between two pieces of work: a leak lifts this, too. The least ones are
# of the moment after the node has given free memory back, a tenth below the others, and it is chance to meet one.
AT_REST = 20.0
SAMPLE_EVERY = 0.2  # seconds
LONG_RUN = 10.0  # minutes
GROWTH = 0.02  # of memory that is too much in a long run
EARLY_GROWTH = 0.05  # and in a short one, whose warm-up is a minute: allocators still find their size then


class Simulator:
    """The simulator's process, which dies and comes back."""

    def __init__(self, folder: Path, rate: float, seed: int) -> None:
        self._folder, self._rate, self._random = folder, rate, random.Random(seed)
        self._started, self._began, self._log = 0, 0.0, 0
        self.process: NodeProcess | None = None
        self.deaths = self.jumps = 0

    def start(self, seconds: int) -> None:
        """With a clock that begins at so many seconds."""
        self._started, self._began, self._log = seconds, time.monotonic(), self._log + 1
        arguments = ["--start", str(seconds), "--rate", str(self._rate)]
        log = self._folder / f"simulator_{self._log}.log"
        self.process = NodeProcess("onet_ros.ros.soak_simulator", arguments, log)

    def die(self) -> None:
        """All of a sudden."""
        if self.process is not None:
            self.process.stop(9)
            self.process, self.deaths = None, self.deaths + 1

    def come_back(self) -> bool:
        """Start again, its clock going on or set back; whether it was set back."""
        now = self._started + int(time.monotonic() - self._began) + 1
        back = self._random.random() < 0.5
        self.jumps += back
        self.start(max(100, now - self._random.randint(20, 60)) if back else now)
        return back


def soak(minutes: float, rate: float, seed: int, folder: Path, node_arguments: list[str]) -> dict[str, Any]:
    """Run it; the report."""
    folder.mkdir(parents=True, exist_ok=True)
    # Without shared memory: Fast DDS leaves locks behind in it when a process is killed, and others wait for them.
    os.environ.setdefault("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4")
    with private_domain():
        arguments = ["--ros-args", "-p", "use_sim_time:=true", "-p", "static_camera:=true", *node_arguments]
        node = NodeProcess("onet_ros.ros.node", arguments, folder / "node.log")
        simulator = Simulator(folder, rate, seed)
        rclpy.init(args=[])
        monitor = SoakMonitor(seed, folder)
        executor = SingleThreadedExecutor()
        executor.add_node(monitor)
        try:
            simulator.start(1000)
            _wait_for_first(monitor, executor, node)
            _run(monitor, executor, node, simulator, 60.0 * minutes, random.Random(seed + 1))
            deadline = time.monotonic() + ANSWER_TIMEOUT
            while monitor.pending() and time.monotonic() < deadline:
                executor.spin_once(0.1)
        finally:
            simulator.die()
            exit_code = node.stop()
            executor.shutdown()
            monitor.destroy_node()
            rclpy.try_shutdown()
    return _report(monitor.findings, node, exit_code, simulator, minutes)


def _wait_for_first(monitor: SoakMonitor, executor: SingleThreadedExecutor, node: NodeProcess) -> None:
    deadline = time.monotonic() + 180.0
    while not monitor.findings.messages:
        executor.spin_once(0.1)
        if node.exit_code is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the node does not work:\n{node.log(20)}")
    monitor.reset()


def _run(
    monitor: SoakMonitor,
    executor: SingleThreadedExecutor,
    node: NodeProcess,
    simulator: Simulator,
    seconds: float,
    chance: random.Random,
) -> None:
    start = time.monotonic()
    next_act, next_death, back_at, next_sample = start, start + chance.uniform(15.0, 30.0), 0.0, start
    with tqdm(total=round(seconds), unit="s", disable=None) as progress:
        while (now := time.monotonic()) - start < seconds:
            executor.spin_once(0.05)
            progress.update(int(now - start) - progress.n)
            if node.exit_code is not None:
                monitor.findings.faults.append(f"the node ended with {node.exit_code}: {node.log(10)}")
                return
            if now > next_sample:
                monitor.findings.memory.append((now - start, resident_memory(node.pid) / 1e6))
                next_sample = now + SAMPLE_EVERY
            if now > next_act:
                monitor.act()
                next_act = now + chance.uniform(0.05, 0.6)
            if not back_at and now > next_death:
                simulator.die()
                back_at = now + chance.uniform(1.0, 6.0)
            elif back_at and now > back_at:
                simulator.come_back()
                back_at, next_death = 0.0, now + chance.uniform(20.0, 45.0)


def _report(found: Findings, node: NodeProcess, exit_code: int, simulator: Simulator, minutes: float) -> dict[str, Any]:
    """Figures and faults. What an id was most of the time counts: at the edges of a change two objects can be near."""
    faults = list(dict.fromkeys(found.faults))
    if exit_code != 0:
        faults.append(f"the node's exit code was {exit_code}")
    if "Traceback" in node.log() or "internal error" in node.log():
        faults.append("the node's log holds an exception")
    reused = {number: dict(names) for number, names in found.names.items() if len(names) > 1}
    faults += [f"id {number} was given to several objects: {names}" for number, names in reused.items()]
    growth = memory_growth(found.memory)
    if growth > (GROWTH if minutes >= LONG_RUN else EARLY_GROWTH):
        faults.append(f"memory grew by {100 * growth:.1f} %")
    if len(found.wrong) > 0.02 * max(found.settled, 1):
        faults.append(f"{len(found.wrong)} of {found.settled} settled messages did not show what was there")
    return {
        "minutes": minutes,
        "messages": found.messages,
        "ids": len(found.names),
        "settled_messages": found.settled,
        "settled_messages_wrong": found.wrong,
        "memory_growth": round(growth, 5),
        "memory_at_rest_mb": [round(memory, 1) for _, memory in memory_at_rest(found.memory)],
        "memory_mb": [round(memory) for _, memory in found.memory[:: max(1, len(found.memory) // 60)]],
        "simulator_deaths": simulator.deaths,
        "clock_jumps": simulator.jumps,
        "requests": dict(found.requests),
        "longest_wait_s": {kind: round(seconds, 1) for kind, seconds in found.longest.items()},
        "accounts_checked": found.accounts,
        "account": found.account,
        "faults": faults,
    }


def memory_growth(samples: list[tuple[float, float]]) -> float:
    """Growth of memory at rest from the end of the warm-up to the end, as a share; samples of (seconds, megabytes).

    That of the line through the parts after the warm-up, with the median of all slopes (Theil-Sen): between two parts
    alone chance makes a difference of percents.
    """
    at_rest = memory_at_rest(samples)
    times, values = (np.array(column) for column in zip(*at_rest[round(WARM_UP * PARTS) :], strict=True))
    if not values.all():
        return 0.0
    slope, start, _, _ = theilslopes(values, times - times[0])
    return float(slope * (times[-1] - times[0]) / start)


def memory_at_rest(samples: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Middle and memory at rest (seconds, megabytes) of each part of the run; 0 MB where nothing is known.

    Work under way holds up to a quarter more, by chance: a median says as much about when the samples were taken.
    """
    times, values = np.array(samples or [(1.0, 0.0)]).T
    edges = np.linspace(0.0, times[-1], PARTS + 1)
    parts = np.clip(np.searchsorted(edges, times, side="right") - 1, 0, PARTS - 1)
    found = [values[parts == part] for part in range(PARTS)]
    middles = 0.5 * (edges[:-1] + edges[1:])
    return [
        (float(at), float(np.percentile(v, AT_REST)) if len(v) else 0.0) for at, v in zip(middles, found, strict=True)
    ]


def main() -> int:
    """Run it, print the report; the exit status: 0, or 1 when there were faults."""
    parser = argparse.ArgumentParser(
        prog="python -m onet_ros.ros.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=3.0, help="how long (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=15.0, help="clouds a second (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that happens by chance (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder for logs and report (default: a temporary one)")
    parser.add_argument(
        "--parameter", action="append", default=[], metavar="NAME:=VALUE", help="of the node; repeatable"
    )
    arguments = parser.parse_args()
    folder = arguments.out or Path(tempfile.mkdtemp(prefix="onet_soak_"))
    words = [word for parameter in arguments.parameter for word in ("-p", parameter)]
    report = soak(arguments.minutes, arguments.rate, arguments.seed, folder, words)
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({key: value for key, value in report.items() if key != "account"}, indent=1))
    print(f"logs in {folder}; {'no faults' if not report['faults'] else str(len(report['faults'])) + ' FAULTS'}")
    return 1 if report["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
