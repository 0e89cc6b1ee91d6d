"""What must come from the operating system: a Python, a compiler, shared libraries. Standard library only."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 13)  # wheels of ROS 2 Jazzy exist for these
PREFERRED_NAMES = ("python3", "python3.12", "python3.11", "python3.10", "python3.13")

# Shared libraries that the wheels expect from the system, and the Debian/Ubuntu packages that hold them.
LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
    "libgomp.so.1": "libgomp1",
    "libidn2.so.0": "libidn2-0",
    "libudev.so.1": "libudev1",
    "libusb-1.0.so.0": "libusb-1.0-0",
}

PROBE = """
import importlib.util, json, os, sys, sysconfig
print(json.dumps({
    "executable": getattr(sys, "_base_executable", None) or sys.executable,
    "version": list(sys.version_info[:3]),
    "has_venv": all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
    "has_headers": os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")),
}))
"""


class SetupError(Exception):
    """Something that the user has to put right; the message says how."""


@dataclass(frozen=True)
class Interpreter:
    """One Python of the system, and which optional parts of it are installed."""

    executable: str
    version: tuple[int, int, int]
    has_venv: bool
    has_headers: bool

    @property
    def name(self) -> str:
        """Name of the Debian/Ubuntu package: python3.11."""
        return f"python{self.version[0]}.{self.version[1]}"

    @property
    def complete(self) -> bool:
        return self.has_venv and self.has_headers


def probe_interpreter(command: str) -> Interpreter | None:
    """The Python behind a command; None where the command is missing or does not run (a version manager's shim)."""
    path = shutil.which(command)
    if path is None:
        return None
    try:
        answer = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, timeout=60)
        facts = json.loads(answer.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    # Debian's bare python3.X finds the module venv but not ensurepip; both are in the package python3.X-venv.
    return Interpreter(facts["executable"], tuple(facts["version"]), facts["has_venv"], facts["has_headers"])


def choose_interpreter(found: list[Interpreter], required: tuple[int, int] | None = None) -> Interpreter:
    """The first complete interpreter of a supported version, else the first supported one.

    Args:
        found: in order of preference.
        required: the only version allowed (that of a sourced ROS); None allows OLDEST to NEWEST.

    Raises:
        SetupError: none has a supported version; the message holds the command that installs one.
    """
    if required is not None:
        supported = [python for python in found if python.version[:2] == required]
        wanted = f"Python {required[0]}.{required[1]} (the Python of the sourced ROS)"
    else:
        supported = [python for python in found if OLDEST <= python.version[:2] <= NEWEST]
        wanted = "Python 3.10, 3.11 or 3.12"
    if not supported:
        names = [f"{python.executable} ({'.'.join(map(str, python.version))})" for python in found]
        name = f"python{required[0]}.{required[1]}" if required else "python3.12"
        raise SetupError(
            f"{wanted} is needed, found {', '.join(names) or 'none'}. Install it with\n"
            f"    {apt_command([name, f'{name}-venv', f'{name}-dev'])}\n"
            "or name one that is not on the PATH: make setup PYTHON=/path/to/python3.12"
        )
    return next((python for python in supported if python.complete), supported[0])


def find_interpreter(command: str | None, required: tuple[int, int] | None) -> Interpreter:
    """The interpreter to build the environment with: the one named by the user, else the best on the PATH."""
    if command:
        named = probe_interpreter(command)
        if named is None:
            raise SetupError(f"PYTHON={command} does not run")
        return choose_interpreter([named], required)
    names = (f"/usr/bin/python{required[0]}.{required[1]}", *PREFERRED_NAMES) if required else PREFERRED_NAMES
    found = [python for python in map(probe_interpreter, dict.fromkeys(names)) if python]
    return choose_interpreter(list(dict.fromkeys(found)), required)


def missing_packages(python: Interpreter, build: bool) -> list[str]:
    """Debian/Ubuntu packages to install: parts of Python, libraries, and for `build` what compiles the messages."""
    packages = [package for library, package in LIBRARIES.items() if not _can_load(library)]
    if not python.has_venv:
        packages.append(f"{python.name}-venv")
    if build or _compiles_wheels(python):
        if not python.has_headers:
            packages.append(f"{python.name}-dev")
        if shutil.which("c++") is None or shutil.which("cc") is None:
            packages.append("g++")
        if shutil.which("make") is None:
            packages.append("make")
    return sorted(packages)


def _compiles_wheels(python: Interpreter) -> bool:
    """Whether pip has to compile: PyMCubes has wheels for x86-64 and Python up to 3.12 only."""
    return os.uname().machine != "x86_64" or python.version[:2] > (3, 12)


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def apt_command(packages: list[str]) -> str:
    return f"sudo apt-get update && sudo apt-get install -y {' '.join(packages)}"


def install_packages(packages: list[str], log: Path) -> None:
    """Install with apt-get when root; otherwise raise SetupError with the command to type."""
    if shutil.which("apt-get") is None:
        raise SetupError(f"missing (names of the Debian packages): {' '.join(packages)}. Install them and try again.")
    if os.geteuid() != 0:
        raise SetupError(f"missing system packages; install them and try again:\n    {apt_command(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with log.open("a") as output:
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            process = subprocess.run(
                ["apt-get", "-o", "Acquire::Retries=3", *command], stdout=output, stderr=output, env=environment
            )
    if process.returncode != 0:
        raise SetupError(f"apt-get install {' '.join(packages)} failed; see {log}")


def has_nvidia_gpu() -> bool:
    return Path("/dev/nvidia0").exists() or Path("/etc/nv_tegra_release").exists()


if __name__ == "__main__":
    sys.exit("run scripts/bootstrap.py")
