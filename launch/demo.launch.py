"""The reconstruction node on a simulated depth camera, or on a recorded capture, in RViz.

    ros2 launch onet_ros demo.launch.py
    ros2 launch onet_ros demo.launch.py cloud:=/path/to/capture.npz rviz:=false

Takes all arguments of onet.launch.py as well.
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from onet_ros.resources import data_folder


def generate_launch_description() -> LaunchDescription:
    """Declare the camera's arguments, include the node with its own."""
    arguments = [
        ("rviz", "true", "Start RViz with clouds, meshes and labels"),
        ("cloud", "", "Recorded capture (.npz, .ply, .pcd) instead of the simulated table"),
        ("seed", "0", "Which simulated table"),
        ("objects", "6", "How many objects stand on it"),
        ("rate", "5.0", "Clouds a second"),
        ("layout", "realsense", "Driver whose message layout is used; see onet_depth_camera --help"),
    ]
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, default, description in arguments
    ]
    onet = IncludeLaunchDescription(PythonLaunchDescriptionSource(str(data_folder("launch") / "onet.launch.py")))
    return LaunchDescription([*declared, onet, OpaqueFunction(function=make_camera)])


def make_camera(context: LaunchContext) -> list[Node]:
    """The camera for the values that the arguments have now."""
    cloud = LaunchConfiguration("cloud").perform(context)
    names = ("rate", "layout") if cloud else ("seed", "objects", "rate", "layout")
    words = [word for name in names for word in (f"--{name}", LaunchConfiguration(name))]
    camera = Node(
        package="onet_ros",
        executable="onet_depth_camera",
        name="depth_camera",
        namespace=LaunchConfiguration("namespace"),
        arguments=[*words, *(["--cloud", cloud] if cloud else [])],
        remappings=[("points", LaunchConfiguration("points"))],
        output="screen",
        emulate_tty=True,
    )
    return [camera]
