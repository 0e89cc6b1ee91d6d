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
from onet_ros.ros.large_messages import PROFILE_VARIABLES, settings_for_large_messages

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
import json, os, pathlib, sys, yaml
words = sys.argv[1:]
files = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--params-file"]
parameters = {{}}
for file in files:
    for content in yaml.safe_load(pathlib.Path(file).read_text()).values():
        parameters.update(content["ros__parameters"])
record = {{"words": words, "parameters": parameters, "environment": dict(os.environ)}}
namespace = "".join(word.removeprefix("__ns:=").strip("/") for word in words if word.startswith("__ns:="))
name = pathlib.Path(sys.argv[0]).name + ("@" + namespace if namespace else "")
pathlib.Path("{folder}", name + ".json").write_text(json.dumps(record))
"""


# Stands for the launch file of the driver, as far as it takes the arguments that we give it.
RS_LAUNCH = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
NAMES = ("camera_name", "camera_namespace", "serial_no", "log_level", "enable_color", "depth_module.depth_profile",
         "pointcloud.enable", "pointcloud.ordered_pc", "pointcloud.allow_no_texture_points")
def generate_launch_description():
    return LaunchDescription([
        *[DeclareLaunchArgument(name, default_value="of the driver") for name in NAMES],
        Node(package="realsense2_camera", executable="realsense2_camera_node", name=LaunchConfiguration("camera_name"),
             namespace=LaunchConfiguration("camera_namespace"),
             parameters=[{name: LaunchConfiguration(name) for name in NAMES}]),
    ])
"""


@pytest.fixture
def launch(tmp_path):
    """Function that launches a file with arguments and returns, by executable, with what each was started.

    By executable and namespace where there are several of one.
    """
    pytest.importorskip("launch_ros", reason="launch_ros is not installed")
    prefix, records = tmp_path / "prefix", tmp_path / "records"
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    records.mkdir()
    executables_of = {
        "onet_ros": ("onet_node", "onet_depth_camera"),
        "rviz2": ("rviz2",),
        "realsense2_camera": ("realsense2_camera_node",),
    }
    driver = prefix / "share" / "realsense2_camera" / "launch" / "rs_launch.py"
    driver.parent.mkdir(parents=True)
    driver.write_text(RS_LAUNCH)
    for package, executables in executables_of.items():
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
    files = ("onet", "demo", "realsense", "simulated_camera", "multi_robot")
    declared = {name: declared_arguments(f"{name}.launch.py") for name in files}
    assert {"model", "points", "target_frame", "params_file", "namespace", "rviz", "log_level"} <= set(declared["onet"])
    assert set(declared["onet"]) | set(declared["simulated_camera"]) == set(declared["demo"])
    assert set(declared["onet"]) < set(declared["realsense"])
    for name, arguments in declared.items():
        assert all(len(text) > 10 for text in arguments.values()), name


def test_node_gets_its_parameters_topic_namespace_and_log_level(launch, tmp_path):
    params_file = tmp_path / "mine.yaml"
    params_file.write_text("/**:\n  ros__parameters:\n    model: /models/from_file\n    device: cuda\n")
    arguments = {"namespace": "robot1", "points": "/camera/points", "model": "/models/7", "target_frame": "base_link"}
    nodes = launch("onet.launch.py", **arguments, log_level="debug", params_file=params_file)
    assert set(nodes) == {"onet_node@robot1"}
    words = nodes["onet_node@robot1"]["words"]
    assert "points:=/camera/points" in words
    assert "__ns:=/robot1" in words
    assert words[words.index("--log-level") + 1] == "debug"
    # An argument that is given wins over the file; one that is not leaves the file's value.
    expected = {"model": "/models/7", "device": "cuda", "target_frame": "base_link", "use_sim_time": False}
    assert nodes["onet_node@robot1"]["parameters"] == expected


def test_switches_and_topics_of_all_inputs_reach_the_node(launch):
    switches = {"autostart": "false", "use_mask": "true", "continuous": "False", "static_camera": "1", "input": "depth"}
    topics = {"depth_image": "/camera/depth/image", "camera_info": "/camera/depth/camera_info", "mask": "/masks"}
    node = launch("onet.launch.py", **switches, **topics, namespaced_tf="true")["onet_node"]
    parameters = {name: node["parameters"][name] for name in switches}
    assert parameters == {
        "autostart": False,
        "use_mask": True,
        "continuous": False,
        "static_camera": True,
        "input": "depth",
    }
    for name, topic in topics.items():
        assert f"{name}:={topic}" in node["words"]
    assert {"/tf:=tf", "/tf_static:=tf_static"} <= set(node["words"])


