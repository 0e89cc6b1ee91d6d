"""How long the whole node takes: from a cloud's stamp to the last message that it caused, over DDS.

    python -m onet_ros.ros.node_latency --minutes 10
    python -m onet_ros.ros.node_latency --anew --rate 5

The camera (a simulated table, its frames made in advance) and the node are processes of their own; this one listens,
without unpacking what comes.
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from tqdm import tqdm
from visualization_msgs.msg import MarkerArray

from onet_ros.msg import ReconstructedObjects
from onet_ros.ros import conversions
from onet_ros.ros.diagnostics import read_accounts
from onet_ros.ros.processes import NodeProcess, private_domain
from onet_ros.ros.qos import COLLISION_QOS, DIAGNOSTICS_QOS, MARKERS_QOS, OBJECTS_QOS

WARM_UP = 5.0  # seconds after the first message that do not count
START_TIMEOUT = 120.0  # seconds
PREPARED = 30  # frames: making each when it is due keeps a core busy that a real camera does not
ANEW = ("tracking.refresh_period:=0.001", "tracking.update_period:=0.0")
_HEADER = 4  # bytes of the CDR encapsulation, before a message's own header


@dataclass(frozen=True)
class NodeLatency:
    """Of a node that was fed for a while.

    Attributes:
        objects: on the table.
        rate: clouds a second that were sent.
        anew: whether every object was completed anew for every cloud; otherwise only those that changed.
        received: clouds that reached the node.
        answered: of them, those that an answer came of; the others were superseded by newer ones.
        most_waiting: clouds that waited in the node at any time it was asked.
        p50, p95: seconds from a cloud's stamp to the arrival of the last of its messages: objects, and where there is
            something to tell markers and, with MoveIt's messages, collision objects.
        memory: megabytes of the node after the warm-up and at the end, medians of a tenth of the time.
    """

    objects: int
    rate: float
    anew: bool
    received: int
    answered: int
    most_waiting: int
    p50: float
    p95: float
    memory: tuple[float, float]


class LatencyListener(Node):
    """Takes down when messages arrive, by the stamp that they carry."""

    def __init__(self, context: rclpy.Context) -> None:
        super().__init__("latency_listener", context=context)
        self.arrivals: dict[float, float] = {}
        self.accounts: list[tuple[float, dict[str, str]]] = []
        self._listen(ReconstructedObjects, "onet/objects", OBJECTS_QOS, _HEADER)
        self._listen(MarkerArray, "onet/markers", MARKERS_QOS, _HEADER + 4)  # after the number of markers
        if conversions.CollisionObject is not None:
            self._listen(conversions.CollisionObject, "collision_object", COLLISION_QOS, _HEADER)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, DIAGNOSTICS_QOS)

    def _listen(self, message_type: Any, topic: str, qos: Any, offset: int) -> None:
        def on_message(data: bytes) -> None:
            if len(data) >= offset + 8:  # no markers, no stamp
                seconds, nanoseconds = struct.unpack_from("<iI", data, offset)
                self.arrivals[seconds + 1e-9 * nanoseconds] = time.time()

        self.create_subscription(message_type, topic, on_message, qos, raw=True)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.accounts += [(time.time(), values) for values in read_accounts(message)]


def measure_node(
    seconds: float,
    rate: float = 30.0,
    objects: int = 6,
    anew: bool = False,
    folder: Path | None = None,
    on_progress: Callable[[float], Any] = lambda _: None,
) -> NodeLatency:
    """Start camera and node, listen for so many seconds, stop both.

    Args:
        folder: for the logs; a temporary one where it is None.
        on_progress: told how many seconds of the measurement have passed.

    Raises:
        RuntimeError: one of the two ended, or no answer came; holds the end of the node's log.
    """
    folder = folder or Path(tempfile.mkdtemp(prefix="onet_latency_"))
    parameters = [word for parameter in (ANEW if anew else ()) for word in ("-p", parameter)]
    with ExitStack() as stack:
        stack.enter_context(private_domain())
        context = rclpy.Context()
        rclpy.init(args=[], context=context)
        stack.callback(rclpy.try_shutdown, context=context)
        node = NodeProcess("onet_ros.ros.node", ["--ros-args", *parameters], folder / "node.log")
        stack.callback(node.stop)
        words = ["--rate", str(rate), "--objects", str(objects), "--prepare", str(PREPARED)]
        camera = NodeProcess("onet_ros.ros.depth_camera", words, folder / "camera.log")
        stack.callback(camera.stop)
        executor = SingleThreadedExecutor(context=context)
        listener = LatencyListener(context)
        stack.callback(listener.destroy_node)
        executor.add_node(listener)
        stack.callback(executor.shutdown)

        def listen(until: Callable[[], bool]) -> None:
            while not until():
                executor.spin_once(0.05)
                if node.exit_code is not None or camera.exit_code is not None:
                    raise RuntimeError(f"camera or node ended:\n{node.log(10)}\n{camera.log(10)}")

        started = time.time()
        listen(lambda: bool(listener.arrivals) or time.time() > started + START_TIMEOUT)
        if not listener.arrivals:
            raise RuntimeError(f"no answer within {START_TIMEOUT:.0f} s:\n{node.log(10)}")
        begin = time.time() + WARM_UP

        def is_over() -> bool:
            on_progress(max(0.0, min(seconds, time.time() - begin)))
            return time.time() > begin + seconds

        listen(is_over)
    return _summary(listener, begin, rate, objects, anew)


def _summary(listener: LatencyListener, begin: float, rate: float, objects: int, anew: bool) -> NodeLatency:
    latencies = [arrived - stamp for stamp, arrived in listener.arrivals.items() if stamp >= begin]
    accounts = [(at, values) for at, values in listener.accounts if at >= begin]
    if not latencies or len(accounts) < 2:
        raise RuntimeError(f"{len(latencies)} answers and {len(accounts)} diagnostics are too few: measure for longer")
    first, last = accounts[0][1], accounts[-1][1]
    memory = [float(values["memory (MB)"]) for _, values in accounts]
    tenth = max(1, len(memory) // 10)
    return NodeLatency(
        objects=objects,
        rate=rate,
        anew=anew,
        received=int(last["received"]) - int(first["received"]),
        answered=int(last["published"]) - int(first["published"]),
        most_waiting=max(int(values["waiting"]) for _, values in accounts),
        p50=float(np.percentile(latencies, 50)),
        p95=float(np.percentile(latencies, 95)),
        memory=(float(np.median(memory[:tenth])), float(np.median(memory[-tenth:]))),
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m onet_ros.ros.node_latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=30.0, help="clouds a second (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=6, help="on the table (default: %(default)s)")
    parser.add_argument("--anew", action="store_true", help="complete every object anew for every cloud")
    parser.add_argument("--out", type=Path, help="folder for the logs (default: a temporary one)")
    arguments = parser.parse_args()
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    with tqdm(total=round(60.0 * arguments.minutes), unit="s", disable=None) as bar:
        found = measure_node(
            60.0 * arguments.minutes,
            arguments.rate,
            arguments.objects,
            arguments.anew,
            arguments.out,
            lambda passed: bar.update(int(passed) - bar.n),
        )
    print(
        f"{found.answered} of {found.received} clouds answered, at most {found.most_waiting} waiting; p50 "
        f"{1000 * found.p50:.0f} ms, p95 {1000 * found.p95:.0f} ms; memory {found.memory[0]:.0f} to "
        f"{found.memory[1]:.0f} MB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
