"""Nodes as child processes, in a DDS domain of their own: for the demo and the tests."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_FIRST_PORT, _PORTS = 7400, 250  # of domain 0, and of each domain
_FIRST_PARTICIPANT, _LAST_PARTICIPANT = 10, 248  # offsets of their UDP ports, DDSI-RTPS 2.5, section 9.6.2
STOP_TIMEOUT = 15.0  # seconds from SIGINT to SIGKILL


class NodeProcess:
    """A Python module that runs a node; its output goes to a file."""

    def __init__(self, module: str, arguments: list[str], log_file: Path) -> None:
        self.log_file = log_file
        command = [sys.executable, "-X", "faulthandler", "-m", module, *arguments]
        with log_file.open("w") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    @property
    def pid(self) -> int:
        """The system's number of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while the process runs."""
        return self._process.poll()

    def log(self, last_lines: int | None = None) -> str:
        """What the process has written so far."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return "\n".join(lines if last_lines is None else lines[-last_lines:])

    def stop(self, signal_number: int = signal.SIGINT) -> int:
        """Ask the process to end, and wait for it; its exit code.

        One that takes too long writes down where each of its threads is, and is killed.
        """
        for signal_sent in (signal_number, signal.SIGABRT):  # the second one makes Python's fault handler write
            if self._process.poll() is None:
                self._process.send_signal(signal_sent)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._process.wait(STOP_TIMEOUT)
        self._process.kill()
        return self._process.wait()


@contextlib.contextmanager
def private_domain() -> Iterator[int]:
    """A DDS domain that nobody on this machine uses, seen by this machine only, for this process and its children.

    Enter before `rclpy.init`; the environment is as it was afterwards.
    """
    names = ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY")
    before = {name: os.environ.get(name) for name in names}
    domain, claim = _claim_domain(avoid=before["ROS_DOMAIN_ID"] or "0")
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    # Since Iron the range decides; Humble knows the older variable only, and the newer ROS warns of it.
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.pop("ROS_LOCALHOST_ONLY", None)
    if os.environ.get("ROS_DISTRO") == "humble":
        os.environ["ROS_LOCALHOST_ONLY"] = "1"
    try:
        yield domain
    finally:
        claim.close()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _domains_with_leftovers() -> set[int]:
    """Domains of which Fast DDS keeps locks in shared memory: of participants that run, or were killed."""
    ports = (re.search(r"fastrtps_port(\d+)", path.name) for path in Path("/dev/shm").glob("*fastrtps_port*"))
    return {(int(port[1]) - _FIRST_PORT) // _PORTS for port in ports if port is not None}


def _claim_domain(avoid: str) -> tuple[int, socket.socket]:
    """A domain whose ports nobody holds, 1 to 101 (above, the ports fall among Linux's ephemeral ones), and a socket
    that keeps it for us until it is closed: others who look at the same time take another one.

    Rather one in which nobody was killed either: Fast DDS hands messages over in shared memory, and whoever is killed
    with the lock of a port in hand leaves it locked for those who come after.
    """
    candidates = [number for number in range(1, 102) if str(number) != avoid]
    random.shuffle(candidates)
    haunted = _domains_with_leftovers()
    for number in sorted(candidates, key=lambda number: number in haunted):
        port_of_domain = _FIRST_PORT + _PORTS * number
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("", port_of_domain + _FIRST_PARTICIPANT))
                claim.bind(("", port_of_domain + _LAST_PARTICIPANT))
            return number, claim
        except OSError:
            claim.close()
    raise RuntimeError("every ROS domain from 1 to 101 is in use on this machine")
