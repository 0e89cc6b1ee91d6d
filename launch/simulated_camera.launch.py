"""A simulated depth camera, or a recorded capture, for robots without one: what the demo runs on.

ros2 launch onet_ros simulated_camera.launch.py seed:=3 layout:=zed
ros2 launch onet_ros simulated_camera.launch.py orbit:=20 fixed_frame:=table
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription

ALWAYS = ("rate", "layout", "camera_output", "frame_id")
ONLY_SIMULATED = ("seed", "objects", "orbit")


def generate_launch_description() -> LaunchDescription:
    """Declare the camera's arguments."""
    arguments = [
        ("namespace", "", "Namespace of the camera and its topics, such as robot1"),
        ("cloud", "", "Recorded capture (.npz, .ply, .pcd) instead of the simulated table"),
        ("seed", "0", "Which simulated table"),
        ("objects", "6", "How many objects stand on it"),
        ("rate", "5.0", "Frames a second"),
        ("layout", "realsense", "Driver whose message layout is used; see onet_depth_camera --help"),
        ("camera_output", "cloud", "cloud or depth: clouds on points, or images on depth_image with camera_info"),
        ("camera_mask", "false", "Publish the true objects as an instance mask"),
        ("orbit", "0.0", "Degrees a second that the camera goes around the table"),
        ("frame_id", "camera_depth_optical_frame", "Frame of the camera"),
        ("fixed_frame", "", "Tell tf where the camera stands in this frame; empty: do not"),
        ("points", "points", "Topic of the clouds"),
        ("depth_image", "depth_image", "Topic of the depth images"),
        ("camera_info", "camera_info", "Topic of the camera's parameters"),
        ("mask", "mask", "Topic of the masks"),
    ]
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, default, description in arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=make_camera)])


def make_camera(context: LaunchContext) -> list[Node]:
    """The camera for the values that the arguments have now."""

    def value(name: str) -> str:
        return str(LaunchConfiguration(name).perform(context))

    words = []
    for name in ALWAYS if value("cloud") else (*ALWAYS, *ONLY_SIMULATED):
        words += [f"--{name.removeprefix('camera_').replace('_', '-')}", value(name)]
    words += ["--cloud", value("cloud")] if value("cloud") else []
    words += ["--fixed-frame", value("fixed_frame")] if value("fixed_frame") else []
    words += ["--mask"] if value("camera_mask").lower() in ("true", "1") else []
    camera = Node(
        package="onet_ros",
        executable="onet_depth_camera",
        name="depth_camera",
        namespace=LaunchConfiguration("namespace"),
        arguments=words,
        remappings=[(name, LaunchConfiguration(name)) for name in ("points", "depth_image", "camera_info", "mask")],
        output="screen",
        emulate_tty=True,
    )
    return [camera]