def test_a_switch_that_is_neither_true_nor_false_is_refused(launch):
    with pytest.raises(AssertionError, match="autostart must be true or false, got 'maybe'"):
        launch("onet.launch.py", autostart="maybe")


def test_realsense_gets_ordered_clouds_and_the_node_listens_to_them(launch):
    nodes = launch("realsense.launch.py", camera_name="wrist", serial_no="'123'", log_level="warn", rviz="true")
    assert set(nodes) == {"realsense2_camera_node@camera", "onet_node", "rviz2"}
    driver = nodes["realsense2_camera_node@camera"]
    assert driver["parameters"]["pointcloud.enable"] is True
    assert driver["parameters"]["pointcloud.ordered_pc"] is True
    assert driver["parameters"]["depth_module.depth_profile"] == "848x480x15"
    room = settings_for_large_messages()
    assert {name: driver["environment"].get(name) for name in PROFILE_VARIABLES} == (
        room or {name: os.environ.get(name) for name in PROFILE_VARIABLES}
    )
    assert not room or nodes["onet_node"]["environment"].get(PROFILE_VARIABLES[0]) is None  # it sees to its own
    assert "points:=/camera/wrist/depth/color/points" in nodes["onet_node"]["words"]
    words = nodes["rviz2"]["words"]
    assert words[words.index("--fixed-frame") + 1] == "wrist_depth_optical_frame"
    nodes = launch("realsense.launch.py", start_camera="false", target_frame="base_link")
    assert set(nodes) == {"onet_node"}
    assert nodes["onet_node"]["parameters"]["target_frame"] == "base_link"


def test_robots_have_cameras_and_nodes_of_their_own(launch):
    nodes = launch("multi_robot.launch.py", robots="arm,rover")
    assert set(nodes) == {
        f"{name}@{robot}" for robot in ("arm", "rover") for name in ("onet_node", "onet_depth_camera")
    }
    seeds = set()
    for robot in ("arm", "rover"):
        assert "points:=points" in nodes[f"onet_node@{robot}"]["words"]  # relative: it stays in the namespace
        words = nodes[f"onet_depth_camera@{robot}"]["words"]
        parsed = make_parser().parse_args(words[: words.index("--ros-args")])
        assert parsed.frame_id == f"{robot}/camera_depth_optical_frame"
        seeds.add(parsed.seed)
    assert len(seeds) == 2


def test_node_gets_the_defaults_of_the_yaml_without_arguments(launch):
    parameters = launch("onet.launch.py")["onet_node"]["parameters"]
    defaults = yaml.safe_load((data_folder("config") / "onet.yaml").read_text())["/**"]["ros__parameters"]
    assert parameters == {**defaults, "use_sim_time": False}


@pytest.mark.parametrize(
    ("target_frame", "fixed_frame", "view"),
    [("map", "map", "onet_target_frame.rviz"), ("", "camera_depth_optical_frame", "onet.rviz")],
)
def test_rviz_shows_the_objects_in_their_frame(target_frame, fixed_frame, view, launch):
    words = launch("onet.launch.py", rviz="true", target_frame=target_frame)["rviz2"]["words"]
    assert words[words.index("--fixed-frame") + 1] == fixed_frame
    assert words[words.index("--display-config") + 1].endswith(f"/{view}")


def test_demo_starts_camera_node_and_rviz_with_arguments_that_the_camera_knows(launch):
    nodes = launch("demo.launch.py", seed="4", namespace="robot1")
    assert set(nodes) == {"onet_node@robot1", "onet_depth_camera@robot1", "rviz2@robot1"}
    words = nodes["onet_depth_camera@robot1"]["words"]
    parsed = make_parser().parse_args(words[: words.index("--ros-args")])
    assert (parsed.seed, parsed.objects, parsed.rate, parsed.cloud) == (4, 6, 5.0, None)
    nodes = launch("demo.launch.py", cloud="/data/capture.npz", rviz="false")
    assert set(nodes) == {"onet_node", "onet_depth_camera"}
    words = nodes["onet_depth_camera"]["words"]
    assert str(make_parser().parse_args(words[: words.index("--ros-args")]).cloud) == "/data/capture.npz"


@pytest.mark.parametrize("view", ["onet.rviz", "onet_target_frame.rviz"])
def test_rviz_shows_the_topics_and_namespaces_of_the_node(view):
    config = yaml.safe_load((data_folder("config") / view).read_text())
    displays = {display["Name"]: display for display in config["Visualization Manager"]["Displays"]}
    assert displays["Cloud"]["Topic"]["Value"] == "points"
    assert displays["Objects"]["Topic"]["Value"] == "onet/markers"
    shown = {value for name, value in vars(conversions).items() if name.endswith("_NAMESPACE")}
    assert set(displays["Objects"]["Namespaces"]) == shown
