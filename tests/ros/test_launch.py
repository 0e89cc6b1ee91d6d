"""Launch files and the RViz configuration: they parse, and name what the node and the package really have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("onet_ros.msg", reason="the package's messages are not built")

from onet_ros.resources import data_folder
from onet_ros.ros import conversions
from onet_ros.ros.depth_camera import make_parser

pytestmark = pytest.mark.ros


# What `ros2 launch FILE NAME:=VALUE ...` does.
LAUNCH = """
import sys
from launch import LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
service = LaunchService(noninteractive=True)
arguments = [word.split(":=") for word in sys.argv[2:]]
service.include_launch_description(
    IncludeLaunchDescription(PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)
)
sys.exit(service.run())
"""

# Stands for an executable: writes down how it was started, and ends.
RECORDER = """#!{python}
import json, pathlib, sys, yaml
words = sys.argv[1:]
files = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--params-file"]
parameters = {{}}
for file in files:
    for content in yaml.safe_load(pathlib.Path(file).read_text()).values():
        parameters.update(content["ros__parameters"])
record = {{"words": words, "parameters": parameters}}
pathlib.Path("{folder}", pathlib.Path(sys.argv[0]).name + ".json").write_text(json.dumps(record))
"""


@pytest.fixture
def launch(tmp_path):
    """Function that launches a file with arguments and returns, by executable, with what each was started."""
    pytest.importorskip("launch_ros", reason="launch_ros is not installed")
    prefix, records = tmp_path / "prefix", tmp_path / "records"
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    records.mkdir()
    for package, executables in {"onet_ros": ("onet_node", "onet_depth_camera"), "rviz2": ("rviz2",)}.items():
        (index / package).touch()
        for name in executables:
            file = prefix / "lib" / package / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(RECORDER.format(python=sys.executable, folder=records))
            file.chmod(0o755)
    environment = {**os.environ, "AMENT_PREFIX_PATH": f"{prefix}:{os.environ.get('AMENT_PREFIX_PATH', '')}"}

    def run(name: str, **arguments: object) -> dict[str, dict[str, Any]]:
        for record in records.iterdir():
            record.unlink()
        words = [f"{key}:={value}" for key, value in arguments.items()]
        command = [sys.executable, "-c", LAUNCH, str(data_folder("launch") / name), *words]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stdout + result.stderr
        return {record.stem: json.loads(record.read_text()) for record in records.iterdir()}

    return run


def declared_arguments(name: str) -> dict[str, str]:
    """Descriptions of the arguments of a launch file, those of included files too."""
    pytest.importorskip("launch_ros", reason="launch_ros is not installed")
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    description = get_launch_description_from_python_launch_file(str(data_folder("launch") / name))
    return {argument.name: argument.description for argument in description.get_launch_arguments()}


def test_every_launch_argument_is_described():
    onet, demo = declared_arguments("onet.launch.py"), declared_arguments("demo.launch.py")
    assert {"model", "points", "target_frame", "params_file", "namespace", "rviz", "log_level"} <= set(onet)
    assert set(onet) < set(demo)
    assert all(len(text) > 10 for text in demo.values())


def test_node_gets_its_parameters_topic_namespace_and_log_level(launch, tmp_path):
    params_file = tmp_path / "mine.yaml"
    params_file.write_text("/**:\n  ros__parameters:\n    model: /models/from_file\n    device: cuda\n")
    arguments = {"namespace": "robot1", "points": "/camera/points", "model": "/models/7", "target_frame": "base_link"}
    nodes = launch("onet.launch.py", **arguments, log_level="debug", params_file=params_file)
    assert set(nodes) == {"onet_node"}
    words = nodes["onet_node"]["words"]
    assert "points:=/camera/points" in words
    assert "__ns:=/robot1" in words
    assert words[words.index("--log-level") + 1] == "debug"
    # An argument that is given wins over the file; one that is not leaves the file's value.
    expected = {"model": "/models/7", "device": "cuda", "target_frame": "base_link", "use_sim_time": False}
    assert nodes["onet_node"]["parameters"] == expected


def test_node_gets_the_defaults_of_the_yaml_without_arguments(launch):
    parameters = launch("onet.launch.py")["onet_node"]["parameters"]
    defaults = yaml.safe_load((data_folder("config") / "onet.yaml").read_text())["/**"]["ros__parameters"]
    assert parameters == {**defaults, "use_sim_time": False}


@pytest.mark.parametrize(("target_frame", "fixed_frame"), [("map", "map"), ("", "camera_depth_optical_frame")])
def test_rviz_shows_the_objects_in_their_frame(target_frame, fixed_frame, launch):
    words = launch("onet.launch.py", rviz="true", target_frame=target_frame)["rviz2"]["words"]
    assert words[words.index("--fixed-frame") + 1] == fixed_frame
    assert words[words.index("--display-config") + 1].endswith("onet.rviz")


def test_demo_starts_camera_node_and_rviz_with_arguments_that_the_camera_knows(launch):
    nodes = launch("demo.launch.py", seed="4", namespace="robot1")
    assert set(nodes) == {"onet_node", "onet_depth_camera", "rviz2"}
    assert all("__ns:=/robot1" in node["words"] for node in nodes.values())
    words = nodes["onet_depth_camera"]["words"]
    parsed = make_parser().parse_args(words[: words.index("--ros-args")])
    assert (parsed.seed, parsed.objects, parsed.rate, parsed.cloud) == (4, 6, 5.0, None)
    nodes = launch("demo.launch.py", cloud="/data/capture.npz", rviz="false")
    assert set(nodes) == {"onet_node", "onet_depth_camera"}
    words = nodes["onet_depth_camera"]["words"]
    assert str(make_parser().parse_args(words[: words.index("--ros-args")]).cloud) == "/data/capture.npz"


def test_rviz_shows_the_topics_and_namespaces_of_the_node():
    config = yaml.safe_load((data_folder("config") / "onet.rviz").read_text())
    displays = {display["Name"]: display for display in config["Visualization Manager"]["Displays"]}
    assert displays["Cloud"]["Topic"]["Value"] == "points"
    assert displays["Objects"]["Topic"]["Value"] == "onet/markers"
    assert set(displays["Objects"]["Namespaces"]) == {conversions.OBJECT_NAMESPACE, conversions.LABEL_NAMESPACE}
