"""The reconstruction node, and RViz if wanted.

ros2 launch onet_ros onet.launch.py points:=/camera/depth/color/points target_frame:=base_link rviz:=true
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from onet_ros.resources import data_folder

# Launch arguments that stand for a parameter of the same name; empty leaves it to the parameters file.
PARAMETERS = ("model", "device", "target_frame")


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the nodes are made when their values are known."""
    config = data_folder("config")
    arguments = [
        ("namespace", "", "Namespace of the node and its topics, such as robot1"),
        ("points", "points", "Topic of the clouds (sensor_msgs/PointCloud2)"),
        ("params_file", str(config / "onet.yaml"), "YAML file with parameters; needs only those that differ"),
        ("model", "", "Checkpoint folder; empty: as in the parameters file"),
        ("device", "", "torch device such as cpu or cuda; empty: as in the parameters file"),
        ("target_frame", "", "Frame of the objects, z up, found with tf2; empty: as in the parameters file"),
        ("use_sim_time", "false", "Take the time from /clock: for simulators and bags"),
        ("log_level", "info", "debug, info, warn, error or fatal"),
        ("rviz", "false", "Start RViz with clouds, meshes and labels"),
        ("rviz_config", str(config / "onet.rviz"), "Configuration of RViz"),
        ("rviz_fixed_frame", "", "Fixed frame of RViz; empty: the target frame, else camera_depth_optical_frame"),
    ]
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, default, description in arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=make_nodes)])


def make_nodes(context: LaunchContext) -> list[Node]:
    """The nodes for the values that the arguments have now."""
    values = {name: LaunchConfiguration(name).perform(context) for name in PARAMETERS}
    overrides = {name: value for name, value in values.items() if value}
    overrides["use_sim_time"] = LaunchConfiguration("use_sim_time").perform(context).lower() in ("true", "1")
    points = LaunchConfiguration("points")
    onet = Node(
        package="onet_ros",
        executable="onet_node",
        name="onet",
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), overrides],
        remappings=[("points", points)],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
        emulate_tty=True,
    )
    fixed_frame = LaunchConfiguration("rviz_fixed_frame").perform(context)
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        namespace=LaunchConfiguration("namespace"),
        parameters=[{"use_sim_time": overrides["use_sim_time"]}],
        remappings=[("points", points)],
        arguments=[
            *("--display-config", LaunchConfiguration("rviz_config")),
            *("--fixed-frame", fixed_frame or values["target_frame"] or "camera_depth_optical_frame"),
        ],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return [onet, rviz]
