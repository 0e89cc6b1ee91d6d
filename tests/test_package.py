"""The package's files agree with each other, and its rooms keep to the doors they are given."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

import onet_ros
from onet_ros import resources

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "onet_ros"
MODULES = sorted(PACKAGE.rglob("*.py"))
ROS_PACKAGE = re.compile(r"rclpy|launch(_ros)?|tf2_\w+|rosidl_\w+|ament_\w+|\w+_(msgs|srvs|interfaces)|rosbag2_\w+")
# Runs in a process of its own, where every import of ROS fails as on a machine without it.
IMPORT_ALL = """
import importlib, re, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if re.fullmatch(sys.argv[1], name.partition(".")[0]) or name.startswith("onet_ros.msg"):
            raise ImportError(f"{name} is imported outside onet_ros/ros")
sys.meta_path.insert(0, Blocked())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def imported_modules(path: Path) -> set[str]:
    """Full names of all that a file imports, also within functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively"
            names.add(node.module)
    return names


def ros_imports(path: Path) -> set[str]:
    """The ROS packages that a file imports."""
    packages = {name.partition(".")[0] for name in imported_modules(path)}
    return {name for name in packages if ROS_PACKAGE.fullmatch(name)}


def core_modules() -> Iterator[Path]:
    return (path for path in MODULES if PACKAGE / "ros" not in path.parents)


def package_xml() -> ET.Element:
    return ET.parse(REPOSITORY / "package.xml").getroot()


def test_every_file_states_the_same_version():
    setup = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    changelog = re.search(r"^## (\d+\.\d+\.\d+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    versions = {
        "onet_ros/__init__.py": onet_ros.__version__,
        "package.xml": package_xml().findtext("version"),
        "setup.py": setup.stdout.split()[-1],
        "CHANGELOG.md": changelog[1],
    }
    assert set(versions.values()) == {onet_ros.__version__}, versions


def test_ros_is_imported_in_the_ros_room_only():
    trespassers = {str(path.relative_to(REPOSITORY)): ros_imports(path) for path in core_modules() if ros_imports(path)}
    assert trespassers == {}


def test_every_module_outside_the_ros_room_imports_without_ros():
    names = [".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in core_modules()]
    names = [name.removesuffix(".__init__") for name in names]
    command = [sys.executable, "-c", IMPORT_ALL, ROS_PACKAGE.pattern, *names]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    ("room", "may_not_import"),
    [
        ("scene", ("networks", "surface", "learning", "simulation", "ros", "reconstructor", "cli")),
        ("surface", ("networks", "scene", "learning", "simulation", "ros", "reconstructor", "cli")),
        ("networks", ("surface", "learning", "simulation", "ros", "reconstructor", "cli")),
        ("learning", ("ros", "cli")),
    ],
)
def test_dependencies_between_rooms_point_one_way(room, may_not_import):
    forbidden = {f"onet_ros.{name}" for name in may_not_import}
    for path in (PACKAGE / room).rglob("*.py"):
        doors = {".".join(name.split(".")[:2]) for name in imported_modules(path)}
        assert not doors & forbidden, f"{path.relative_to(REPOSITORY)} imports {doors & forbidden}"


def test_package_xml_names_every_ros_package_in_use():
    declared = {element.text for element in package_xml() if element.tag in ("depend", "exec_depend")}
    files = [*(PACKAGE / "ros").rglob("*.py"), *(REPOSITORY / "launch").glob("*.py")]
    used = set().union(*(ros_imports(path) for path in files))
    assert used <= declared, f"not in package.xml: {sorted(used - declared)}"


def test_requirements_name_every_package_in_use():
    module_names = {"opencv-python-headless": "cv2", "pillow": "PIL", "pymcubes": "mcubes", "pyyaml": "yaml"}
    files = [REPOSITORY / name for name in ("requirements.txt", "requirements-bags.txt")]
    names = [name for file in files for name in re.findall(r"^[\w-]+", file.read_text(), re.MULTILINE)]
    declared = {module_names.get(name.lower(), name.lower().replace("-", "_")) for name in names}
    imported = {name.partition(".")[0] for path in core_modules() for name in imported_modules(path)}
    optional = {"onnx", "onnxruntime", "onnxscript", "triton"}  # imported where they are used, with another way beside
    unknown = imported - declared - optional - sys.stdlib_module_names - {"onet_ros"}
    assert unknown == set()
    assert declared <= imported, f"not needed: {declared - imported}"


def test_cmake_generates_every_interface():
    listed = set(re.findall(r"(?:msg|srv|action)/\w+\.\w+", (REPOSITORY / "CMakeLists.txt").read_text()))
    files = [path for kind in ("msg", "srv", "action") for path in (REPOSITORY / kind).iterdir()]
    assert listed == {path.relative_to(REPOSITORY).as_posix() for path in files}


def test_executables_start_functions_that_exist():
    scripts = [path for path in (REPOSITORY / "scripts").iterdir() if path.name.startswith("onet_")]
    cmake = (REPOSITORY / "CMakeLists.txt").read_text()
    for script in scripts:
        (module,) = (name for name in imported_modules(script) if name.startswith("onet_ros"))
        source = ast.parse((REPOSITORY / f"{module.replace('.', '/')}.py").read_text())
        assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in source.body), script
        assert f"scripts/{script.name}" in cmake
        assert script.stat().st_mode & 0o111, f"{script} is not executable"


def test_make_runs_commands_that_exist():
    used = set(re.findall(r"\$\(RUN\) onet (\w+)", (REPOSITORY / "Makefile").read_text()))
    commands = set(re.findall(r"add_parser\(\s*\"(\w+)\"", (PACKAGE / "cli.py").read_text()))
    assert used
    assert used <= commands


def test_data_folders_are_found_in_the_source_tree():
    assert resources.data_folder("models", PACKAGE) == REPOSITORY / "models"
    assert resources.default_model_path() == resources.data_folder("models") / "default"


@pytest.mark.parametrize("layout", ["lib/python3.11/site-packages", "local/lib/python3.10/dist-packages", "."])
def test_data_folders_are_found_below_the_prefix_of_an_installation(tmp_path, layout):
    package = tmp_path / layout / "onet_ros"
    package.mkdir(parents=True)
    config = tmp_path / "share" / "onet_ros" / "config"
    config.mkdir(parents=True)
    assert resources.data_folder("config", package) == config


def test_missing_data_folder_is_named_with_the_places_searched(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"'models'.*{tmp_path}/share/onet_ros/models"):
        resources.data_folder("models", tmp_path / "onet_ros")
