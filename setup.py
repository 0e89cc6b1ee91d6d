"""Installs the core and the command `onet` for people without ROS; colcon uses CMakeLists.txt instead."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

REPOSITORY = Path(__file__).resolve().parent


def version() -> str:
    """`__version__` of the package, read without importing it."""
    source = (REPOSITORY / "onet_ros" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)[1]


def requirements(name: str) -> list[str]:
    """The requirements of a file, without comments."""
    lines = (line.partition("#")[0].strip() for line in (REPOSITORY / name).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def data_files() -> list[tuple[str, list[str]]]:
    """config/, launch/ and models/ under <prefix>/share/onet_ros: where colcon puts them, too."""
    folders: dict[str, list[str]] = {}
    for name in ("config", "launch", "models"):
        for path in sorted((REPOSITORY / name).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                relative = path.relative_to(REPOSITORY)
                folders.setdefault(f"share/onet_ros/{relative.parent.as_posix()}", []).append(relative.as_posix())
    return sorted(folders.items())


setup(
    name="onet_ros",
    version=version(),
    description="Completed, watertight meshes of the objects in a depth cloud, by Occupancy Networks",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["onet_ros", "onet_ros.*"]),
    data_files=data_files(),
    install_requires=requirements("requirements.txt"),
    extras_require={
        "bags": requirements("requirements-bags.txt"),
        "collision": ["coacd"],
        "dev": requirements("requirements-dev.txt"),
        "export": ["onnx", "onnxruntime", "onnxscript"],
        "train": ["tensorboard"],
    },
    entry_points={"console_scripts": ["onet = onet_ros.cli:main"]},
)
