"""The reconstruction node on an Intel RealSense: one launch line from the camera to meshes.

    ros2 launch onet_ros realsense.launch.py rviz:=true
    ros2 launch onet_ros realsense.launch.py camera_name:=wrist target_frame:=base_link

Starts the driver (package realsense2_camera) with ordered clouds, and the node on them. Takes all arguments of
onet.launch.py but `points`; with start_camera:=false the driver is expected to run already.
"""

from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription
from onet_ros.resources import data_folder
from onet_ros.ros.large_messages import settings_for_large_messages


def generate_launch_description() -> LaunchDescription:
    """Declare the camera's arguments, include the driver and the node."""
    arguments = [
        ("start_camera", "true", "false: the driver runs already"),
        ("camera_namespace", "camera", "Namespace of the driver"),
        ("camera_name", "camera", "Name of the driver's node, and first part of its frames"),
        ("serial_no", "''", "Serial number of the camera, where there are several"),
        ("depth_profile", "848x480x15", "Width x height x rate of the depth images"),
        ("enable_color", "true", "Colour in the clouds; without it they are smaller"),
    ]
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, default, description in arguments
    ]
    namespace, name = LaunchConfiguration("camera_namespace"), LaunchConfiguration("camera_name")
    driver = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("realsense2_camera"), "launch", "rs_launch.py"])
        ),
        launch_arguments={
            "camera_namespace": namespace,
            "camera_name": name,
            "serial_no": LaunchConfiguration("serial_no"),
            "depth_module.depth_profile": LaunchConfiguration("depth_profile"),
            "enable_color": LaunchConfiguration("enable_color"),
            "pointcloud.enable": "true",
            "pointcloud.ordered_pc": "true",  # rows and columns: objects are told apart better, and masks fit
            "pointcloud.allow_no_texture_points": "true",  # depth sees more than the colour camera does
        }.items(),
    )
    onet = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(data_folder("launch") / "onet.launch.py")),
        launch_arguments={
            "points": ["/", namespace, "/", name, "/depth/color/points"],
            "camera_frame": [name, "_depth_optical_frame"],
        }.items(),
    )
    # In a group of its own, so that what is set for the driver does not reach the node. Clouds are large.
    room = [SetEnvironmentVariable(name, value) for name, value in settings_for_large_messages().items()]
    camera = GroupAction([*room, driver], condition=IfCondition(LaunchConfiguration("start_camera")))
    return LaunchDescription([*declared, camera, onet])
