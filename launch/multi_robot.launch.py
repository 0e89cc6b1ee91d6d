"""Several robots in one ROS domain: a simulated camera and a node for each, in a namespace of its own.

    ros2 launch onet_ros multi_robot.launch.py robots:=robot1,robot2

An example to start from: with real cameras include onet.launch.py alone. Other arguments go to onet.launch.py and
simulated_camera.launch.py of every robot; give topics as relative names, so that they stay in the robot's namespace.
"""

from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription
from onet_ros.resources import data_folder


def generate_launch_description() -> LaunchDescription:
    """Declare the robots' names; the rest is made when they are known."""
    robots = DeclareLaunchArgument(
        "robots", default_value="robot1,robot2", description="Names of the robots, with commas: their namespaces"
    )
    return LaunchDescription([robots, OpaqueFunction(function=make_robots)])


def make_robots(context: LaunchContext) -> list[GroupAction]:
    """A camera and a node for each robot, each looking at a table of its own."""
    names = [name for name in LaunchConfiguration("robots").perform(context).split(",") if name]
    return [
        GroupAction([_part("simulated_camera.launch.py", name, number), _part("onet.launch.py", name, number)])
        for number, name in enumerate(names)
    ]


def _part(file: str, robot: str, number: int) -> IncludeLaunchDescription:
    arguments = {"namespace": robot}
    if file == "simulated_camera.launch.py":
        arguments.update({"seed": str(number), "frame_id": f"{robot}/camera_depth_optical_frame"})
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(data_folder("launch") / file)), launch_arguments=arguments.items()
    )
