"""The reconstruction node on a simulated depth camera, or on a recorded capture, in RViz.

    ros2 launch onet_ros demo.launch.py
    ros2 launch onet_ros demo.launch.py cloud:=/path/to/capture.npz rviz:=false
    ros2 launch onet_ros demo.launch.py orbit:=20 fixed_frame:=table target_frame:=table

Takes all arguments of onet.launch.py and simulated_camera.launch.py.
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchDescription
from onet_ros.resources import data_folder


def generate_launch_description() -> LaunchDescription:
    """Include the two, with RViz."""
    rviz = DeclareLaunchArgument("rviz", default_value="true", description="Start RViz with clouds, meshes and labels")
    parts = [
        IncludeLaunchDescription(PythonLaunchDescriptionSource(str(data_folder("launch") / name)))
        for name in ("onet.launch.py", "simulated_camera.launch.py")
    ]
    return LaunchDescription([rviz, *parts])
