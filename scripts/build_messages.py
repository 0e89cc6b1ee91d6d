"""Build the package with colcon into install/, and the interfaces that only tests need into .cache/.

Standard library only: this runs before anything else is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
TEST_INTERFACES = REPOSITORY / "tests" / "interfaces"
TEST_BASE = REPOSITORY / ".cache" / "test_interfaces"

# Not the command `colcon`: the system's one would run with the system's Python.
COLCON = "import sys; from colcon_core.command import main; sys.exit(main())"


def digest(*parts: str | Path) -> str:
    """One hash over strings and the contents of files."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part.read_bytes() if isinstance(part, Path) else part.encode())
        total.update(b"\0")
    return total.hexdigest()[:16]


def package_key(identity: str) -> str:
    """Changes when the package has to be built again.

    The install space links to the sources, so that of the Python, configuration and model files only the names count.
    """
    contents = [REPOSITORY / "CMakeLists.txt", REPOSITORY / "package.xml"]
    contents += [path for folder in ("action", "msg", "srv") for path in sorted((REPOSITORY / folder).iterdir())]
    installed = (REPOSITORY / folder for folder in ("onet_ros", "config", "launch", "models"))
    files = [path for folder in installed for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return digest(identity, *contents, *sorted(str(path.relative_to(REPOSITORY)) for path in files))


def missing_test_interfaces(prefixes: list[Path]) -> list[str]:
    """Names of the packages in tests/interfaces that no ROS prefix offers."""
    names = sorted(path.parent.name for path in TEST_INTERFACES.glob("*/package.xml"))
    return [
        name for name in names if not any((prefix / "share" / name / "package.xml").is_file() for prefix in prefixes)
    ]


def test_interfaces_key(identity: str, names: list[str]) -> str:
    files = (path for name in names for path in (TEST_INTERFACES / name).rglob("*") if path.is_file())
    return digest(identity, *sorted(files))


@dataclass(frozen=True)
class Colcon:
    """Runs `colcon build` for one Python and environment, with its output in a log."""

    python: Path
    environment: dict[str, str]
    log: Path

    def build_package(self, clean: bool) -> None:
        """Build onet_ros into install/ with links to the sources."""
        folders = [REPOSITORY / base / "onet_ros" for base in ("build", "install")]
        arguments = ["--base-paths", str(REPOSITORY), "--packages-select", "onet_ros", "--symlink-install"]
        had_results = any(folder.exists() for folder in folders)
        try:
            self._build(arguments, folders if clean else [])
        except subprocess.CalledProcessError:
            if clean or not had_results:
                raise
            self._build(arguments, folders)  # old results were in the way: of another Python, or copies for links

    def build_test_interfaces(self, names: list[str]) -> None:
        """Build the named packages of tests/interfaces afresh into their own install space."""
        build, install = TEST_BASE / "build", TEST_BASE / "install"
        arguments = ["--base-paths", *(str(TEST_INTERFACES / name) for name in names), "--merge-install"]
        arguments += ["--build-base", str(build), "--install-base", str(install)]
        self._build(arguments, [build, install])

    def _build(self, arguments: list[str], to_remove: list[Path]) -> None:
        for folder in to_remove:
            shutil.rmtree(folder, ignore_errors=True)
        command = [str(self.python), "-c", COLCON, "--log-base", str(REPOSITORY / ".cache" / "colcon")]
        command += ["build", *arguments]
        # Humble's generators look for the older name of the interpreter.
        python = [f"-D{name}={self.python}" for name in ("Python3_EXECUTABLE", "PYTHON_EXECUTABLE")]
        command += ["--cmake-args", *python, "-DBUILD_TESTING=OFF"]
        with self.log.open("a") as output:
            print("$", *command, file=output, flush=True)
            subprocess.run(command, cwd=REPOSITORY, env=self.environment, stdout=output, stderr=output, check=True)


def build_environment(venv: Path, ros_prefix: Path | None) -> dict[str, str]:
    """Environment variables for colcon: the sourced ROS as it is, else the virtual environment as a ROS prefix."""
    environment = {**os.environ, "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    if ros_prefix is None:
        environment.update(
            AMENT_PREFIX_PATH=str(venv),
            CMAKE_PREFIX_PATH=str(venv),
            LD_LIBRARY_PATH=str(venv / "lib"),
        )
        environment.pop("PYTHONPATH", None)
        environment.pop("COLCON_PREFIX_PATH", None)
    return environment
